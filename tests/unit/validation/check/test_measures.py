"""Each measure sees the fault that it is for, and no text that a model writes breaks the check."""

import pytest

from tools.backend import Generation
from tools.programs import same, undefined_names
from validation.check.measures import MEASURES, family, judge

PROGRAM = """def add(first, second):
    total = plus(first, second)
    return {'total': total, 'answer': total}"""
CALL = ">>> add(3, 4)"
OUTPUT = "{'total': 7, 'answer': 7}"
ROW = {
    "id": "add-1",
    "instruction": "Add.",
    "input": "3, 4",
    "code": f"{PROGRAM}\n\n{CALL}",
    "output": OUTPUT,
}
ALL = set(MEASURES)


def text_of(program: str = PROGRAM, call: str = CALL, output: str = OUTPUT) -> str:
    return f"{program}\n\n{call}\n### Output\n{output}"


def held(text: str, *, ended: bool = True, reference: str = OUTPUT) -> set[str]:
    """The measures that hold for a generated text."""
    judged = judge(ROW | {"output": reference}, Generation(text, 1, ended))
    assert judged.holds.keys() == ALL
    return {name for name, holds in judged.holds.items() if holds}


def test_all_measures_hold_for_the_reference() -> None:
    assert held(text_of()) == ALL


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        # nothing of a program that is no Python can be read
        (
            text_of(program=PROGRAM.replace("):", ")")),
            {"program_parses", "function_and_call", "undefined_helpers", "keys_agree"},
        ),
        (text_of(program=PROGRAM.replace("plus", "max")), {"undefined_helpers"}),
        (text_of(call=">>> other(3, 4)"), {"function_and_call", "keys_agree"}),
        (text_of(call=">>> add(3, 4"), {"function_and_call", "keys_agree"}),
        (
            text_of(output="[7, 7]"),
            {"output_dict", "has_answer", "keys_agree", "intermediates", "answer_exact"},
        ),
        (
            text_of(output="{'total': 7, 'answer': 7"),
            {"output_dict", "has_answer", "keys_agree", "intermediates", "answer_exact"},
        ),
        (text_of(output="{'total': 7}"), {"has_answer", "keys_agree", "answer_exact"}),
        (text_of(output="{'answer': 7, 'total': 7}"), {"keys_agree"}),
        (text_of(output="{'total': 7, 'answer': 7, 'x': 1}"), {"keys_agree"}),
        (text_of(output="{'answer': 7}"), {"keys_agree", "intermediates"}),
        (text_of(output="{'total': '', 'answer': 7}"), {"intermediates"}),
        (text_of(output="{'total': 7, 'answer': 8}"), {"answer_exact"}),
        (text_of(output="{'total': 7, 'answer': '7'}"), {"answer_exact"}),
        (text_of(output="{'total': 7, 'answer': 7.0}"), {"answer_exact"}),
        (text_of(output="{'total': 0, 'answer': 7}"), set()),
    ],
)
def test_each_fault_costs_its_measures(text: str, lost: set[str]) -> None:
    assert ALL - held(text) == lost


def test_missing_parts_cost_their_measures() -> None:
    assert ALL - held(text_of(), ended=False) == {"ends_by_eos"}
    assert ALL - held(f"{PROGRAM}\n### Output\n{OUTPUT}") == {"function_and_call", "keys_agree"}
    assert held("") == {"ends_by_eos"}


