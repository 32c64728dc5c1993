"""Joins prepared folders into one: `cogex prepare join --input FOLDER[:N] … --out FOLDER`.

Each part gives its train.jsonl, or N rows of it drawn by the seed; of its val.jsonl the same share;
and all of its unseen.jsonl. The parts come in the order given. A row is left out, and counted in
manifest.json and listed in rejected.jsonl, if

- `duplicate of ID`: an earlier row of the same file has the same texts;
- `its task is in unseen.jsonl`, `its task is in val.jsonl`: another part keeps the same instruction
  and input away from training, or from validation.

`not drawn` counts what N left over; those rows stay in their part's folder.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from prompt_strategies.base import CompletionStrategy, own_strategies
from tools.errors import UserError
from tools.files import sha256
from tools.prepare.folder import (
    MANIFEST,
    check_out,
    commonest_first,
    print_counts,
    rejected_line,
    write_folder,
)
from tools.prepare.split import group_key
from tools.prepared_rows import read_prepared_rows
from tools.results import Manifest, read_result

TRAIN, VAL, UNSEEN = FILES = ("train.jsonl", "val.jsonl", "unseen.jsonl")
Row = dict[str, str]


@dataclass
class Part:
    """A folder to be joined; `rows` has its files' rows, `wanted` the training rows asked for."""

    folder: Path
    wanted: int | None
    manifest: Manifest
    rows: dict[str, list[Row]] = field(default_factory=dict)


def join(inputs: Sequence[str], out: Path, *, seed: int = 42) -> dict[str, Any]:
    """Write the joined folder; return its manifest.

    Each input is FOLDER, or FOLDER:N for N training rows. Raises UserError, with nothing written,
    if an input is no prepared folder, if the parts have different prompt strategies, or if a part
    has fewer than N rows.
    """
    parts = [_part(text, out) for text in inputs]
    strategy = _strategy(parts)
    for part in parts:
        for name in FILES:
            path = part.folder / name
            if path.is_file() or name != UNSEEN:
                part.rows[name] = read_prepared_rows(path, strategy.columns)
    kept, rejected = _unlike(parts, strategy)
    rng = random.Random(str(seed))
    drawn = [_drawn(part, rows, rng) for part, rows in zip(parts, kept, strict=True)]
    files = {name: [row for rows in drawn for row in rows[name]] for name in FILES}
    _make_ids_unique(files)
    counts = {_stem(name): len(rows) for name, rows in files.items()}
    read = sum(len(rows) for part in parts for rows in part.rows.values())
    manifest = {
        "format": strategy.dataset,
        "layout_version": parts[0].manifest.layout_version,
        "parts": [_origin(part, rows) for part, rows in zip(parts, drawn, strict=True)],
        "read": read,
        **counts,
        "rejected": len(rejected),
        "reasons": commonest_first(Counter(line["reason"].split(" of ")[0] for line in rejected)),
        "not_drawn": read - len(rejected) - sum(counts.values()),
        "seed": seed,
    }
    written = {name: rows for name, rows in files.items() if rows}
    return write_folder(
        out, {**written, "rejected.jsonl": rejected}, manifest, hashed=list(written)
    )


def _origin(part: Part, drawn: dict[str, list[Row]]) -> dict[str, Any]:
    """Return what the manifest of the joined folder says of a part."""
    return {
        "path": str(part.folder),
        "sha256": {name: sha256(part.folder / name) for name in part.rows},
        "rows": {_stem(name): len(rows) for name, rows in part.rows.items()},
        "taken": {_stem(name): len(drawn[name]) for name in part.rows},
    }


def _stem(name: str) -> str:
    return name.removesuffix(".jsonl")


