"""Defines a code task (prompt, one solution, tests of any solution), and reads files of tasks.

Two files of tasks come with this project, one JSON object a line. A new task is a new line, with
`id`, `prompt`, `solution` and `tests`:

- `mini.jsonl`: twenty small functions, a benchmark for models that solve none of HumanEval's; its
  lines also have `wrong`, plausible wrong bodies that the tests must fail;
- `synthetic.jsonl`: small functions of seven categories, to train on without a download.
"""

import hashlib
import json
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
from tools.prepare.file_kinds import as_json_lines, unpacked
from tools.prepare.source_file import decoded
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

    @property
    def row(self) -> dict[str, str]:
        """The prepared row."""
        return {"id": self.id, "prompt": self.prompt, "solution": self.solution}

    def trial(self, completion: str) -> Trial:
        """Return the trial of a completion of the prompt."""
        return self.trial_of(self.prompt + completion)

    def trial_of(self, program: str) -> Trial:
        """Return the trial of a whole program."""
        return Trial(program, self.tests, self.names, self.setup)


@dataclass(frozen=True)
class Published:
    """The JSON values of a published file, one for each line."""

    path: Path
    sha256: str
    rows: list[Any]

    @property
    def known_as(self) -> str | None:
        """The file's published name, if it is byte for byte one of `PUBLISHED`."""
        return PUBLISHED.get(self.sha256)


def read_published(path: Path, what: str = "tasks") -> Published:
    """Read a benchmark's file of tasks or samples: JSON lines or a table, packed or not.

    Raises UserError naming file and line if it cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        todo = "`cogex fetch` brings a benchmark's original" if what == "tasks" else "correct it"
        raise UserError(f"{path}: there is no such file of {what}; {todo}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; check the path") from None
    _, inner = unpacked(path, data)
    table = as_json_lines(path, inner)
    text = decoded(path, inner) if table is None and inner.strip() else table or ""
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except (ValueError, RecursionError):
                raise UserError(
                    f"{path}, line {number}: is not JSON; give a file with one object a line"
                ) from None
    if not rows:
        raise UserError(f"{path}: holds no {what}; make or download it again")
    return Published(path, hashlib.sha256(data).hexdigest(), rows)


def all_tasks(published: Published, read: Callable[[Any], Task]) -> list[Task]:
    """Return every task of a file. Raises UserError naming the first that cannot be used."""
    tasks: dict[str, Task] = {}
    for number, row in enumerate(published.rows, 1):
        try:
            task = read(row)
            if str(task.task_id) in tasks:
                raise RejectedError(f"another task has its task_id, {task.task_id!r}")
            tasks[str(task.task_id)] = task
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
