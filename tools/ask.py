"""Asks a trained model one instruction, or those of a file, and shows the parts of an answer."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.syntax import Syntax

from prompt_strategies.alpaca import AlpacaStrategy
from prompt_strategies.base import CompletionStrategy
from prompt_strategies.code import CodeStrategy
from prompt_strategies.cogex import CogexStrategy
from tools.answered_file import answer_file
from tools.backend import MOST_TOKENS, NOTHING, Generation, Server
from tools.errors import UserError
from tools.prepared_rows import declared_strategy
from tools.python_text import take_program
from tools.recipe import Recipe, is_recipe, read_recipe
from tools.training import run_record

# types of Axolotl's own that have the text of a strategy here
AXOLOTLS_OWN: dict[str, type[CompletionStrategy]] = {
    "alpaca": AlpacaStrategy,
    "completion": CodeStrategy,
}


@dataclass(frozen=True)
class Asking:
    """How a model answers: greedy at temperature 0, else sampled with the seed.

    With a `server` that model answers, and nothing but the tokenizer is loaded here.
    """

    temperature: float = 0.0
    seed: int = 0
    max_new_tokens: int = 512
    server: Server | None = None


def ask(
    target: Path, instruction: str, input: str = "", asking: Asking = Asking()
) -> dict[str, str]:
    """Let the model of a recipe's `best/`, or of a model folder, answer one instruction.

    The prompt is that of the rows it was trained on. Returns the parts of the answer as their
    strategy names them; a program without code fence and prose. Raises UserError if there is no
    such model, if the prompt is not known, or if the instruction is empty or fills the context.
    """
    strategy = _strategy(target)
    if not strategy.render_question(instruction, input).strip():
        raise UserError("the instruction is empty; write what the model is to go on with")
    [answer] = _answering(target, strategy, asking)([{"instruction": instruction, "input": input}])
    if reason := answer.pop("no_text", ""):
        raise UserError(reason)
    return answer


def ask_file(target: Path, inputs: Path, out: Path, asking: Asking = Asking()) -> int:
    """Answer each line of a file (see `tools.answered_file`); return how many were answered now.

    A line without an answer has the reason under `no_text`.
    """
    strategy = _strategy(target)
    return answer_file(inputs, out, ("instruction", "input"), _answering(target, strategy, asking))


def _answering(
    target: Path, strategy: type[CompletionStrategy], asking: Asking
) -> Callable[[list[dict[str, str]]], list[dict[str, str]]]:
    """Return what answers rows of instruction and input; the model is loaded at the first call."""
    opened = cache(partial(_writer, target, asking.server))

    def answer(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        write, limit = opened()
        made = write(
            [strategy.render_question(row["instruction"], row["input"]) for row in rows],
            max_length=limit,
            temperature=asking.temperature,
            seed=asking.seed,
            max_new_tokens=asking.max_new_tokens,
        )
        return [_parts(strategy, generation, limit) for generation in made]

    return answer


def _parts(
    strategy: type[CompletionStrategy], generation: Generation, limit: int
) -> dict[str, str]:
    if generation == NOTHING:
        told = f"the instruction fills the {limit} tokens that the model takes; shorten it"
        return {"no_text": told}
    if reason := getattr(generation, "reason", ""):
        return {"no_text": f"the server gives no text: {reason}"}
    parts = strategy.parse(generation.text)
    if "program" in parts:
        parts["program"] = take_program(parts["program"])
    return parts


def _writer(target: Path, server: Server | None) -> tuple[Any, int]:
    """Return what continues prompts, and the most tokens of prompt and answer."""
    if server:
        served = server.open(target)
        return served.write, served.context or MOST_TOKENS
    from tools.generate import open_writer  # these take seconds, and a server does without
    from tools.models import load_trained

    model, _, write = open_writer(partial(load_trained, target))
    return write, model.config.max_position_embeddings


def _strategy(target: Path) -> type[CompletionStrategy]:
    """Return the strategy of the rows that a model was trained on; CoGEX's where nothing says."""
    recipe = _recipe(target)
    if recipe is None:
        return CogexStrategy
    kind = recipe.training.get("type")
    strategy = declared_strategy(recipe, recipe.training) or AXOLOTLS_OWN.get(str(kind))
    if strategy is None:
        raise UserError(
            f"{recipe.path}: how `type: {kind}` asks is not known here; ask can use the types of "
            f"prompt_strategies, and Axolotl's {' and '.join(AXOLOTLS_OWN)}"
        )
    return strategy


def _recipe(target: Path) -> Recipe | None:
    """Return the recipe that trained a model: for a run's folder what the run was started with."""
    if is_recipe(target):
        return read_recipe(target)
    for run in (target, target.parent):
        if record := run_record.read(run):
            return Recipe(run / run_record.NAME, record.recipe)
    return None


def print_answer(parts: dict[str, str], console: Console) -> None:
    """Show each part of an answer in a panel of its own."""
    for title, text in parts.items():
        language = "text" if title in ("answer", "plan") else "python"
        body: Any = Syntax(text, language, word_wrap=True) if text else "(nothing)"
        console.print(Panel(body, title=title, title_align="left"))