EQUAL = [
    ("True", "True"), ("'7'", '"7"'), ("[1, 2]", "[1,2]"), ("None", "None"),
    ("{'a': 1, 'b': 2}", "{'b': 2, 'a': 1}"), ("{'b', 'a', 'c'}", "{'c', 'b', 'a'}"),
]  # fmt: skip
DIFFERENT = [
    ("1", "True"), ("7", "'7'"), ("[1, 0]", "[True, 0]"), ("[1, 2]", "(1, 2)"), ("[1, 2]", "[1]"),
    ("{'a': 1}", "{'a': True}"), ("{'a': 1}", "{'b': 1}"), ("{1, 'a'}", "{True, 'a'}"),
    ("{1}", "{1.0}"), ("{(1,)}", "{(True,)}"), ("{1, 2}", "{1}"), ("{1: 'a'}", "{True: 'a'}"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("reference", "answer", "equal"),
    [(*pair, True) for pair in EQUAL] + [(*pair, False) for pair in DIFFERENT],
)
def test_answers_are_equal_in_value_and_type(reference: str, answer: str, equal: bool) -> None:
    measures = held(
        text_of(output=f"{{'answer': {answer}}}"), reference=f"{{'answer': {reference}}}"
    )
    assert ("answer_exact" in measures) is equal


@pytest.mark.parametrize("reference", ["{}", "no dict", "{'total': None}"])
def test_reference_without_answer_is_never_met(reference: str) -> None:
    assert "answer_exact" not in held(text_of(output="{'answer': None}"), reference=reference)


HOSTILE = [
    "[" * 100_000,
    "-" * 100_000 + "1",
    "x" + ".a" * 20_000,
    "f(" * 90 + ")" * 90,
    "lambda: " * 1_500 + "1",
    "\x00",
    "\ud800",
    "9" * 5_000,
    "1" + "0" * 400 + " + 1j",
    "{[]: 1}",
    "{**{}}",
    "'\\d'",
    "# -*- coding: nonsense -*-",
    "\n>>> \n>>> ",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_judged(text: str) -> None:
    for written in (text, text_of(program=text), text_of(call=f">>> {text}"), text_of(output=text)):
        held(written)
    held(text_of(output=f"{{'answer': {text}}}"), reference=f"{{'answer': {text}}}")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("name = helper", {"helper"}),
        ("def f(a):\n    return one(two(a))", {"one", "two"}),
        ("def f():\n    return helper()\ndef helper():\n    pass", set()),
        ("def f():\n    def helper():\n        pass\n    helper()", set()),
        ("def f():\n    def helper():\n        pass\ndef g():\n    helper()", {"helper"}),
        ("def f(helper):\n    helper()\ndef g():\n    helper()", {"helper"}),
        ("def f():\n    def g():\n        return a\n    a = 1", set()),
        ("class A:\n    helper = 1\n    def f(self):\n        helper()", {"helper"}),
        ("import os.path\nos()\npath()", {"path"}),
        ("import numpy as np\nnp()\nnumpy()", {"numpy"}),
        ("from re import sub, match as m\nsub()\nm()\nmatch()", {"match"}),
        ("apply = lambda helper: helper(1)\napply(1)", set()),
        ("[helper for helper in fs]\nhelper()", {"fs", "helper"}),
        ("def f(*args, **options):\n    args()\n    options()", set()),
        ("if (helper := find()):\n    helper()", {"find"}),
        ("def f():\n    global total\n    total = 0\nprint(total)", set()),
        ("def f():\n    global total\n    return total", {"total"}),
        ("def f():\n    global re\n    import re\nre.sub()", set()),
        ("def f(words: List[str]):\n    pass", {"List"}),
        ("'text'.helper(len)", set()),
        ("no Python", set()),
    ],
)
def test_undefined_names(source: str, expected: set[str]) -> None:
    assert undefined_names(source) == expected


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (0.1 + 0.2, 0.3, True),
        (1.0, 1.0 + 1e-10, True),
        (1.0, 1.0 + 1e-8, False),
        (1.0, 1, False),
        (10**10, 10**10 + 1, False),
        ([{"a": (1.0, "x")}], [{"a": (1.0 + 1e-10, "x")}], True),
        ([{"a": (1.0, "x")}], [{"a": (1.0 + 1e-10, "y")}], False),
        (0.0, 1e-12, False),
    ],
)
def test_floats_may_differ_by_a_tolerance_all_the_way_down(
    one: object, other: object, equal: bool
) -> None:
    assert same(one, other, float_tolerance=1e-9) is equal
    assert same([0.1], [0.1]) and not same([0.1 + 0.2], [0.3])  # without a tolerance


def test_family_is_the_rows_own_or_else_in_the_id() -> None:
    own = [{"id": "plural-1", "family": name} for name in ("verbs", "")]
    assert list(map(family, own)) == ["verbs", "no family"]
    assert [family({"id": name}) for name in ("plural-00013", "first-letter-7")] == [
        "plural",
        "first-letter",
    ]
    assert {
        family({"id": name})
        for name in (
            *("17", "-3", "plural", "plural-x", "", "row-17", "Row-1", "seed_task-3", "2024-01-02"),
            *("2024-1", "a1-b2-3", "550e8400-e29b-41d4-a716-446655440000", "train-00001"),
        )
    } == {None}


GIVEN_PARTS = ("function_and_call", "keys_agree")


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        (f"{CALL}\n### Output\n{OUTPUT}", set()),
        (f">>> other(3, 4)\n### Output\n{OUTPUT}", set(GIVEN_PARTS)),
        (f"### Output\n{OUTPUT}", set(GIVEN_PARTS)),
        # its own program, be it the same one, is not the given one
        (text_of(), set(GIVEN_PARTS)),
        (f"{CALL}\n### Output\n{{'sum': 7, 'answer': 7}}", {"keys_agree"}),
        (f"{CALL}\n### Output\n{{'total': 7, 'answer': 8}}", {"answer_exact"}),
    ],
)
def test_emulator_is_judged_by_the_given_program(text: str, lost: set[str]) -> None:
    judged = judge(ROW, Generation(text, 1, True), PROGRAM)
    assert {name for name, holds in judged.holds.items() if not holds} == lost
    assert judged.completion.program == PROGRAM
