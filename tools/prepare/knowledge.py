"""Makes CoGEX rows that need knowledge: `cogex prepare knowledge --out FOLDER`.

The families, their facts and programs are in tools/knowledge. A row's output is what its program
returns when it runs with the true leaf functions, and all programs of a family agree about the
answer. train.jsonl and val.jsonl hold the seen families; unseen.jsonl holds those that are held out
whole. Validation asks about other items than training where a family has many; nowhere does it
repeat arguments of training.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from prompt_strategies.cogex import CogexStrategy
from tools.errors import UserError
from tools.files import sha256
from tools.knowledge.families import (
    FACT_FILES,
    FAMILIES_FILE,
    Family,
    input_text,
    read_families,
)
from tools.prepare.folder import check_out, print_counts, write_folder

MANY_ITEMS = 30  # from so many on, a family keeps a sixth of its items for validation
TRIES = 100  # draws for each row that is wanted
Row = dict[str, str]


def prepare_knowledge(
    out: Path,
    *,
    rows_per_family: int = 60,
    val_per_family: int = 4,
    unseen_per_family: int = 20,
    seed: int = 42,
) -> dict[str, Any]:
    """Write the rows and return the manifest; a family whose items are used up gives fewer.

    Raises UserError, with nothing written, if a number is below 1, or if programs of a family
    disagree with each other or with their example.
    """
    wanted = {"train": rows_per_family, "val": val_per_family, "unseen": unseen_per_family}
    if min(wanted.values()) < 1:
        raise UserError(
            f"--rows-per-family {rows_per_family}, --val-per-family {val_per_family}, "
            f"--unseen-per-family {unseen_per_family}: give 1 or more of each"
        )
    check_out(out, FAMILIES_FILE, ())
    made = {family.name: _rows(family, wanted, seed) for family in read_families()}
    files = {name: _in_turn([rows.get(name, []) for rows in made.values()]) for name in wanted}
    manifest = {
        "format": CogexStrategy.dataset,
        "layout_version": CogexStrategy.layout_version,
        **{name: len(rows) for name, rows in files.items()},
        "families": {
            family: {name: len(rows) for name, rows in by_file.items()}
            for family, by_file in made.items()
        },
        "facts": {path.name: sha256(path) for path in (*FACT_FILES, FAMILIES_FILE)},
        "rejected": 0,
        "reasons": {},
        "seed": seed,
    }
    written = {f"{name}.jsonl": rows for name, rows in files.items()}
    return write_folder(out, written, manifest, hashed=list(written))


def _in_turn(by_family: Sequence[Sequence[Row]]) -> list[Row]:
    """Return all rows with the families in turn, so that the first rows of a file have them all."""
    numbered = [(number, row) for rows in by_family for number, row in enumerate(rows)]
    return [row for _, row in sorted(numbered, key=lambda pair: pair[0])]


def _rows(family: Family, wanted: dict[str, int], seed: int) -> dict[str, list[Row]]:
    """Return the rows of one family by file."""
    family.check()
    rng = random.Random(f"{seed} {family.name}")
    items = rng.sample(list(family.facts), len(family.facts))
    avoided: set[str] = set()
    if family.held_out:
        return {"unseen": _draw_rows(family, rng, items, wanted["unseen"], avoided)}
    kept = len(items) // 6 if len(items) >= MANY_ITEMS else 0
    val = _draw_rows(family, rng, items[:kept] or items, wanted["val"], avoided)
    train = _draw_rows(family, rng, items[kept:], wanted["train"], avoided)
    for number, row in enumerate([*train, *val]):
        row["id"] = f"{family.name}-{number:04d}"
    return {"train": train, "val": val}


def _draw_rows(
    family: Family, rng: random.Random, items: Sequence[str], count: int, avoided: set[str]
) -> list[Row]:
    """Return up to `count` rows about `items`; no two ask the same.

    None has an input in `avoided`, to which theirs are added at the end.
    """
    rows: dict[tuple[str, str], Row] = {}
    texts = set()
    for _ in range(TRIES * count):
        args = family.arguments(rng, items)
        text, instruction = input_text(args), rng.choice(family.instructions)
        number = rng.randrange(len(family.programs))
        if text in avoided or (instruction, text) in rows:
            continue
        texts.add(text)
        call, output = family.outputs(args)[number]
        rows[instruction, text] = {
            "id": f"{family.name}-{len(rows):04d}",
            "instruction": instruction.replace("{}", text),
            "input": "" if "{}" in instruction else text,
            "code": f"{family.programs[number].source}\n\n>>> {call}",
            "output": repr(output),
            "family": family.name,
        }
        if len(rows) == count:
            break
    avoided |= texts
    return list(rows.values())


def print_summary(manifest: dict[str, Any], wanted: int, console: Console) -> None:
    """Print the rows of each file, and the families that have fewer training rows than `wanted`."""
    families = manifest["families"]
    held_out = sum("unseen" in counts for counts in families.values())
    counts = {name: manifest[name] for name in ("train", "val", "unseen")}
    counts |= {"families seen in training": len(families) - held_out, "families held out": held_out}
    counts |= {
        f"fewer than asked for: {name}": found["train"]
        for name, found in families.items()
        if found.get("train", wanted) < wanted
    }
    print_counts("knowledge rows", counts, manifest, console)
