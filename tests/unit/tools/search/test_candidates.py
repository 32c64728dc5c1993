"""A candidate is what is left of a generation when all but its definitions is cut away."""

import pytest

from tools.search.candidates import PLAN, PROGRAM, cut_plan, cut_program

PROGRAM_TEXT = '''import math

LIMIT = 3

def helper(x):
    return x  # as it is

def solve(words):
    """Sort words."""
    # Step 1: sort
    order = sort_letters(words)
    return {'order': order, 'answer': helper(order)}'''
OUTPUT = "{'order': ['a', 'b'], 'answer': ['a', 'b']}"
FENCED_OUTPUT = f"```\n{OUTPUT}\n```\nSo it is sorted."
CALL = f"\n\n>>> solve(['b', 'a'])\n### Output\n{OUTPUT}"


@pytest.mark.parametrize(
    "text",
    [
        PROGRAM_TEXT + CALL,
        PROGRAM_TEXT + "\n\nprint(solve(['b']))" + CALL,
        PROGRAM_TEXT.replace("LIMIT = 3\n", "LIMIT = 3\nsetup(\n    LIMIT,\n)\n") + CALL,
        PROGRAM_TEXT.replace("\n", "  \n") + CALL,
        PROGRAM_TEXT.replace("\n\n", "\n\n\n\n") + "\n\n\n" + CALL,
        PROGRAM_TEXT.replace("\n", "\r\n") + CALL,
        PROGRAM_TEXT,  # cut short before the call
        f"```python\n{PROGRAM_TEXT}{CALL}\n```",
        f"```python\n{PROGRAM_TEXT}\n```\n{CALL.replace(OUTPUT, FENCED_OUTPUT)}",
        f"Here is the program:\n\n{PROGRAM_TEXT}{CALL}\n\nIt sorts.",
    ],
    ids=["whole", "a call", "a call over lines", "white space", "blank lines", "CRLF", "no call",
         "fence around all", "fence around each part", "prose"],
)  # fmt: skip
def test_what_does_not_define_is_cut_away(text: str) -> None:
    assert cut_program(text) == PROGRAM_TEXT
    assert PROGRAM.answer(text) == (["a", "b"] if "### Output" in text else None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "def solve(words):\n    return {'answer': " + CALL,
        "answer = 3" + CALL,
        "print('def')" + CALL,
        "def f(x): " + "(" * 5000,
        "def f(x):\n    '''never closed" + CALL,
        "def f(given, given):\n    return {}" + CALL,
    ],
    ids=["empty", "no Python", "no function", "print", "too deep", "open string", "two of a name"],
)
def test_without_a_function_that_compiles_there_is_no_candidate(text: str) -> None:
    assert cut_program(text) is None


@pytest.mark.parametrize(
    "output",
    ["", "{'answer': ", "['a']", "{'result': 1}", "{'answer': f(1)}", "{'answer': " + "[" * 9999],
)
def test_no_answer(output: str) -> None:
    assert PROGRAM.answer(PROGRAM_TEXT + CALL) == PROGRAM.answer(CALL.lstrip()) == ["a", "b"]
    assert PROGRAM.answer(f">>> f(1)\n### Output\n{output}") is None


def test_plan_is_cut_and_numbered() -> None:
    text = "# Step 1: Look\n# Step 3: Sort\n### Output\n{'answer': 7}"
    assert cut_plan(text) == "# Step 1: Look\n# Step 2: Sort"
    assert cut_plan("Look, then sort.\n### Output\n{'answer': 7}") is None
    assert PLAN.answer(text) == PLAN.answer("{'answer': 7}") == 7


def test_emulator_goes_on_after_program_or_plan() -> None:
    """That these are the ids of training is tested in test_prompt_ids."""
    assert PROGRAM.emulator_prompt("Sort.", "b a", PROGRAM_TEXT).endswith(f"{PROGRAM_TEXT}\n\n")
    assert PLAN.emulator_prompt("Sort.", "b a", "# Step 1: Look").endswith("Look\n### Output\n")