def _part(text: str, out: Path) -> Part:
    name, colon, count = text.rpartition(":")
    counted = bool(colon) and count.isdecimal()
    folder, wanted = (Path(name), int(count)) if counted else (Path(text), None)
    if wanted == 0:
        raise UserError(f"--input {text}: give 1 row or more, or leave the folder out")
    check_out(out, folder, ("",))
    manifest = read_result(Manifest, folder / MANIFEST, "cogex prepare")
    if manifest is None:
        raise UserError(
            f"{folder / MANIFEST}: there is no such file; --input names a folder that `cogex "
            "prepare` has written"
        )
    return Part(folder, wanted, manifest)


def _strategy(parts: Sequence[Part]) -> type[CompletionStrategy]:
    """Return the one strategy of all parts. Raises UserError if there are several."""
    found = {(part.manifest.format, part.manifest.layout_version) for part in parts}
    if len(found) > 1:
        told = ", ".join(
            f"{part.folder} has {part.manifest.format} rows (layout {part.manifest.layout_version})"
            for part in parts
        )
        raise UserError(f"the folders have no one prompt strategy: {told}; join those of one kind")
    [(name, _)] = found
    known = {each.dataset: each for each in own_strategies()}
    if name not in known:
        raise UserError(
            f"{parts[0].folder}: its rows are of the kind {name!r}, which has no prompt strategy; "
            "join folders with train.jsonl and val.jsonl"
        )
    return known[name]


def _unlike(
    parts: Sequence[Part], strategy: type[CompletionStrategy]
) -> tuple[list[dict[str, list[Row]]], list[dict[str, Any]]]:
    """Return each part's rows that are kept, by file, and the lines of rejected.jsonl.

    unseen.jsonl comes before val.jsonl, and that before train.jsonl: what is kept away is never
    trained on.
    """
    kept: list[dict[str, list[Row]]] = [{} for _ in parts]
    rejected: list[dict[str, Any]] = []
    tasks: dict[tuple[str, ...], str] = {}  # each task and the file that has it
    for name in reversed(FILES):
        seen: dict[tuple[str, ...], str] = {}  # the texts of each row, and its id
        for part, files in zip(parts, kept, strict=True):
            files[name] = []
            for index, row in enumerate(part.rows.get(name, [])):
                texts = tuple(row[column] for column in strategy.columns if column != "id")
                home = tasks.setdefault(group_key(row, strategy.given), name)
                if home != name:
                    reason = f"its task is in {home}"
                elif texts in seen:
                    reason = f"duplicate of {seen[texts]}"
                else:
                    seen[texts] = row["id"]
                    files[name].append(row)
                    continue
                file = {"file": str(part.folder / name)}
                rejected.append(file | rejected_line(index, reason, row))
    return kept, rejected


def _drawn(part: Part, rows: dict[str, list[Row]], rng: random.Random) -> dict[str, list[Row]]:
    """Return the rows that a part gives, in their order."""
    if part.wanted is None:
        return rows
    have = len(rows[TRAIN])
    if part.wanted > have:
        raise UserError(
            f"--input {part.folder}:{part.wanted} asks for more than the {have} rows of "
            "train.jsonl that no other part has: give fewer, or leave the number out"
        )
    of_val = max(1, round(len(rows[VAL]) * part.wanted / have)) if rows[VAL] else 0
    sizes = {TRAIN: part.wanted, VAL: of_val, UNSEEN: len(rows[UNSEEN])}
    return {
        name: [rows[name][index] for index in sorted(rng.sample(range(len(rows[name])), size))]
        for name, size in sizes.items()
    }


def _make_ids_unique(files: dict[str, list[Row]]) -> None:
    taken: set[str] = set()
    for rows in files.values():
        for index, row in enumerate(rows):
            while row["id"] in taken:
                row["id"] = f"{row['id']}-{index}"
            taken.add(row["id"])


def print_summary(manifest: dict[str, Any], console: Console) -> None:
    """Print what each part gave, every count and every reason."""
    counts = {
        f"{part['path']}: {name}": taken
        for part in manifest["parts"]
        for name, taken in part["taken"].items()
    }
    for name in ("read", "train", "val", "unseen", "not_drawn"):
        counts[name.replace("_", " ")] = manifest[name]
    print_counts("rows", counts, manifest, console)
