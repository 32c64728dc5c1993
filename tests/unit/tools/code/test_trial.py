"""No program passes its tests but by right answers, and none outlives or escapes its trial.

Each program of hostile_programs.txt is wrong by design: `f` should double its argument. Whatever
else it does, the verdict must be one of those in its heading, and never `passed`.
"""

import json
import re
from pathlib import Path

import pytest

from tests.needs_sandbox import needs_sandbox
from tools.code.remote import Remote, decode, encode
from tools.code.trial import VERDICTS, Trial, Tried, try_programs
from tools.errors import UserError
from tools.sandbox import Limits

LIMITS = Limits(seconds=20, cpu_seconds=1, memory=300 << 20, disk=1 << 20, output=20_000)
SHORT = Limits(seconds=1.5, cpu_seconds=1, memory=300 << 20)  # for what waits and does nothing
TESTS = "assert f(21) == 42\nassert f(-3) == -6\nassert f(0) == 0\n"
HEADING = re.compile(r"#### (.+) -> (.+)\n((?:(?!####).*\n)+)")
HOSTILE = {
    name: (source, set(kinds.split(" or ")))
    for name, kinds, source in HEADING.findall(
        Path(__file__).with_name("hostile_programs.txt").read_text()
    )
}
WAITING = {name for name in HOSTILE if name.startswith("waits")}


def verdicts(trials: list[Trial], limits: Limits = LIMITS) -> list[Tried]:
    return try_programs(trials, allow_code_execution=True, limits=limits)


@pytest.fixture(scope="module")
def hostile_verdicts() -> dict[str, Tried]:
    """All at once, for they run on every core."""
    found: dict[str, Tried] = {}
    for names, limits in ((HOSTILE.keys() - WAITING, LIMITS), (WAITING, SHORT)):
        trials = [Trial(HOSTILE[name][0], TESTS, ("f",)) for name in names]
        found |= zip(names, verdicts(trials, limits), strict=True)
    return found


@needs_sandbox
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_program_does_not_pass(name: str, hostile_verdicts: dict[str, Tried]) -> None:
    verdict = hostile_verdicts[name]
    assert verdict.kind in HOSTILE[name][1], verdict


def test_every_hostile_program_is_read() -> None:
    assert (len(HOSTILE), len(WAITING)) == (51, 5)
    assert all(kinds <= VERDICTS.keys() - {"passed"} for _, kinds in HOSTILE.values())


RAISES = """import os
def f(x):
    if x == 'exit':
        os._exit(0)
    raise ValueError('odd')
"""
NODE = """class Node:
    def __init__(self, value):
        self.value, self.next = value, None
def f(node):
    return node.value + (f(node.next) if node.next else 0)
"""


def expecting(kind: str) -> str:
    return f"try:\n    f(1)\nexcept {kind} as error:\n    assert str(error) == 'odd'"


# what it is, program, tests, verdict
OTHERS = [
    ("right, and prints", "def f(x):\n    print('noise')\n    return x + x", TESTS, "passed"),
    ("None", "def f(x): return None", TESTS, "wrong"),
    ("no colon", "def f(x) return x", TESTS, "syntax"),
    ("another name", "def g(x): return 2 * x", TESTS, "missing"),
    ("unknown name", "def f(x): return 2 * y", TESTS, "exception"),
    ("expected exception", RAISES, expecting("ValueError"), "passed"),
    ("another exception", RAISES, expecting("KeyError"), "exception"),
    ("caught exit", RAISES, "try:\n    f('exit')\nexcept BaseException:\n    pass", "died"),
    ("tests do not parse", RAISES, "assert f(", "bad_test"),
    ("tests ask nothing", RAISES, "assert True", "bad_test"),
    ("tests pass an object", RAISES, "assert f(lambda: 0)", "wrong"),
]
TRIALS = {name: (Trial(program, tests, ("f",)), kind) for name, program, tests, kind in OTHERS} | {
    "objects of the program go out and come back": (
        Trial(
            NODE,
            "first = Node(1)\nfirst.next = Node(2)\nassert f(first) == 3 == 1 + first.next.value",
            ("f", "Node"),
        ),
        "passed",
    ),
    "a helper of the program is not that of the tests": (
        Trial(
            "def double(x): return 0\ndef f(x): return 0",
            "assert f(21) == double(21)",
            ("f",),
            setup="def double(x): return 2 * x\ndef f(x): pass",
        ),
        "wrong",
    ),
}


@needs_sandbox
def test_each_other_verdict() -> None:
    found = verdicts([trial for trial, _ in TRIALS.values()])
    assert {name: verdict.kind for name, verdict in zip(TRIALS, found, strict=True)} == {
        name: kind for name, (_, kind) in TRIALS.items()
    }


def test_nothing_is_tried_without_consent() -> None:
    with pytest.raises(UserError, match="--allow-code-execution"):
        try_programs([Trial("", "", ())], allow_code_execution=False)


class Text(str):
    pass


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (None, type(None)),
        (True, bool),
        (0, int),
        pytest.param(-(10**5000), int, id="huge"),
        (float("inf"), float),
        ("a\ud800\n", str),
        (Text("a"), str),
        (b"\xff", bytes),
        (1 - 2j, complex),
        ([1, (2, {3}, frozenset({4})), {5: [6], (7,): "8"}, set(), 0.1], list),
        (int, type),
    ],
)
def test_value_crosses_the_wire_with_its_type(value: object, type_: type) -> None:
    sent = json.loads(json.dumps(encode(value, lambda other: pytest.fail(f"{other} is no value"))))
    received = decode(sent, lambda reference: pytest.fail("a reference"))
    assert received == value and type(received) is type_


@pytest.mark.parametrize(
    "sent",
    [[1], {}, {"eval": "1"}, {"list": 1}, {"set": [{"list": []}]}, {"int": 1}, {"int": "x"},
     {"type": "print"}, {"dict": [[1]]}, {"list": [], "dict": []}, {"name": 1}],
)  # fmt: skip
def test_what_is_no_value_is_refused(sent: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        decode(sent, lambda reference: None)


def test_object_of_the_program_has_no_say_in_a_comparison() -> None:
    own = {name for name in vars(Remote) if name.startswith("__")}
    assert not own & {"__eq__", "__ne__", "__lt__", "__gt__", "__le__", "__ge__", "__bool__"}
