"""Every line of mini.jsonl and synthetic.jsonl is a sound task: what a new line must pass."""

import ast
import json
import re
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.needs_sandbox import needs_sandbox
from tests.own_programs import passing
from tools.code import near_duplicates
from tools.code.function_shapes import shape
from tools.code.tasks import MINI, SYNTHETIC, Task, own_tasks

BOTH = pytest.mark.parametrize("path", [MINI, SYNTHETIC], ids=lambda path: path.stem)
MINI_TASKS = {task.entry_point: task for task in own_tasks(MINI)}
CATEGORIES = ("arithmetic", "lists", "strings", "algorithms", "structures", "conditionals", "loops")
SECONDS = 0.3  # for each program of the mini suite: some wrong ones loop


def function(task: Task) -> ast.FunctionDef:
    [found] = ast.parse(task.prompt + task.solution).body
    assert isinstance(found, ast.FunctionDef)
    return found


def surviving(cases: Sequence[tuple[str, Task]], seconds: float = 1.0) -> list[str]:
    """The programs that pass the tests of their task."""
    found = passing([(program, [task.tests]) for program, task in cases], seconds)
    return [program for (program, _), passes in zip(cases, found, strict=True) if passes]


@BOTH
def test_a_task_is_a_documented_function_with_an_example_and_tests(path: Path) -> None:
    for task in own_tasks(path):
        assert function(task).name == task.entry_point
        assert task.prompt.endswith('    """\n') and task.solution.endswith("\n")
        assert f"    >>> {task.entry_point}(" in task.prompt
        assert task.tests.count("assert ") >= 3


def test_ids_say_which_file_and_which_category() -> None:
    ids = [task.id for task in own_tasks(SYNTHETIC)]
    assert len(MINI_TASKS) == 20 and len(ids) == len(set(ids)) >= 537
    for name, task in MINI_TASKS.items():
        assert (task.id, task.task_id) == (f"mini_{name}", f"mini/{name}")
    for task in own_tasks(SYNTHETIC):
        assert re.fullmatch(rf"syn_({'|'.join(CATEGORIES)})_\d{{3}}", task.id)


@needs_sandbox
@BOTH
def test_a_solution_passes_its_tests_and_its_docstrings_example(path: Path) -> None:
    tasks = own_tasks(path)
    cases = []
    for task in tasks:
        call, value = (ast.get_docstring(function(task)) or "").split(">>> ")[1].split("\n", 1)
        cases.append((task.prompt + task.solution, [task.tests, f"assert {call} == {value}"]))
    found = iter(passing(cases))
    assert [task.id for task in tasks if (next(found), next(found)) != (True, True)] == []


@needs_sandbox
@BOTH
def test_no_constant_passes_nor_does_handing_back_the_argument(path: Path) -> None:
    cases = []
    for task in own_tasks(path):
        argument = function(task).args.args[0].arg
        for value in ("None", "True", "False", "0", "[]", "''", argument):
            cases.append((f"{task.prompt}    return {value}\n", task))
    assert surviving(cases) == []


def test_synthetic_tasks_are_unlike_each_other_and_unlike_the_mini_suite() -> None:
    """By name, by body and by what is asked; those of the mini suite whatever their constants."""
    tasks = own_tasks(SYNTHETIC)
    for values in (
        [task.entry_point.replace("_", "") for task in tasks],
        [shape(function(task)) for task in tasks],
        [task.prompt.split('"""')[1].split(">>>")[0] for task in tasks],
    ):
        assert [value for value, count in Counter(values).items() if count > 1] == []
    mini = {key for task in MINI_TASKS.values() for key in near_duplicates.keys(task.row)}
    assert [task.id for task in tasks if near_duplicates.keys(task.row) & mini] == []


@needs_sandbox
def test_no_synthetic_task_does_what_a_mini_task_does() -> None:
    """Whatever its name and words: its function does not pass the tests of a mini task."""
    tasks, minis = own_tasks(SYNTHETIC), own_tasks(MINI)
    found = iter(
        passing(
            [
                (
                    task.prompt + task.solution,
                    [f"{mini.entry_point} = {task.entry_point}\n{mini.tests}" for mini in minis],
                )
                for task in tasks
            ]
        )
    )
    assert [(task.id, mini.id) for task in tasks for mini in minis if next(found)] == []


def test_no_two_mini_tasks_are_near_duplicates_but_the_reversals() -> None:
    """A list and a text are reversed by the same expression; each stays with its own words."""
    names = list(MINI_TASKS)
    groups = near_duplicates.group([task.row for task in MINI_TASKS.values()])
    assert [[names[i] for i in group] for group in groups if len(group) > 1] == [
        ["reverse_list", "reverse_string"]
    ]


@needs_sandbox
def test_plausible_wrong_answers_to_the_mini_suite_fail() -> None:
    """Those that the task's line names under `wrong`."""
    lines = [json.loads(line) for line in MINI.read_text().splitlines()]
    assert all(len(line["wrong"]) >= 3 for line in lines)
    cases = [
        (task.prompt + textwrap.indent(f"{text}\n", "    "), task)
        for line, task in zip(lines, own_tasks(MINI), strict=True)
        for text in line["wrong"]
    ]
    assert surviving(cases, SECONDS) == []
    assert all(ast.parse(program) for program, _ in cases)  # none fails for its syntax
