"""Rows whose outputs the sandbox computed: what is written, and why the rest is not."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from tools import sandbox
from tools.code.random_programs import INSTRUCTION, random_programs
from tools.prepare.code import prepare_tasks
from tools.prepare.verified import prepare_verified
from tools.python_text import literal

pytestmark = pytest.mark.skipif(bool(sandbox.unavailable()), reason="no sandbox here")

TASKS = {  # parameters, docstring, solution, tests, and what becomes of the task
    "plain": ("a, b=2", "Add, then double.", "    total = a + b\n    return total * 2",
              "assert f(1) == 6\nassert f(3, b=1) == 8\nassert f(3, 4) == 14\nassert f(1) == 6",
              [("f(1)", {"total": 3, "answer": 6}), ("f(3, 4)", {"total": 7, "answer": 14})]),
    "branches": ("n", "Say its sign.", "    if n < 0:\n        return '-'\n    return '+'",
                 "assert f(-1) == '-'", [("solve_f(-1)", {"answer": "-"})]),
    "recursive": ("n", "Count down.", "    return [] if not n else [n, *f(n - 1)]",
                  "assert f(2) == [2, 1]", [("solve_f(2)", {"answer": [2, 1]})]),
    "odd values": ("s", "Join.", "    parts = s.split()\n    it = iter(parts)\n    return list(it)",
                   "assert f('a b') == ['a', 'b']",
                   [("f('a b')", {"parts": ["a", "b"], "answer": ["a", "b"]})]),
    "none": ("x", "Give nothing.", "    y = [x]\n    return y.clear()", "assert f(1) is None",
             [("f(1)", {"y": [], "answer": None})]),
    "order": ("s", "List letters.", "    return list(set(s))", "assert len(f('abcdefgh')) == 8",
              "every call: two runs differ"),
    "no literal": ("x", "Divide.", "    return x / 1e-320", "assert f(1.0) > 9",
                   "every call: its answer has no literal"),
    "variadic": ("*x", "Sum.", "    return sum(x)", "assert f(1) == 1",
                 "not rewritable: an unusual signature"),
    "long": ("x", "Repeat.", "    return x * 1000", "assert f('ab') == 'ab' * 1000",
             "every call: its output is too long"),
    "computed": ("x", "Same.", "    return x", "y = 3\nassert f(y) == 3",
                 "no call with literal arguments"),
    "silent": ("x", "", "    return x", "assert f(5) == 5", "no description"),
}  # fmt: skip


def _line(name: str, parameters: str, says: str, solution: str, tests: str, _: Any) -> str:
    function = name.replace(" ", "_")
    rename = lambda text: text.replace("f(", f"{function}(")  # noqa: E731
    prompt = f'def {function}({parameters}):\n    """{says}\n    >>> examples\n    """\n'
    return json.dumps({"id": name, "prompt": prompt, "solution": f"{rename(solution)}\n",
                       "tests": f"{rename(tests)}\n"})  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verified")
    lines = [_line(name, *task) for name, task in TASKS.items()]
    (folder / "tasks.jsonl").write_text("\n".join(lines))
    prepare_tasks("synthetic", folder / "tasks.jsonl", folder / "in", allow_code_execution=True)
    prepare_verified([folder / "in"], folder / "out", allow_code_execution=True, val_size=1)
    return folder / "out"


def _read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_row_is_a_program_a_call_and_its_true_output(folder: Path) -> None:
    rows = {row["id"]: row for name in ("train", "val") for row in _read(folder / f"{name}.jsonl")}
    wanted = {
        f"{name}-{number}": (name.replace(" ", "_"), *row)
        for name, task in TASKS.items() if isinstance(task[-1], list)
        for number, row in enumerate(task[-1])
    }  # fmt: skip
    assert sorted(rows) == sorted(wanted)
    for name, (function, call, output) in wanted.items():
        program, _, called = rows[name]["code"].rpartition("\n\n>>> ")
        assert called == call.replace("f(", f"{function}(")
        assert literal(rows[name]["output"]) == output
        scope: dict[str, Any] = {}
        exec(program, scope)  # our own tasks, above
        assert eval(called, scope) == output, name
    assert rows["plain-1"]["instruction"] == "Add, then double."
    assert rows["plain-1"]["input"] == "a = 3\nb = 4"
    assert _read(folder / "train.jsonl") and len(_read(folder / "val.jsonl")) == 1


def test_each_other_task_is_rejected_with_its_reason(folder: Path) -> None:
    told = {line["row"]["id"]: line["reason"] for line in _read(folder / "rejected.jsonl")}
    assert told == {name: task[-1] for name, task in TASKS.items() if isinstance(task[-1], str)}
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["read"] == len(TASKS) and manifest["rejected"] == len(told)
    assert manifest["calls_rejected"] == {
        "its answer has no literal": 1, "its output is too long": 1, "two runs differ": 1
    }  # fmt: skip


def test_random_programs_join_the_tasks(folder: Path, tmp_path: Path) -> None:
    """Nine in ten run, the same seed gives the same programs, and each uses all its variables."""
    inputs = [folder.parent / "in"]
    manifest = prepare_verified(
        inputs, tmp_path, allow_code_execution=True, val_size=1, programs=60, seed=7
    )
    rows = [row for name in ("train", "val") for row in _read(tmp_path / f"{name}.jsonl")]
    made = [row for row in rows if row["id"].startswith("random-")]
    assert len(made) >= 54 and {row["instruction"] for row in made} == {INSTRUCTION}
    assert sum(len(literal(row["output"])) > 1 for row in made) >= 15
    assert manifest["read"] == len(TASKS) + 60 and manifest["random_programs"] == 60
    assert random_programs(60, 7)[:40] == random_programs(40, 7) != random_programs(40, 8)
    for task in random_programs(200, 7):
        [function] = ast.parse(task["solution"]).body
        names = [node.id for node in ast.walk(function) if isinstance(node, ast.Name)]
        assert isinstance(function, ast.FunctionDef)
        assert {each.arg for each in function.args.args} <= set(names), task["solution"]
