"""Defines a code task (prompt, one solution, tests of any solution), and reads files of tasks.

Two files of tasks come with this project, one JSON object a line. A new task is a new line, with
`id`, `prompt`, `solution` and `tests`:

- `mini.jsonl`: twenty small functions, a benchmark for models that solve none of HumanEval's; its
  lines also have `category`, and `wrong`, plausible wrong bodies that the tests must fail;
- `synthetic.jsonl`: small functions of seven categories, to train on without a download.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tools.code.trial import Trial
from tools.errors import UserError
from tools.prepare.fetch import FILES
from tools.prepare.fields import RejectedError
from tools.prepare.source_file import SourceFile, read_source_file
from tools.python_text import compiles

# SHA-256 of the files as they were published
PUBLISHED = {pinned.sha256: pinned.file for pinned in FILES.values() if pinned.sha256}
MINI, SYNTHETIC = (Path(__file__).with_name(f"{name}.jsonl") for name in ("mini", "synthetic"))


@dataclass(frozen=True)
class Task:
    """One task. `prompt` ends in a newline, and with `solution` it is a whole program.

    `task_id` is the published id, `id` this project's, `entry_point` the function asked for.
    `tests`, `names` and `setup` are those of a `Trial`.
    """

    id: str
    task_id: str | int
    entry_point: str
    prompt: str
    solution: str
    tests: str
    names: tuple[str, ...]
    setup: str = ""
    category: str = ""  # empty where the benchmark has none

    @property
    def row(self) -> dict[str, str]:
        """The prepared row."""
        return {"id": self.id, "prompt": self.prompt, "solution": self.solution}

    def trial(self, program: str) -> Trial:
        """Return the trial of a whole program."""
        return Trial(program, self.tests, self.names, self.setup)


def read_published(path: Path, what: str = "tasks") -> SourceFile:
    """Read a benchmark's file of tasks or samples. Raises UserError as `read_source_file`."""
    brings = "`cogex fetch` brings a benchmark's original"
    return read_source_file(path, brings if what == "tasks" else f"give a file of {what}")


def all_tasks(published: SourceFile, read: Callable[[Any], Task]) -> list[Task]:
    """Return every task of a file. Raises UserError naming the first that cannot be used."""
    tasks: dict[str, Task] = {}
    for number, row in enumerate(published.rows, 1):
        try:
            task = read(row)
            if task.id in tasks:
                raise RejectedError(f"another task has its task_id, {task.task_id!r}")
            tasks[task.id] = task
        except RejectedError as reason:
            raise UserError(
                f"{published.path}, task {number}: {reason}; give the benchmark's original file"
            ) from None
    return list(tasks.values())


def stub(prompt: str) -> str:
    """Return a prompt as a module: the function that is asked for has no body, or a docstring."""
    forms = (f"{prompt}    pass\n", prompt, f"{prompt}\n    pass\n")
    return next(filter(compiles, forms), forms[0])


def own_task(row: Any) -> Task:
    """Make a task of a line of `mini.jsonl` or `synthetic.jsonl`. Raises RejectedError.

    `tests` are assertions that call the function which the prompt defines last. `task_id` is the
    `id` unless the line says otherwise.
    """
    name, prompt, solution, tests = strings(row, "id", "prompt", "solution", "tests")
    functions = re.findall(r"^def (\w+)\(", prompt, re.MULTILINE)
    if not functions or not prompt.endswith("\n"):
        raise RejectedError("the prompt is not a function's signature and docstring")
    return Task(
        id=name,
        task_id=row.get("task_id", name),
        entry_point=functions[-1],
        prompt=prompt,
        solution=solution,
        tests=tests,
        names=(functions[-1],),
        category=row.get("category", ""),
    )


@cache
def own_tasks(path: Path) -> tuple[Task, ...]:
    """Return the tasks of `MINI` or `SYNTHETIC`, in the order of their lines."""
    return tuple(all_tasks(read_published(path), own_task))


def strings(row: Any, *keys: str) -> list[str]:
    """Return the row's strings under these keys. Raises RejectedError."""
    if not isinstance(row, dict):
        raise RejectedError("not an object")
    for key in keys:
        if key not in row:
            raise RejectedError(f"missing: {key}")
        if not isinstance(row[key], str):
            raise RejectedError(f"wrong type: {key}")
    return [row[key] for key in keys]
