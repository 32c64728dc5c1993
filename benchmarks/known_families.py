"""Which families of questions does a base know, and how does its adapter do on these?

    python -m benchmarks.known_families RECIPE [--rows 12] [--answers FILE]

A family is known if the base, below four answered training rows of it, answers at least half of
`--rows` other training rows, but for case and punctuation. FILE is the generations*.jsonl of a
check of the recipe's run: its exact answers are counted, in the known families and in the others.
"""

import random
from collections import defaultdict
from functools import partial
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from prompt_strategies.cogex import CogexStrategy
from tools.generate import open_writer
from tools.intervals import wilson
from tools.prepared_rows import read_prepared_rows
from tools.python_text import literal
from tools.recipe import Recipe, read_recipe
from tools.results import GeneratedRow, read_results
from tools.search.metrics import normalise
from validation.check.check import load_named

SHOTS, SEED, MOST_TOKENS = 4, 42, 40
KNOWN = 0.5  # share of right answers

Row = dict[str, str]


def main(recipe: Path, rows: int = 12, answers: Path | None = None) -> None:
    """Print the base's right answers by family, then the adapter's on those that it knows."""
    read = read_recipe(recipe)
    every = read_prepared_rows(Path(read.training["path"]), CogexStrategy.columns)
    families: defaultdict[str, list[Row]] = defaultdict(list)
    for row in every:
        if row.get("family"):
            families[row["family"]].append(row)
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
    report(right, checked(read, answers) if answers else {})


def checked(recipe: Recipe, answers: Path) -> dict[str, list[bool]]:
    """Return by family whether each answer of a check is exactly right."""
    rows = read_prepared_rows(Path(recipe.validation["path"]), CogexStrategy.columns)
    families = {row["id"]: row.get("family") for row in rows}
    found: defaultdict[str, list[bool]] = defaultdict(list)
    for row in read_results(GeneratedRow, answers, "cogex check"):
        if name := families.get(row.id):
            found[name].append(row.holds["answer_exact"] is True)
    return found


def report(right: dict[str, list[bool]], found: dict[str, list[bool]]) -> None:
    """Print a line for each family, and the sums of what was checked."""
    known = [name for name, held in right.items() if sum(held) >= KNOWN * len(held)]
    table = Table("family", "base, asked directly", "checked")
    for name, held in sorted(right.items(), key=lambda item: -sum(item[1])):
        told = f"{sum(found[name])}/{len(found[name])}" if name in found else ""
        table.add_row(name + " (known)" * (name in known), f"{sum(held)}/{len(held)}", told)
    console = Console()
    console.print(table)
    for told, names in (("known", known), ("other", [name for name in right if name not in known])):
        held = [each for name in names for each in found.get(name, [])]
        if held:
            low, high = wilson(sum(held), len(held))
            share = f"{sum(held) / len(held):.1%} ({100 * low:.0f} to {100 * high:.0f})"
            console.print(f"{len(names)} {told} families: {sum(held)} of {len(held)}, {share}")


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
