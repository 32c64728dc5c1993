"""Asks a trained model one instruction and shows program, call and output apart."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.syntax import Syntax

from prompt_strategies.layout import Completion, parse_completion, render_prompt
from tools.errors import UserError
from tools.generate import NOTHING, generate
from tools.models import load_trained


def ask(
    target: Path,
    instruction: str,
    input: str = "",
    *,
    temperature: float = 0.0,
    seed: int = 0,
    max_length: int | None = None,
) -> Completion:
    """Let the model of a recipe's `best/`, or of a model folder, answer one instruction.

    Raises UserError if there is no such model, or if the instruction fills its context.
    """
    model, tokenizer = load_trained(target)
    prompt = render_prompt(instruction, input)
    limit = max_length or min(2048, model.config.max_position_embeddings)
    [generation] = generate(
        model, tokenizer, [prompt], max_length=limit, temperature=temperature, seed=seed
    )
    if generation == NOTHING:
        raise UserError(
            f"the instruction fills the {limit} tokens that the model takes; shorten it"
        )
    return parse_completion(generation.text)


def print_completion(completion: Completion, console: Console) -> None:
    """Show program, call and output, each in a panel of its own."""
    parts: list[tuple[str, Any]] = [
        ("program", completion.program),
        ("call", completion.call),
        ("output", completion.output),
    ]
    for title, text in parts:
        body = Syntax(text, "python", word_wrap=True) if text else "(nothing)"
        console.print(Panel(body, title=title, title_align="left"))
