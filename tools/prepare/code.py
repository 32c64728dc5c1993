"""Turns the tasks of a benchmark into rows of prompt and solution: rows.jsonl, manifest.json.

Every task read is either kept or in rejected.jsonl with its reason:

- what `humaneval.py`, `mbpp.py` or `fields.py` names, where it has no prompt and solution;
- `duplicate id`;
- `more than N lines`, `not simple: ...`, by `difficulty.py`, where that is asked for;
- `its own solution ...`: prompt and solution do not pass the task's own tests in the sandbox.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from tools.code import near_duplicates
from tools.code.difficulty import DEEPEST, MOST_DECISIONS, count_lines, not_simple
from tools.code.humaneval import humaneval_task
from tools.code.mbpp import mbpp_task
from tools.code.tasks import Task, read_published
from tools.code.trial import VERDICTS, try_programs
from tools.errors import UserError
from tools.files import sha256, write_json, write_jsonl
from tools.prepare.fetch import verified
from tools.prepare.fields import RejectedError
from tools.prepare.pipeline import commonest_first

OUTPUTS = ("rows.jsonl", "rejected.jsonl", "manifest.json")
ROW_FIELDS = ("id", "prompt", "solution")

Difficulty = Literal["simple", "any"]


@dataclass(frozen=True)
class Summary:
    """What became of the tasks; `reasons` counts the rejected, the commonest first."""

    source: dict[str, Any]
    read: int
    kept: int
    rejected: int
    reasons: dict[str, int]


@dataclass(frozen=True)
class Candidate:
    """A task as it was read, or the reason why it is none."""

    index: int
    row: Any
    task: Task | None
    reason: str = ""


def prepare_published(
    name: Literal["humaneval", "mbpp"],
    source: Path | None,
    out: Path,
    *,
    allow_code_execution: bool,
    max_lines: int | None,
    difficulty: Difficulty,
) -> Summary:
    """Write the rows of a published file, else of the fetched one, into the folder `out`.

    Raises UserError, with nothing written, if the file cannot be used, or without consent.
    """
    source = source or verified(name)
    published = read_published(source)
    make = {"humaneval": humaneval_task, "mbpp": mbpp_task}[name]
    candidates = [_candidate(index, row, make) for index, row in enumerate(published.rows)]
    origin = {
        "path": str(source),
        "sha256": published.sha256,
        "known_as": published.known_as,
        "rows": len(published.rows),
    }
    return prepare_candidates(
        name,
        origin,
        candidates,
        out,
        allow_code_execution=allow_code_execution,
        max_lines=max_lines,
        difficulty=difficulty,
    )


def prepare_candidates(
    name: str,
    origin: dict[str, Any],
    candidates: Sequence[Candidate],
    out: Path,
    *,
    allow_code_execution: bool,
    max_lines: int | None = None,
    difficulty: Difficulty = "any",
) -> Summary:
    """Filter and verify tasks, and write those kept. Raises UserError if none is left."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: --out names the folder to write into")
    if origin["path"] and Path(origin["path"]).resolve() in [(out / n).resolve() for n in OUTPUTS]:
        raise UserError(f"{origin['path']} would be overwritten: give another --out")
    filtered = _filter(candidates, max_lines, difficulty)
    verified = _verify(filtered, allow_code_execution)
    kept = [item.task for item in verified if item.task]
    rejected = [item for item in verified if not item.task]
    reasons = commonest_first(Counter(_class_of(item.reason) for item in rejected))
    summary = Summary(origin, len(candidates), len(kept), len(rejected), reasons)
    if not kept:
        told = ", ".join(f"{count} {reason}" for reason, count in list(reasons.items())[:5])
        raise UserError(
            f"{origin['path']}: none of its {len(candidates)} tasks can be used ({told}); give "
            f"the original file of {name}"
        )
    manifest = {
        "format": f"code/{name}",
        **vars(summary),
        "max_lines": max_lines,
        "difficulty": difficulty,
        "simple": {"most_decisions": MOST_DECISIONS, "deepest": DEEPEST},
    }
    _write(out, kept, rejected, manifest)
    return summary


def _candidate(index: int, row: Any, make: Callable[[Any], Task]) -> Candidate:
    try:
        return Candidate(index, row, make(row))
    except RejectedError as reason:
        return Candidate(index, row, None, str(reason))


def _filter(
    candidates: Sequence[Candidate], max_lines: int | None, difficulty: Difficulty
) -> list[Candidate]:
    taken: set[str] = set()
    found = []
    for item in candidates:
        reason = item.reason or _unwanted(item.task, taken, max_lines, difficulty)
        found.append(Candidate(item.index, item.row, None if reason else item.task, reason or ""))
        if item.task and not reason:
            taken.add(item.task.id)
    return found


def _unwanted(
    task: Task | None, taken: set[str], max_lines: int | None, difficulty: Difficulty
) -> str | None:
    assert task
    if task.id in taken:
        return "duplicate id"
    program = task.prompt + task.solution
    try:
        if max_lines is not None and count_lines(program) > max_lines:
            return f"more than {max_lines} lines"
        problem = not_simple(program) if difficulty == "simple" else None
        near_duplicates.keys(task.row)
    except (SyntaxError, ValueError):
        return "prompt and solution are no function in Python"
    except (RecursionError, MemoryError):
        return "nested too deep"
    return problem and f"not simple: {problem}"


def _verify(candidates: Sequence[Candidate], allow_code_execution: bool) -> list[Candidate]:
    """Run each task's own solution against its tests."""
    tasks = [item.task for item in candidates if item.task]
    trials = [task.trial(task.solution) for task in tasks]
    verdicts = iter(try_programs(trials, allow_code_execution=allow_code_execution))
    found = []
    for item in candidates:
        verdict = next(verdicts) if item.task else None
        if verdict is None or verdict.passed:
            found.append(item)
        else:
            reason = f"its own solution {VERDICTS[verdict.kind]}: {verdict.detail}".rstrip(": ")
            found.append(Candidate(item.index, item.row, None, reason))
    return found


def _class_of(reason: str) -> str:
    """A reason without what differs from row to row."""
    return reason.split(": ")[0] if reason.startswith("its own solution") else reason


def _write(
    out: Path, kept: Sequence[Task], rejected: Sequence[Candidate], manifest: dict[str, Any]
) -> None:
    """Write the files, manifest.json last: where it lies, the others are whole."""
    try:
        (out / "manifest.json").unlink(missing_ok=True)
        write_jsonl(out / "rows.jsonl", [task.row for task in kept])
        write_jsonl(out / "rejected.jsonl", [_rejected(item) for item in rejected])
        hashes = {"rows.jsonl": sha256(out / "rows.jsonl")}
        write_json(out / "manifest.json", {**manifest, "sha256": hashes})
    except OSError as error:
        raise UserError(
            f"{out} cannot be written: {error.strerror}; give another folder, or make room"
        ) from None


def _rejected(item: Candidate) -> dict[str, Any]:
    line = {"index": item.index, "reason": item.reason, "row": item.row}
    try:
        json.dumps(line, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        line["row"] = ascii(item.row)
    return line


def print_summary(summary: Summary, console: Console) -> None:
    """Print every count and reason."""
    table = Table("tasks", "count")
    table.columns[1].justify = "right"
    for name in ("read", "kept", "rejected"):
        table.add_row(name, f"{getattr(summary, name):,}")
    for reason, count in summary.reasons.items():
        table.add_row(f"  {reason}", f"{count:,}")
    console.print(table)
    if summary.source["path"] and not summary.source["known_as"]:
        console.print(
            "The file is not the published one, byte by byte; manifest.json has its hash."
        )
