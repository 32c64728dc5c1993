"""Merges prepared folders of code rows and splits them into train.jsonl and val.jsonl.

Every row that is read is in one of the two, or in rejected.jsonl with its reason:

- `held out`: the row or a near-duplicate is in the mini suite or in a `--held-out` file, so that
  training never sees a task of a benchmark that will be reported;
- `duplicate of ID`: an earlier row has the same prompt and solution; `duplicate id`;
- `not drawn`: there are more rows than asked for.

Near-duplicates (`near_duplicates.py`) are never in different splits.
"""

import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from prompt_strategies.code import CodeStrategy
from tools.code import near_duplicates
from tools.code.tasks import MINI, own_tasks
from tools.errors import UserError
from tools.files import sha256
from tools.prepare.folder import (
    check_out,
    commonest_first,
    print_counts,
    rejected_lines,
    told,
    write_folder,
)
from tools.prepare.split import choose_validation
from tools.prepared_rows import read_prepared_rows

# the plan's: go on with so many verified rows, add others below so many
ENOUGH, TOO_FEW = 500, 400


def merge(
    inputs: Sequence[Path],
    out: Path,
    *,
    train_size: int = 450,
    val_size: int = 50,
    seed: int = 42,
    held_out: Sequence[Path] = (),
) -> dict[str, Any]:
    """Write train.jsonl and val.jsonl of the rows of prepared folders; return the manifest.

    Validation gets `val_size` rows, or the nearest number below that whole groups allow. Groups of
    near-duplicates are counted before rows are drawn.
    `held_out` are folders or files of rows. Raises UserError, with nothing written, if an input
    is not as `cogex prepare` left it, or if there are too few rows.
    """
    check_out(out, inputs[0], ())
    if out.resolve() in [folder.resolve() for folder in inputs]:
        raise UserError(f"{out} is also an --input: give another folder")
    rows = [row for folder in inputs for row in prepared_tasks(folder)]
    reasons = unwanted(rows, held_out)
    left = [index for index in range(len(rows)) if index not in reasons]
    if len(left) < train_size + val_size:
        raise UserError(
            f"--train-size {train_size} and --val-size {val_size} need {train_size + val_size} "
            f"rows, and there are {len(left)} ({told(_count(reasons)) or 'none rejected'}): give "
            "smaller sizes, or another --input"
        )
    groups = near_duplicates.group([rows[index] for index in left])
    validation = choose_validation(groups, val_size, seed)
    others = [number for number in range(len(left)) if number not in validation]
    drawn = set(random.Random(str(seed)).sample(others, train_size))
    reasons |= {left[number]: "not drawn" for number in others if number not in drawn}
    files: dict[str, list[Any]] = {
        "train.jsonl": [rows[left[number]] for number in sorted(drawn)],
        "val.jsonl": [rows[left[number]] for number in sorted(validation)],
        "rejected.jsonl": rejected_lines(reasons, rows),
    }
    manifest = {
        "format": "code",
        "inputs": [origin(folder / "rows.jsonl") for folder in inputs],
        "held_out": [origin(rows_file(path)) for path in held_out],
        "read": len(rows),
        "kept": len(rows) - len(reasons),
        "rejected": len(reasons),
        "train": len(drawn),
        "val": len(validation),
        "near_duplicate_groups": len(groups),
        "reasons": _count(reasons),
        "seed": seed,
    }
    return write_folder(out, files, manifest, hashed=["train.jsonl", "val.jsonl"])


def prepared_tasks(
    folder: Path, fields: Sequence[str] = CodeStrategy.columns
) -> list[dict[str, str]]:
    """Read a folder that `cogex prepare humaneval`, `mbpp` or `synthetic` has written.

    Its rows are verified if the manifest knows the file. Raises UserError.
    """
    path = folder / "rows.jsonl"
    rows = read_prepared_rows(path, fields)
    manifest = folder / "manifest.json"
    if not manifest.is_file() or sha256(path).encode() not in manifest.read_bytes():
        raise UserError(
            f"{path} is not the file that its manifest.json names, so its rows are not known to "
            "be verified: prepare the folder again"
        )
    return rows


def rows_file(path: Path) -> Path:
    """Return the file of rows that a folder or file names."""
    return path / "rows.jsonl" if path.is_dir() else path


def unwanted(rows: Sequence[dict[str, str]], held_out: Sequence[Path]) -> dict[int, str]:
    """Return why rows are not used, by index: they resemble a held-out row, or repeat another."""
    kept_away = [task.row for task in own_tasks(MINI)]
    for path in held_out:
        kept_away += _held_out_rows(rows_file(path))
    held_ids = {row["id"] for row in kept_away}
    held_keys = {key: row["id"] for row in kept_away for key in near_duplicates.keys(row)}
    texts: dict[tuple[str, str], str] = {}
    ids: set[str] = set()
    reasons = {}
    for index, row in enumerate(rows):
        if row["id"] in held_ids:
            reasons[index] = "held out: by its id"
        elif resembled := near_duplicates.keys(row) & held_keys.keys():
            first = min(held_keys[key] for key in resembled)
            reasons[index] = f"held out: near-duplicate of {first}"
        else:
            earlier = texts.setdefault((row["prompt"], row["solution"]), row["id"])
            if row["id"] in ids:
                reasons[index] = "duplicate id"
            elif earlier != row["id"]:
                reasons[index] = f"duplicate of {earlier}"
            else:
                ids.add(row["id"])
    return reasons


def _held_out_rows(path: Path) -> list[dict[str, str]]:
    """Read prepared tasks, or the functions of CRUXEval's own file."""
    cruxeval = ("id", "code", "input", "output")
    with suppress(UserError):
        rows = read_prepared_rows(path, cruxeval)
        return [{"id": row["id"], "prompt": "", "solution": row["code"]} for row in rows]
    return read_prepared_rows(path, CodeStrategy.columns)


def _count(reasons: dict[int, str]) -> dict[str, int]:
    """Count the reasons, without the ids in them."""
    return commonest_first(
        Counter(reason.split(":")[0].split(" of ")[0] for reason in reasons.values())
    )


def origin(path: Path) -> dict[str, Any]:
    """Return what a manifest says of an input."""
    return {"path": str(path), "sha256": sha256(path)}


def print_summary(manifest: dict[str, Any], console: Console) -> None:
    """Print every count and reason."""
    counts = {name: manifest[name] for name in ("read", "train", "val")}
    counts["groups of near-duplicates"] = manifest["near_duplicate_groups"]
    print_counts("rows", counts, manifest, console)
    console.print(decision(manifest["train"] + manifest["val"]), soft_wrap=True)


def decision(rows: int) -> str:
    """Say what the plan of this track does with so many verified rows."""
    if rows >= ENOUGH:
        return f"The plan's decision at {rows:,} verified rows: enough; go on to LoRA."
    if rows < TOO_FEW:
        return (
            f"The plan's decision at {rows:,} verified rows: fewer than {TOO_FEW}; add tasks that "
            "a teacher writes, or tasks of your own."
        )
    return f"The plan's decision at {rows:,} verified rows: usable; {ENOUGH} were aimed at."
