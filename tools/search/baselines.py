"""The baselines of a search, on the same test rows: what the base answers without a program.

Each is a way to prompt it: with examples (BM25 decides which), with a chain of thought, or with a
prompt that the task card gives. An answer is read from what it writes by `read_answer`.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.backend import Backend, Request
from tools.errors import UserError
from tools.search.data import Task, TaskRow, template
from tools.search.metrics import as_number
from tools.search.scoring import Scorer
from tools.search.vote import derived_seed

SHOTS = (1, 2, 4, 8)  # of which the dev rows choose
PAPER_SHOTS = 2
ANSWER_TOKENS = 128
CHAIN_TOKENS = 256
MOST_ANSWERS = 10  # different ones: a task with more is not one of choosing
# the two prompts of T. Kojima et al., 2022, arXiv 2205.11916
STEP_BY_STEP = "Let's think step by step."
THEREFORE = "Therefore, the answer is"

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def end_to_end(scorer: Scorer) -> dict[str, Any]:
    """Let the trained model write and emulate a program for each row, without a search."""
    rows = scorer.task.test
    return scorer.accuracy(scorer.solve(rows, "end to end"), rows)


def prompted(scorer: Scorer, base: Backend, shots: int) -> dict[str, Any]:
    """Ask the base model for answers, with `shots` similar rows of train and dev as examples.

    BM25 over the inputs decides which rows are similar; the most similar row comes last.
    """
    task = scorer.task
    return _with_examples(scorer, base, [*task.train, *task.dev], task.test, shots)


def best_prompted(scorer: Scorer, base: Backend) -> dict[str, Any]:
    """Choose the number of examples on the dev rows, and ask with so many.

    The examples of a dev row are training rows. The smaller of two equal numbers is chosen.
    """
    task = scorer.task
    dev = {
        shots: _with_examples(scorer, base, task.train, task.dev, shots)
        for shots in SHOTS
        if shots <= len(task.train)
    }
    shots = max(dev, key=lambda number: (dev[number]["right"], -number))
    chosen = {str(number): {"right": item["right"], "rows": item["rows"]}
              for number, item in dev.items()}  # fmt: skip
    return prompted(scorer, base, shots) | {"shots": shots, "dev": chosen}


def engineered(scorer: Scorer, base: Backend, card: Path) -> dict[str, Any]:
    """Ask by the `prompt` of the task card. Raises UserError if it does not fit."""
    task = scorer.task
    text = template(card, "prompt", task.card.prompt or "")
    try:
        prompts = [
            text.render(instruction=task.card.instruction, input=row.input) for row in task.test
        ]
    except Exception as error:  # an expression in a template may raise anything
        raise UserError(
            f"{card}: `prompt`: {error}; it may name `instruction` and `input`"
        ) from None
    return _asked(scorer, base, prompts, task.test, "prompt of the card")


def chain_of_thought(scorer: Scorer, base: Backend) -> dict[str, Any]:
    """Let the base think step by step, and then ask it for the answer: two calls a row."""
    task, rows = scorer.task, scorer.task.test
    prompts = [f"{_prompt(task.card.instruction, (), row.input)} {STEP_BY_STEP}" for row in rows]
    what = "chain of thought, 0-shot"
    thoughts = _write(scorer, base, prompts, rows, f"{what}: thoughts", CHAIN_TOKENS, None)
    asked = [
        f"{prompt}{thought.rstrip()}\n{THEREFORE}"
        for prompt, thought in zip(prompts, thoughts, strict=True)
    ]
    return _asked(scorer, base, asked, rows, f"{what}: answers")


def chain_of_thought_by_example(scorer: Scorer, base: Backend) -> dict[str, Any]:
    """Show the base the worked examples of the task card (`chains`) before each row."""
    task, rows = scorer.task, scorer.task.test
    shown = "".join(
        f"Input: {chain.input}\nReasoning: {chain.reasoning}\nAnswer: {chain.answer}\n\n"
        for chain in task.card.chains
    )
    prompts = [f"{task.card.instruction}\n\n{shown}Input: {row.input}\nReasoning:" for row in rows]
    what = "chain of thought, few-shot"
    texts = _write(scorer, base, prompts, rows, what, CHAIN_TOKENS, "\nInput:")
    answers = [text.partition("Answer:")[2].strip().split("\n")[0] for text in texts]
    return scorer.accuracy([read_answer(text, task) for text in answers], rows)


def read_answer(text: str, task: Task) -> str | None:
    """Return the answer in a base's words; None if there is none.

    Where numbers are asked for, it is the first number. Where the training rows have ten different
    answers or fewer, it is the first of them that stands there. Else it is the text.
    """
    if task.card.metric == "numeric":
        return next(
            (found for found in _NUMBER.findall(text) if as_number(found) is not None), None
        )
    known = {row.answer for row in task.train}
    if len(known) > MOST_ANSWERS or len(known) == len(task.train):
        return text.strip() or None
    for folded in (str, str.casefold):  # the choice A comes before the article a
        found = {
            answer: re.search(rf"(?<!\w){re.escape(folded(answer))}(?!\w)", folded(text))
            for answer in known
        }
        places = {answer: match.start() for answer, match in found.items() if match}
        if places:  # of two that begin at one place, the longer
            return min(places, key=lambda answer: (places[answer], -len(answer), answer))
    return text.strip() or None


def _with_examples(
    scorer: Scorer, base: Backend, known: Sequence[TaskRow], rows: Sequence[TaskRow], shots: int
) -> dict[str, Any]:
    instruction = scorer.task.card.instruction
    examples = _most_similar(known, rows, shots)
    prompts = [
        _prompt(instruction, shown, row.input) for row, shown in zip(rows, examples, strict=True)
    ]
    return _asked(scorer, base, prompts, rows, f"base, {shots}-shot")


def _asked(
    scorer: Scorer, base: Backend, prompts: Sequence[str], rows: Sequence[TaskRow], what: str
) -> dict[str, Any]:
    """Judge the line that the base writes below each prompt, or the next if that is empty."""
    lines = _write(scorer, base, prompts, rows, what, ANSWER_TOKENS, "\n")
    if empty := [number for number, line in enumerate(lines) if not line.strip()]:
        asked = [prompts[number] for number in empty], [rows[number] for number in empty]
        again = _write(scorer, base, *asked, f"{what}, next line", ANSWER_TOKENS, None)
        for number, text in zip(empty, again, strict=True):
            lines[number] = text.strip().split("\n")[0]
    return scorer.accuracy([read_answer(line, scorer.task) for line in lines], rows)


def _write(
    scorer: Scorer,
    base: Backend,
    prompts: Sequence[str],
    rows: Sequence[TaskRow],
    what: str,
    tokens: int,
    stop: str | None,
) -> list[str]:
    settings = scorer.settings
    requests = [
        Request(
            prompt,
            settings.emulator_temperature,
            derived_seed(what, settings.seed, row.input),
            tokens,
            stop,
        )
        for prompt, row in zip(prompts, rows, strict=True)
    ]
    return [made.text for made in scorer.store.complete(base, requests, what)]


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
