"""Turns a file of code tasks into rows of prompt and solution: rows.jsonl, manifest.json.

Every task of the file is either kept or in rejected.jsonl with its reason:

- what `humaneval.py`, `mbpp.py` or `tasks.py` names, where it has no prompt and solution;
- `duplicate id`;
- `more than N lines`, `not simple: ...`, by `difficulty.py`, where that is asked for;
- `its own solution ...`: prompt and solution do not pass the task's own tests in the sandbox.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from tools.code import near_duplicates
from tools.code.difficulty import DEEPEST, MOST_DECISIONS, count_lines, not_simple
from tools.code.humaneval import humaneval_task
from tools.code.mbpp import mbpp_task
from tools.code.tasks import PUBLISHED, SYNTHETIC, Task, own_task, read_published
from tools.code.trial import VERDICTS, try_programs
from tools.errors import UserError
from tools.prepare.fetch import verified
from tools.prepare.fields import RejectedError
from tools.prepare.folder import (
    MANIFEST,
    check_out,
    commonest_first,
    print_counts,
    rejected_lines,
    told,
    write_folder,
)

OUTPUTS = ("rows.jsonl", "rejected.jsonl", MANIFEST)

TaskFile = Literal["humaneval", "mbpp", "synthetic"]
Difficulty = Literal["simple", "any"]
_MAKE: dict[TaskFile, Callable[[Any], Task]] = {
    "humaneval": humaneval_task,
    "mbpp": mbpp_task,
    "synthetic": own_task,
}


def prepare_tasks(
    name: TaskFile,
    source: Path | None,
    out: Path,
    *,
    allow_code_execution: bool,
    max_lines: int | None = None,
    difficulty: Difficulty = "any",
) -> dict[str, Any]:
    """Filter and verify the tasks of a file, and write those kept into the folder `out`.

    Without `source` the file is the fetched one, or this project's own for `synthetic`. Raises
    UserError, with nothing written, if the file cannot be used, if no task is left, or without
    consent. Returns manifest.json.
    """
    path = source or (SYNTHETIC if name == "synthetic" else verified(name))
    check_out(out, path, OUTPUTS)
    published = read_published(path)
    tasks, reasons = _select(published.rows, _MAKE[name], max_lines, difficulty)
    reasons |= _failures(tasks, allow_code_execution)
    kept = [
        task.row | {"entry_point": task.entry_point, "tests": task.tests}
        for index, task in tasks.items()
        if index not in reasons
    ]
    rejected = rejected_lines(reasons, published.rows)
    counts = commonest_first(Counter(_class_of(reason) for reason in reasons.values()))
    if not kept:
        todo = (
            "correct its lines by docs/code-track.md"
            if name == "synthetic"
            else f"give the original file, which `cogex fetch {name}` brings"
        )
        raise UserError(
            f"{path}: none of its {len(rejected)} tasks can be used ({told(counts)}); {todo}"
        )
    origin: dict[str, Any] = {
        "path": str(path) if path != SYNTHETIC else SYNTHETIC.name,
        "sha256": published.sha256,
        "rows": len(published.rows),
    }
    if name != "synthetic":
        origin["known_as"] = PUBLISHED.get(published.sha256)
    manifest = {
        "format": f"code/{name}",
        "source": origin,
        "read": len(published.rows),
        "kept": len(kept),
        "rejected": len(rejected),
        "reasons": counts,
        "max_lines": max_lines,
        "difficulty": difficulty,
        "simple": {"most_decisions": MOST_DECISIONS, "deepest": DEEPEST},
    }
    files = {"rows.jsonl": kept, "rejected.jsonl": rejected}
    return write_folder(out, files, manifest, hashed=["rows.jsonl"])


def _select(
    rows: list[Any],
    make: Callable[[Any], Task],
    max_lines: int | None,
    difficulty: Difficulty,
) -> tuple[dict[int, Task], dict[int, str]]:
    """Return the tasks that are wanted by their index, and the reasons against the others."""
    tasks: dict[int, Task] = {}
    reasons: dict[int, str] = {}
    ids: set[str] = set()
    for index, row in enumerate(rows):
        try:
            task = make(row)
            if task.id in ids:
                raise RejectedError("duplicate id")
            _refuse_unwanted(task, max_lines, difficulty)
        except RejectedError as reason:
            reasons[index] = str(reason)
        else:
            tasks[index] = task
            ids.add(task.id)
    return tasks, reasons


def _refuse_unwanted(task: Task, max_lines: int | None, difficulty: Difficulty) -> None:
    """Raise RejectedError for a program that is too long, not simple or not comparable."""
    program = task.prompt + task.solution
    try:
        if max_lines is not None and count_lines(program) > max_lines:
            raise RejectedError(f"more than {max_lines} lines")
        if difficulty == "simple" and (problem := not_simple(program)):
            raise RejectedError(f"not simple: {problem}")
        if not any(kind == "name" for kind, _ in near_duplicates.keys(task.row)):
            raise RejectedError("prompt and solution are no function in Python")
    except (SyntaxError, ValueError):
        raise RejectedError("prompt and solution are no function in Python") from None
    except (RecursionError, MemoryError):
        raise RejectedError("nested too deep") from None


def _failures(tasks: dict[int, Task], allow_code_execution: bool) -> dict[int, str]:
    """Run each task's own solution against its tests; return why those that fail do."""
    trials = [task.trial(task.prompt + task.solution) for task in tasks.values()]
    verdicts = try_programs(trials, allow_code_execution=allow_code_execution)
    return {
        index: f"its own solution {VERDICTS[verdict.kind]}: {verdict.detail}".rstrip(": ")
        for index, verdict in zip(tasks, verdicts, strict=True)
        if not verdict.passed
    }


def _class_of(reason: str) -> str:
    """Return a reason without what differs from row to row."""
    return reason.split(": ")[0] if reason.startswith("its own solution") else reason


def print_summary(manifest: dict[str, Any], console: Console) -> None:
    """Print every count and reason."""
    print_counts("tasks", {name: manifest[name] for name in ("read", "kept")}, manifest, console)
    if not manifest["source"].get("known_as", "none was published"):
        console.print(
            "The file is not the published one, byte for byte; manifest.json has its hash."
        )
