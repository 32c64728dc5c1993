"""Asks a trained model one instruction and shows the parts of its answer."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.syntax import Syntax

from prompt_strategies.cogex import CogexStrategy
from tools.errors import UserError
from tools.generate import NOTHING, generate
from tools.models import is_recipe, load_trained
from tools.prepared_rows import declared_strategy
from tools.python_text import take_program
from tools.recipe import read_recipe


def ask(
    target: Path,
    instruction: str,
    input: str = "",
    *,
    temperature: float = 0.0,
    seed: int = 0,
    max_length: int | None = None,
) -> dict[str, str]:
    """Let the model of a recipe's `best/`, or of a model folder, answer one instruction.

    Returns the parts of the answer as the recipe's strategy names them; a program without code
    fence and prose. A folder names no strategy: its model is asked as a CoGEX model is. Raises
    UserError if there is no such model, or if the instruction fills its context.
    """
    model, tokenizer = load_trained(target)
    strategy = None
    if is_recipe(target):
        recipe = read_recipe(target)
        strategy = declared_strategy(recipe, recipe.training)
    strategy = strategy or CogexStrategy
    prompt = strategy.render_question(instruction, input)
    limit = max_length or min(2048, model.config.max_position_embeddings)
    [generation] = generate(
        model, tokenizer, [prompt], max_length=limit, temperature=temperature, seed=seed
    )
    if generation == NOTHING:
        raise UserError(
            f"the instruction fills the {limit} tokens that the model takes; shorten it"
        )
    parts = strategy.parse(generation.text)
    if "program" in parts:
        parts["program"] = take_program(parts["program"])
    return parts


def print_answer(parts: dict[str, str], console: Console) -> None:
    """Show each part of an answer in a panel of its own."""
    for title, text in parts.items():
        language = "text" if title in ("answer", "plan") else "python"
        body: Any = Syntax(text, language, word_wrap=True) if text else "(nothing)"
        console.print(Panel(body, title=title, title_align="left"))
