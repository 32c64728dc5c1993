"""Synthetic tasks: enough of each category, verified by a second implementation, never mini's."""

import ast
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.needs_sandbox import needs_sandbox
from tests.own_programs import passing
from tools.code import near_duplicates, synthetic
from tools.code.mini import mini_tasks
from tools.code.synthetic import candidates, prepare_synthetic, synthetic_tasks
from tools.code.tasks import Task
from tools.code.templates.parts import CHANGES, CONDITIONS, template

WANTED = {
    "arithmetic": 50,
    "lists": 100,
    "strings": 100,
    "algorithms": 100,
    "structures": 50,
    "conditionals": 50,
    "loops": 50,
}


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    return [item.task for item in candidates() if item.task]


def test_there_are_enough_of_each_category(tasks: list[Task]) -> None:
    counts = Counter(task.id.split("_")[1] for task in tasks)
    assert counts.keys() == WANTED.keys() and len(tasks) >= 500
    assert all(counts[name] >= number for name, number in WANTED.items())


@needs_sandbox
def test_every_solution_passes_its_tests(tasks: list[Task]) -> None:
    found = passing([(task.prompt + task.solution, [task.tests]) for task in tasks])
    assert [task.id for task, passes in zip(tasks, found, strict=True) if not passes] == []


@needs_sandbox
def test_no_task_does_what_a_mini_task_does(tasks: list[Task]) -> None:
    """Whatever its name and words: its function passes no mini task's tests."""
    cases = [
        (
            task.prompt + task.solution,
            [f"{mini.entry_point} = {task.entry_point}\n{mini.tests}" for mini in mini_tasks()],
        )
        for task in tasks
    ]
    found = iter(passing(cases))
    same = [
        (task.entry_point, mini.entry_point)
        for task in tasks
        for mini in mini_tasks()
        if next(found)
    ]
    assert same == []


@needs_sandbox
def test_tests_say_more_than_that_there_is_a_function(tasks: list[Task]) -> None:
    """No constant passes, nor does handing back the argument."""
    bodies = ["return None", "return True", "return False", "return 0", "return []", "return ''"]
    cases = []
    for task in tasks:
        first = ast.parse(task.prompt + "    pass").body[0]
        assert isinstance(first, ast.FunctionDef)
        argument = first.args.args[0].arg
        programs = [f"{task.prompt}    {body}\n" for body in [*bodies, f"return {argument}"]]
        cases += [(program, [task.tests]) for program in programs]
    found = passing(cases)
    survivors = [cases[index][0] for index, passes in enumerate(found) if passes]
    assert survivors == []


def test_tasks_are_unlike_each_other(tasks: list[Task]) -> None:
    """By name, by very body, and by what is asked."""
    for values in (
        [task.entry_point.replace("_", "") for task in tasks],
        [key for task in tasks for kind, key in near_duplicates.exact_keys(task.row)
         if kind == "body"],
        [task.prompt.split('"""')[1].split(">>>")[0] for task in tasks],
    ):  # fmt: skip
        assert [value for value, count in Counter(values).items() if count > 1] == []


def test_tasks_are_the_same_every_time() -> None:
    assert list(synthetic_tasks()) == list(synthetic_tasks())


def test_rows_have_the_form_of_humaneval(tasks: list[Task]) -> None:
    for task in tasks:
        [function] = ast.parse(task.prompt + task.solution).body
        assert isinstance(function, ast.FunctionDef) and function.name == task.entry_point
        docstring = ast.get_docstring(function) or ""
        assert f">>> {task.entry_point}(" in docstring
        assert task.prompt.endswith('    """\n') and task.solution.startswith("    ")


@pytest.mark.parametrize("part", [*CONDITIONS, *CHANGES], ids=lambda part: part.name)
def test_code_and_python_of_a_part_agree(part: Any) -> None:
    python = part[-1]
    for x in range(-120, 120):
        assert eval(part.code.format(x="x"), {"x": x}) == python(x)


@needs_sandbox
def test_wrong_template_and_repetition_are_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Templates:
        @staticmethod
        def templates() -> list[Any]:
            return [
                template("f(x)", "One.", "return x ** 3", lambda x: x**3, 2, 3),
                template("g(x)", "Two.", "return x ** 3", lambda x: x**4, 2, 3),
                template("h(x)", "Three.", "return x ** 5", lambda x: x**4, 2, 3),
                template("Add(x, y)", "Four.", "return [x, y]", lambda x, y: [x, y], (2, 3)),
            ]

    monkeypatch.setattr(synthetic, "CATEGORIES", {"made": Templates})
    summary = prepare_synthetic(tmp_path, allow_code_execution=True)
    assert (summary.kept, summary.reasons) == (
        1,
        {
            "duplicate of syn_made_000": 1,
            "its own solution gives a wrong answer": 1,
            "near-duplicate of the mini suite": 1,
        },
    )
    assert json.loads((tmp_path / "rows.jsonl").read_text())["solution"] == "    return x ** 3\n"
