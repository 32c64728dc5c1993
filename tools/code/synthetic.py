"""Synthetic tasks from templates, in seven categories: the code track without a download.

Each template is a function of its own kind, or one of a family that differs in a condition, a
change or a number. Its tests are assertions whose values come from a second, independent
implementation (`Template.expected`), and in the sandbox the solution must pass them. The tasks are
the same in every run.
"""

from collections.abc import Iterator
from pathlib import Path
from textwrap import fill, indent

from tools.code import near_duplicates
from tools.code.mini import mini_tasks
from tools.code.tasks import Task
from tools.code.templates import (
    algorithms,
    arithmetic,
    conditionals,
    lists,
    loops,
    strings,
    structures,
)
from tools.code.templates.parts import Template
from tools.prepare.code import Candidate, Summary, prepare_candidates

CATEGORIES = {
    "arithmetic": arithmetic,
    "lists": lists,
    "strings": strings,
    "algorithms": algorithms,
    "structures": structures,
    "conditionals": conditionals,
    "loops": loops,
}


def prepare_synthetic(out: Path, *, allow_code_execution: bool) -> Summary:
    """Write the rows of every template into the folder `out`.

    Rejected are those of which an earlier one is the same but for names and docstring, or which
    are near-duplicates of the mini suite. Raises UserError, with nothing written, without consent.
    """
    origin = {"path": None, "sha256": None, "known_as": None}
    return prepare_candidates(
        "synthetic", origin, candidates(), out, allow_code_execution=allow_code_execution
    )


def candidates() -> list[Candidate]:
    """Return every task, or the reason why it is not used."""
    kept_away = {key for task in mini_tasks() for key in near_duplicates.keys(task.row)}
    seen: dict[tuple[str, str], str] = {}
    found = []
    for index, task in enumerate(synthetic_tasks()):
        reason = ""
        earlier = [seen[key] for key in near_duplicates.exact_keys(task.row) if key in seen]
        if near_duplicates.keys(task.row) & kept_away:
            reason = "near-duplicate of the mini suite"
        elif earlier:
            reason = f"duplicate of {earlier[0]}"
        else:
            seen |= dict.fromkeys(near_duplicates.exact_keys(task.row), task.id)
        found.append(Candidate(index, task.row, None if reason else task, reason))
    return found


def synthetic_tasks() -> Iterator[Task]:
    """Yield the tasks of all categories; an id says the category and the number in it."""
    for category, module in CATEGORIES.items():
        for number, template in enumerate(module.templates()):
            yield _task(f"syn_{category}_{number:03}", template)


def _task(name: str, template: Template) -> Task:
    calls = [f"{template.name}({', '.join(map(repr, arguments))})" for arguments in template.inputs]
    values = [template.expected(*arguments) for arguments in template.inputs]
    sentence = fill(template.says, 88)
    docstring = f'"""{sentence}\n>>> {calls[0]}\n{values[0]!r}\n"""\n'.replace("\\", "\\\\")
    checks = [f"assert {call} == {value!r}" for call, value in zip(calls, values, strict=True)]
    return Task(
        id=name,
        task_id=name,
        entry_point=template.name,
        prompt=f"def {template.name}({template.parameters}):\n{indent(docstring, '    ')}",
        solution=f"{indent(template.body, '    ')}\n",
        tests="\n".join([*checks, ""]),
        names=(template.name,),
    )
