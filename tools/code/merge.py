"""Merges prepared folders of code rows and splits them into train.jsonl and val.jsonl.

Every row that is read is in one of the two, or in rejected.jsonl with its reason:

- `held out`: the row or a near-duplicate is in the mini suite or in a `--held-out` file, so that
  training never sees a task of a benchmark that will be reported;
- `duplicate of ID`: an earlier row has the same prompt and solution; `duplicate id`;
- `not drawn`: there are more rows than asked for.

Near-duplicates (`near_duplicates.py`) are never in different splits. Validation has of each
category (an id without its last part: `syn_lists`, `he`) the share that it has of all rows.
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
from tools.code.difficulty import LEVELS, level_of
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
from tools.python_text import quietly

# the plan's: go on with so many verified rows, add others below so many
ENOUGH, TOO_FEW = 500, 400
ALL = 10**9  # rows of an input: every one that can be used


def merge(
    inputs: Sequence[Path | str],
    out: Path,
    *,
    train_size: int = 450,
    val_size: int = 50,
    seed: int = 42,
    held_out: Sequence[Path] = (),
    curriculum: bool = False,
) -> dict[str, Any]:
    """Write train.jsonl and val.jsonl of the rows of prepared folders; return the manifest.

    Of an input FOLDER:N so many rows are taken, of FOLDER:all every row that can be used; the
    others give what is still missing, at random. Validation gets `val_size` rows, or the nearest
    number below that whole groups allow. Groups of near-duplicates are counted before rows are
    drawn. `held_out` are folders or files of rows. Each row carries its level (`level_of`); with
    `curriculum` the folder has one folder for each level, too. Raises UserError, with nothing
    written, if an input is not as `cogex prepare` left it, or if there are too few rows.
    """
    sources = [_source(str(text)) for text in inputs]
    folders = [folder for folder, _ in sources]
    check_out(out, folders[0], ())
    if out.resolve() in [folder.resolve() for folder in folders]:
        raise UserError(f"{out} is also an --input: give another folder")
    rows: list[dict[str, str]] = []
    quotas: list[int | None] = []  # of each row's folder
    places: list[range] = []  # of each folder's rows
    for folder, quota in sources:
        read = prepared_tasks(folder)
        places.append(range(len(rows), len(rows) + len(read)))
        rows += read
        quotas += [quota] * len(read)
    reasons = unwanted(rows, held_out)
    for (folder, quota), place in zip(sources, places, strict=True):
        reasons |= _over_quota(folder, quota, [i for i in place if i not in reasons], seed)
    left = [index for index in range(len(rows)) if index not in reasons]
    if len(left) < train_size + val_size:
        raise UserError(
            f"--train-size {train_size} and --val-size {val_size} need {train_size + val_size} "
            f"rows, and there are {len(left)} ({told(_count(reasons)) or 'none rejected'}): give "
            "smaller sizes, or another --input"
        )
    groups = near_duplicates.group([rows[index] for index in left])
    validation = _stratified(groups, [rows[index]["id"] for index in left], val_size, seed)
    others = [number for number in range(len(left)) if number not in validation]
    sure = [number for number in others if quotas[left[number]] is not None]
    if len(sure) > train_size:
        raise UserError(
            f"--input with a number asks for {len(sure)} training rows, and --train-size is "
            f"{train_size}: give a larger one, or smaller numbers"
        )
    rest = [number for number in others if quotas[left[number]] is None]
    more = train_size - len(sure)
    if more > len(rest):
        raise UserError(
            f"--train-size {train_size}: the inputs give {len(others)} training rows; give a "
            "smaller one, or more of an --input"
        )
    drawn = {*sure, *random.Random(str(seed)).sample(rest, more)}
    reasons |= {left[number]: "not drawn" for number in others if number not in drawn}
    split = {"train.jsonl": sorted(drawn), "val.jsonl": sorted(validation)}
    files: dict[str, list[Any]] = {
        name: [_with_level(rows[left[number]]) for number in numbers]
        for name, numbers in split.items()
    }
    levels = _by_level(files) if curriculum else {}
    files["rejected.jsonl"] = rejected_lines(reasons, rows)
    manifest = {
        "format": "code",
        "inputs": [origin(folder / "rows.jsonl") for folder in folders],
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
    for level, part in levels.items():
        counts = {name.removesuffix(".jsonl"): len(of) for name, of in part.items()}
        about = {"format": "code", "level": level, "seed": seed, "rejected": 0, **counts}
        write_folder(out / f"level-{level}", part, about, hashed=list(part))
    return write_folder(out, files, manifest, hashed=["train.jsonl", "val.jsonl"])


def _with_level(row: dict[str, str]) -> dict[str, str]:
    level = quietly(level_of, row["prompt"] + row["solution"]) or LEVELS[-1]
    return row | {"level": str(level)}


def _by_level(files: dict[str, list[Any]]) -> dict[int, dict[str, list[Any]]]:
    """Split the rows of each file by level. Raises UserError if a level has none in a file."""
    found = {
        level: {
            name: [row for row in rows if row["level"] == str(level)]
            for name, rows in files.items()
        }
        for level in LEVELS
    }
    for level, part in found.items():
        if none := [name for name, rows in part.items() if not rows]:
            raise UserError(
                f"--curriculum: no row of level {level} is in {none[0]}; give more rows, or "
                "another --input"
            )
    return found


def _source(text: str) -> tuple[Path, int | None]:
    """Return the folder of an --input, and how many of its rows are wanted: None if open."""
    folder, colon, wanted = text.rpartition(":")
    if colon and wanted == "all":
        return Path(folder), ALL
    if colon and wanted.isdecimal():
        return Path(folder), int(wanted)
    return Path(text), None


def _over_quota(
    folder: Path, quota: int | None, usable: Sequence[int], seed: int
) -> dict[int, str]:
    """Return the rows that are not drawn because their folder gives enough others."""
    if quota is None or quota == ALL:
        return {}
    if quota > len(usable):
        raise UserError(f"--input {folder}:{quota}: has {len(usable)} rows that can be used")
    kept = set(random.Random(f"{seed} {folder.name}").sample(usable, quota))
    return {index: "not drawn" for index in usable if index not in kept}


def _stratified(groups: Sequence[list[int]], ids: Sequence[str], size: int, seed: int) -> set[int]:
    """Return validation rows: whole groups, of each category its share, by largest remainders."""
    by_category: dict[str, list[list[int]]] = {}
    for group in groups:
        by_category.setdefault(ids[group[0]].rpartition("_")[0], []).append(group)
    shares = {
        name: size * sum(map(len, own)) / len(ids) for name, own in sorted(by_category.items())
    }
    wanted = {name: int(share) for name, share in shares.items()}
    largest = sorted(shares, key=lambda name: (wanted[name] - shares[name], name))
    for name in largest[: size - sum(wanted.values())]:
        wanted[name] += 1
    chosen: set[int] = set()
    for name, own in sorted(by_category.items()):
        chosen |= choose_validation(own, wanted[name], seed)
    # what whole groups left open
    others = [group for group in groups if chosen.isdisjoint(group)]
    return chosen | choose_validation(others, size - len(chosen), seed)


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
