"""Which families of questions does a base know, and how does its adapter do on these?

    python -m benchmarks.known_families RECIPE [--rows 20] [--check FILE]

A family is known if the base, below four answered training rows of it, answers at least half of
`--rows` other training rows exactly. FILE is a check.json of the recipe's run; its validation rows
of the known families are counted.
"""

import json
import random
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from prompt_strategies.cogex import CogexStrategy
from tools.generate import open_writer
from tools.intervals import wilson
from tools.prepared_rows import read_prepared_rows
from tools.python_text import literal
from tools.recipe import read_recipe
from tools.search.metrics import normalise
from validation.check.check import load_named
from validation.check.measures import family

SHOTS, SEED, MOST_TOKENS = 4, 42, 40
KNOWN = 0.5  # share of right answers

Row = dict[str, str]


def main(recipe: Path, rows: int = 20, check: Path | None = None) -> None:
    """Print the base's right answers by family, then the adapter's on those that it knows."""
    read = read_recipe(recipe)
    every = read_prepared_rows(Path(read.training["path"]), CogexStrategy.columns)
    families: defaultdict[str, list[Row]] = defaultdict(list)
    for row in every:
        if row.get("family"):
            families[str(family(row))].append(row)
    model, _, write = open_writer(partial(load_named, read, "base"))
    rng = random.Random(SEED)
    shown = {name: rng.sample(of, min(SHOTS + rows, len(of))) for name, of in families.items()}
    asked = [(name, row) for name, of in sorted(shown.items()) for row in of[SHOTS:]]
    examples = {name: "".join(map(answered, of[:SHOTS])) for name, of in shown.items()}
    prompts = [examples[name] + question(row) for name, row in asked]
    length = model.config.max_position_embeddings
    made = write(prompts, max_length=length, max_new_tokens=MOST_TOKENS)
    right: defaultdict[str, list[bool]] = defaultdict(list)
    for (name, row), item in zip(asked, made, strict=True):
        right[name].append(same(item.text.strip().split("\n")[0], answer(row)))
    known = [name for name, held in right.items() if sum(held) >= KNOWN * len(held)]
    report(right, known, json.loads(check.read_text()) if check else {})


def report(right: dict[str, list[bool]], known: list[str], check: dict[str, Any]) -> None:
    """Print a line for each family, and the sums."""
    by_family = check.get("answer_exact_by_family", {})
    table = Table("family", "base, asked directly", "check")
    for name, held in sorted(right.items(), key=lambda item: -sum(item[1])):
        found = by_family.get(name)
        told = f"{found['count']}/{found['rows']}" if found else ""
        table.add_row(name + " (known)" * (name in known), f"{sum(held)}/{len(held)}", told)
    console = Console()
    console.print(table)
    found = [by_family[name] for name in known if name in by_family]
    if found:
        count, rows = (sum(item[key] for item in found) for key in ("count", "rows"))
        low, high = wilson(count, rows)
        share = f"{count / rows:.1%} ({100 * low:.0f} to {100 * high:.0f})"
        console.print(f"{len(known)} known families: {count} of {rows} right, {share}")


def question(row: Row) -> str:
    """Return a row as the base is asked."""
    return f"Question: {row['instruction']}\nInput: {row['input']}\nAnswer:"


def answered(row: Row) -> str:
    """Return a row with its answer, as an example."""
    return f"{question(row)} {answer(row)}\n\n"


def answer(row: Row) -> str:
    """Return a row's answer as text; a list with commas."""
    value = literal(row["output"])["answer"]
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def same(written: str, right: str) -> bool:
    """Whether two answers are equal but for case, punctuation and white space."""
    return normalise(written) == normalise(right)


if __name__ == "__main__":
    typer.run(main)
