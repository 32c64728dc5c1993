"""A program is run only where it is complete, and its true dict is compared key by key."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prompt_strategies.layout import Completion, parse_completion, render_completion
from tests.needs_sandbox import needs_sandbox
from tools import programs
from validation.check.emulation import (
    Emulation,
    compare_dicts,
    summarize,
    verify_emulation,
)

SAMPLE = Path("data/sample/data.json")


def of_body(body: str, output: str = "{}", call: str = ">>> f(3)") -> Completion:
    return Completion(f"def f(x):\n    {body}", call, output)


def returned(**keys: tuple[str, ...]) -> Emulation:
    return Emulation("returned", **keys)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("true", "emulated", "expected"),
    [
        ({"a": 1, "answer": 2}, {"answer": 2, "a": 1}, returned(agreeing=("a", "answer"))),
        ({"a": 1, "answer": 2}, {"a": 1, "answer": 3},
         returned(agreeing=("a",), differing=("answer",))),
        ({"a": 1, "answer": 2}, {"a": 1, "b": 2},
         returned(agreeing=("a",), missing=("answer",), extra=("b",))),
        ({"a": 1}, None, returned(missing=("a",))),
        ({"a": 1}, [1], returned(missing=("a",))),
        ({"a": 0.1 + 0.2}, {"a": 0.3}, returned(agreeing=("a",))),
        ({"a": 1.0}, {"a": 1}, returned(differing=("a",))),
        ({"a": 1}, {"a": True}, returned(differing=("a",))),
        ({"a": "1"}, {"a": 1}, returned(differing=("a",))),
        ({"a": [1, 2]}, {"a": (1, 2)}, returned(differing=("a",))),
        ({1: 2, "\ud800": 3}, {1: 2}, returned(agreeing=("1",), missing=("'\\ud800'",))),
    ],
)  # fmt: skip
def test_dicts_are_compared_key_by_key(true: Any, emulated: Any, expected: Emulation) -> None:
    assert compare_dicts(true, emulated) == expected


def test_one_extra_key_is_not_faithful() -> None:
    assert compare_dicts({"a": 1}, {"a": 1}).faithful
    assert not compare_dicts({"a": 1}, {"a": 1, "b": 2}).faithful
    assert not Emulation("crashed").faithful


def test_shares_are_summed_before_they_are_divided() -> None:
    emulations = [
        returned(agreeing=("answer",)),
        returned(agreeing=("a", "b"), differing=("c", "answer"), missing=("d",)),
        returned(agreeing=("a",), extra=("answer",)),
        Emulation("crashed", ("KeyError",)),
        Emulation("complete"),
        Emulation("undefined", ("helper",)),
    ]
    assert summarize(emulations) == {
        "programs": 6,
        "complete": 5,
        "run": 4,
        "statuses": {"undefined": 1, "complete": 1, "crashed": 1, "returned": 3},
        "keys": {"count": 4, "of": 7},
        "faithful": {"count": 1, "of": 3},
        "answers": {"count": 1, "of": 2},
    }


RUNS = [
    ("return {'x': x, 'answer': x * 2}", returned(agreeing=("answer",), missing=("x",))),
    ("return {'answer': 7}", returned(differing=("answer",))),
    ("print('{}')\n    return {'answer': 6}", returned(agreeing=("answer",))),
    ("return {'answer': 1 / 0}", Emulation("crashed", ("ZeroDivisionError",))),
    ("return f(x)", Emulation("crashed", ("RecursionError",))),
    ("return {'answer': 'x' * 10 ** 10}", Emulation("crashed", ("MemoryError",))),
    ("raise SystemExit", Emulation("crashed", ("SystemExit",))),
    ("return missing\n    missing = 1", Emulation("crashed", ("UnboundLocalError",))),
    ("while x:\n        pass", Emulation("timed_out")),
    ("return None", Emulation("no_dict", ("NoneType",))),
    ("return [x]", Emulation("no_dict", ("list",))),
    ("return {'answer': len}", Emulation("no_literal", ("dict",))),
    ("return {'answer': float('inf')}", Emulation("no_literal", ("dict",))),
    ("return {'answer': 10 ** 5000}", Emulation("no_literal", ("dict",))),
    ("return {'answer': 'x' * 10 ** 6}", Emulation("no_literal", ("over 65,536 bytes",))),
    ("import datetime\n    return {'answer': datetime.date(2024, 1, 1)}",
     Emulation("no_literal", ("dict",))),
    ("return {'answer': list({'a', 'b', 'c', 'd', 'e', 'f'})}", Emulation("varies")),
    ("import statistics\n    return {'answer': statistics.random.random()}", Emulation("varies")),
    ("return {'answer': sorted({'a', 'b', 'c', 'd', 'e', 'f'})}", returned(differing=("answer",))),
    ("import statistics\n    return statistics.sys.__stdout__.write('{}')",
     Emulation("crashed", ("exit status 0",))),
    ("import statistics as s\n    s.sys.__stdout__.write('{\"type\": 1}')\n"
     "    s.sys.__stdout__.flush()\n    s.sys.modules['os']._exit(0)",
     Emulation("crashed", ("exit status 0",))),
]  # fmt: skip


@pytest.fixture(scope="module")
def ran() -> dict[str, Emulation]:
    """Each body of `RUNS` with what became of it; the emulated output is always the same."""
    bodies = [body for body, _ in RUNS]
    completions = [of_body(body, output="{'answer': 6}") for body in bodies]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "LIMITS", replace(programs.LIMITS, cpu_seconds=1))
        found = verify_emulation(completions, allow_code_execution=True)
    return dict(zip(bodies, found, strict=True))


@needs_sandbox
@pytest.mark.parametrize(("body", "expected"), RUNS)
def test_complete_program_is_run(body: str, expected: Emulation, ran: dict[str, Emulation]) -> None:
    assert ran[body] == expected


@needs_sandbox
def test_hand_written_outputs_are_what_their_programs_return() -> None:
    """Of the 88 rows 22 need no model to run, with 61 keys."""
    rows = json.loads(SAMPLE.read_text())
    completions = [
        parse_completion(
            render_completion(row["code_prompt"], row.get("code_output") or row["code output"])
        )
        for row in rows
    ]
    summary = summarize(verify_emulation(completions, allow_code_execution=True))
    assert summary == {
        "programs": 88,
        "complete": 22,
        "run": 22,
        "statuses": {"undefined": 66, "returned": 22},
        "keys": {"count": 61, "of": 61},
        "faithful": {"count": 22, "of": 22},
        "answers": {"count": 22, "of": 22},
    }
