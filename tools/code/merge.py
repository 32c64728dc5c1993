"""Merges prepared folders of code rows, and splits them: train.jsonl and val.jsonl.

Every row read is in one of the two, or in rejected.jsonl with its reason:

- `held out`: its id, or a near-duplicate of it, is in the mini suite or in what `--held-out`
  names, so that no row of a benchmark that will be reported is trained on;
- `duplicate of ID`: prompt and solution are those of an earlier row; `duplicate id`;
- `not drawn`: there are more rows than were asked for.

Near-duplicates (`near_duplicates.py`) never straddle the split.
"""

import random
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tools.code import near_duplicates
from tools.code.tasks import MINI, own_tasks
from tools.errors import UserError
from tools.files import sha256, write_json, write_jsonl
from tools.prepare.code import ROW_FIELDS
from tools.prepare.pipeline import commonest_first
from tools.prepare.split import choose_validation
from tools.prepared_rows import read_prepared_rows

CodeRow = dict[str, str]


@dataclass(frozen=True)
class Summary:
    """What became of the rows; `near_duplicate_groups` counts those of the rows not rejected."""

    inputs: list[dict[str, Any]]
    held_out: list[dict[str, Any]]
    read: int
    kept: int
    rejected: int
    train: int
    val: int
    near_duplicate_groups: int
    reasons: dict[str, int]
    seed: int


def merge(
    inputs: Sequence[Path],
    out: Path,
    *,
    train_size: int = 450,
    val_size: int = 50,
    seed: int = 42,
    held_out: Sequence[Path] = (),
) -> Summary:
    """Write train.jsonl and val.jsonl of the rows of prepared folders.

    Validation gets `val_size` rows, or the nearest number below that whole groups allow.
    `held_out` are folders or files of rows. Raises UserError, with nothing written, if an input
    is not as `cogex prepare` left it, or there are too few rows.
    """
    _check(inputs, out, train_size, val_size)
    read = [row for folder in inputs for row in _prepared(folder)]
    rejected: list[dict[str, Any]] = []
    rows = _without_repeats(_without_held_out(read, held_out, rejected), rejected)
    if len(rows) < train_size + val_size:
        told = ", ".join(f"{n} {reason}" for reason, n in _reasons(rejected).items())
        raise UserError(
            f"--train-size {train_size} and --val-size {val_size} need {train_size + val_size} "
            f"rows, and there are {len(rows)}{f' ({told})' if told else ''}: give smaller sizes, "
            "or another --input"
        )
    groups = near_duplicates.group([row for _, row in rows])
    validation = choose_validation(groups, val_size, seed)
    others = [number for number in range(len(rows)) if number not in validation]
    drawn = set(random.Random(str(seed)).sample(others, train_size))
    train = [row for number, (_, row) in enumerate(rows) if number in drawn]
    val = [row for number, (_, row) in enumerate(rows) if number in validation]
    for number in others:
        if number not in drawn:
            index, row = rows[number]
            rejected.append({"index": index, "reason": "not drawn", "row": row})
    summary = Summary(
        inputs=[_origin(folder / "rows.jsonl") for folder in inputs],
        held_out=[_origin(_rows_file(path)) for path in held_out],
        read=len(read),
        kept=len(train) + len(val),
        rejected=len(rejected),
        train=len(train),
        val=len(val),
        near_duplicate_groups=len(groups),
        reasons=_reasons(rejected),
        seed=seed,
    )
    _write(out, train, val, sorted(rejected, key=lambda line: line["index"]), summary)
    return summary


def _check(inputs: Sequence[Path], out: Path, train_size: int, val_size: int) -> None:
    if not inputs:
        raise UserError(
            "give --input, once or more: folders that `cogex prepare humaneval`, `mbpp` or "
            "`synthetic` has written"
        )
    if train_size < 1 or val_size < 0:
        raise UserError(
            f"--train-size {train_size}, --val-size {val_size}: give 1 or more rows for training, "
            "0 or more for validation"
        )
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: --out names the folder to write into")
    if out.resolve() in [folder.resolve() for folder in inputs]:
        raise UserError(f"{out} is also an --input: give a folder of its own")


