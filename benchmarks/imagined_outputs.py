"""Replaces true outputs by imagined ones, to see what the truth of outputs is worth.

    python -m benchmarks.imagined_outputs RECIPE FOLDER OUT [--limit ROWS]

FOLDER is what `cogex prepare verified` wrote. The recipe's base emulates each row's program below
three training rows, as GPT-4 imagined the outputs of the published data. A row stays if what the
base wrote is a dict with the right keys. OUT/imagined and OUT/true then hold the same rows, with
the one output or the other.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from prompt_strategies.cogex import CogexStrategy
from tools.files import write_jsonl
from tools.generate import generate
from tools.prepared_rows import read_prepared_rows
from tools.python_text import literal
from tools.recipe import read_recipe
from validation.check.check import load_named

FILES = ("train.jsonl", "val.jsonl")
SHOTS, SEED = 3, 42
MOST_TOKENS = 80  # of an imagined output
Row = dict[str, str]


def main(recipe: Path, folder: Path, out: Path, limit: int | None = None) -> None:
    """Write both folders, and print how many imagined answers are right."""
    model, tokenizer = load_named(read_recipe(recipe), "base")
    rows = {name: read_prepared_rows(folder / name, CogexStrategy.columns) for name in FILES}
    rng = random.Random(SEED)
    shots = rng.sample(rows["train.jsonl"], SHOTS)
    console = Console()
    for name, every in rows.items():
        asked = rng.sample(every, min(limit or len(every), len(every)))
        outputs = imagine(model, tokenizer, shots, asked)
        kept = [(row, text) for row, text in zip(asked, outputs, strict=True) if text]
        right = sum(_answer(row["output"]) == _answer(text) for row, text in kept)
        write_jsonl(out / "true" / name, (row for row, _ in kept))
        write_jsonl(out / "imagined" / name, ({**row, "output": text} for row, text in kept))
        console.print(f"{name}: {len(kept)} of {len(asked)} rows kept, {right} answers right")


def imagine(model: Any, tokenizer: Any, shots: Sequence[Row], rows: Sequence[Row]) -> list[str]:
    """Return the output that the model writes for each row, or "" where its keys are not right."""
    examples = "".join(f"{before}{row['output']}\n\n" for row in shots for before in [_before(row)])
    made = generate(
        model,
        tokenizer,
        [examples + _before(row) for row in rows],
        max_length=model.config.max_position_embeddings,
        max_new_tokens=MOST_TOKENS,
    )
    texts = [item.text.partition("\n### Instruction\n")[0].strip() for item in made]
    return [
        text if _keys(text) == _keys(row["output"]) else ""
        for row, text in zip(rows, texts, strict=True)
    ]


def _before(row: Row) -> str:
    """Return all of a row that stands before its output."""
    text = CogexStrategy.render(row)
    return text.prompt + text.completion[: text.output_start] + "\n"


def _keys(output: str) -> list[str]:
    value = literal(output)
    return list(value) if isinstance(value, dict) else []


def _answer(output: str) -> Any:
    return literal(output)["answer"]


if __name__ == "__main__":
    typer.run(main)
