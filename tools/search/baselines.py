"""The baselines of a search, on the same test rows."""

import re
from collections.abc import Sequence
from typing import Any

from tools.backend import Backend, Request
from tools.search.data import TaskRow
from tools.search.scoring import Scorer
from tools.search.vote import derived_seed

SHOTS = 2
ANSWER_TOKENS = 128


def end_to_end(scorer: Scorer) -> dict[str, Any]:
    """Let the trained model write and emulate a program for each row, without a search."""
    rows = scorer.task.test
    return scorer.accuracy(scorer.solve(rows, "end to end"), rows)


def prompted(scorer: Scorer, base: Backend, shots: int) -> dict[str, Any]:
    """Ask the base model for answers, with `shots` similar rows of train and dev as examples.

    BM25 over the inputs decides which rows are similar; the most similar row comes last.
    """
    task, rows = scorer.task, scorer.task.test
    examples = _most_similar([*task.train, *task.dev], rows, shots)
    requests = [
        Request(
            _prompt(task.card.instruction, shown, row.input),
            scorer.settings.emulator_temperature,
            derived_seed(f"{shots}-shot", scorer.settings.seed, row.input),
            ANSWER_TOKENS,
            stop="\n",
        )
        for row, shown in zip(rows, examples, strict=True)
    ]
    generations = scorer.store.complete(base, requests, f"base, {shots}-shot")
    return scorer.accuracy([made.text.strip() or None for made in generations], rows)


def _prompt(instruction: str, examples: Sequence[TaskRow], input: str) -> str:
    # on one line: the model writes the space that ends a prompt, and a line end would stop it
    shown = "".join(f"Input: {row.input}\nAnswer: {row.answer}\n\n" for row in examples)
    return f"{instruction}\n\n{shown}Input: {input}\nAnswer:"


def _most_similar(
    known: Sequence[TaskRow], asked: Sequence[TaskRow], shots: int
) -> list[list[TaskRow]]:
    if shots == 0:
        return [[] for _ in asked]
    import bm25s  # type: ignore[import-untyped]

    # by default bm25s drops words of one letter and digits, and it fails if no word is left
    has_words = any(re.search(r"\w", row.input) for row in known)
    pattern = r"(?u)\b\w+\b" if has_words else r"\S+"

    def tokens(rows: Sequence[TaskRow]) -> Any:
        texts = [row.input for row in rows]
        return bm25s.tokenize(texts, stopwords=None, token_pattern=pattern, show_progress=False)

    retriever = bm25s.BM25()
    retriever.index(tokens(known), show_progress=False)
    found, _ = retriever.retrieve(tokens(asked), k=shots, show_progress=False)
    return [[known[index] for index in reversed(indices)] for indices in found.tolist()]