def _prepared(folder: Path) -> list[CodeRow]:
    """Read a prepared folder; every row in it was verified if the file is still the same."""
    path = folder / "rows.jsonl"
    rows = read_prepared_rows(path, ROW_FIELDS)
    try:
        manifest = (folder / "manifest.json").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        manifest = ""
    if sha256(path) not in manifest:
        raise UserError(
            f"{path} is not what `cogex prepare` wrote there, by its manifest.json, so its rows "
            "are not known to be verified: prepare it again"
        )
    return rows


def _rows_file(path: Path) -> Path:
    return path / "rows.jsonl" if path.is_dir() else path


def _without_held_out(
    rows: Sequence[CodeRow], held_out: Sequence[Path], rejected: list[dict[str, Any]]
) -> list[tuple[int, CodeRow]]:
    """Return rows with their index, but for those that are or resemble a held-out one."""
    kept_away = [task.row for task in own_tasks(MINI)]
    for path in held_out:
        kept_away += read_prepared_rows(_rows_file(path), ROW_FIELDS)
    ids = {row["id"] for row in kept_away}
    keys = {key: row["id"] for row in kept_away for key in _keys(row)}
    kept = []
    for index, row in enumerate(rows):
        resembled = sorted(keys[key] for key in _keys(row) & keys.keys())
        if row["id"] in ids:
            reason = "held out: by its id"
        elif resembled:
            reason = f"held out: near-duplicate of {resembled[0]}"
        else:
            kept.append((index, row))
            continue
        rejected.append({"index": index, "reason": reason, "row": row})
    return kept


def _keys(row: CodeRow) -> frozenset[tuple[str, str]]:
    try:
        return near_duplicates.keys(row)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(
            f"row {row['id']}: cannot be compared with others: {error}; prepare it again"
        ) from None


def _without_repeats(
    rows: Sequence[tuple[int, CodeRow]], rejected: list[dict[str, Any]]
) -> list[tuple[int, CodeRow]]:
    seen: dict[tuple[str, str], str] = {}
    ids: set[str] = set()
    kept = []
    for index, row in rows:
        earlier = seen.setdefault((row["prompt"], row["solution"]), row["id"])
        if row["id"] in ids:
            rejected.append({"index": index, "reason": "duplicate id", "row": row})
        elif earlier != row["id"]:
            rejected.append({"index": index, "reason": f"duplicate of {earlier}", "row": row})
        else:
            ids.add(row["id"])
            kept.append((index, row))
    return kept


def _reasons(rejected: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Count the reasons, without the ids in them."""
    return commonest_first(
        Counter(line["reason"].split(":")[0].split(" of ")[0] for line in rejected)
    )


def _origin(path: Path) -> dict[str, Any]:
    return {"path": str(path), "sha256": sha256(path)}


def _write(
    out: Path,
    train: list[CodeRow],
    val: list[CodeRow],
    rejected: list[dict[str, Any]],
    summary: Summary,
) -> None:
    """Write the files, manifest.json last: where it lies, the others are whole."""
    try:
        (out / "manifest.json").unlink(missing_ok=True)
        # Axolotl's cache is keyed by the recipe: it would train on the rows that are replaced here
        shutil.rmtree(out / "prepared", ignore_errors=True)
        for name, lines in (("train", train), ("val", val), ("rejected", rejected)):
            write_jsonl(out / f"{name}.jsonl", lines)
        hashes = {name: sha256(out / name) for name in ("train.jsonl", "val.jsonl")}
        write_json(out / "manifest.json", {"format": "code", **vars(summary), "sha256": hashes})
    except OSError as error:
        raise UserError(
            f"{out} cannot be written: {error.strerror}; give another folder, or make room"
        ) from None


def print_summary(summary: Summary, console: Console) -> None:
    """Print every count and reason."""
    table = Table("rows", "count")
    table.columns[1].justify = "right"
    for name in ("read", "train", "val", "rejected"):
        table.add_row(name, f"{getattr(summary, name):,}")
    for reason, count in summary.reasons.items():
        table.add_row(f"  {reason}", f"{count:,}")
    table.add_row("groups of near-duplicates", f"{summary.near_duplicate_groups:,}")
    console.print(table)
