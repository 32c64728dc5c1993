"""The text of a row, and the way back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_strategies.layout import (
    Completion,
    parse_completion,
    render_code_section,
    render_completion,
    render_emulator_prompt,
    render_prompt,
    split_code,
)

PROGRAM = 'def plural(word):\n    """Return the plural."""\n    return add_s(word)'
CALL = ">>> plural('cat')"
CODE = f"{PROGRAM}\n\n{CALL}"
OUTPUT = "{'answer': 'cats'}"
INSIDE = "{'text': '''\n### Output\n'''}"  # such a line in a string is no header

# pieces of text that could be taken for a part of the layout
MARKERS = [
    "### Output\n",
    "\n### Output\n",
    "### Code\n",
    "\n\n>>> f(1)",
    "... ",
    "\r\n",
    "\n",
    " ",
]
hostile = st.lists(st.one_of(st.sampled_from(MARKERS), st.text()), max_size=6).map("".join)


def test_text_of_a_row_is_the_papers() -> None:
    assert render_prompt("Say it.", "cat") + render_completion(CODE, OUTPUT) == (
        "### Instruction\nSay it.\n### Input\ncat\n### Code\n"
        'def plural(word):\n    """Return the plural."""\n    return add_s(word)\n\n'
        ">>> plural('cat')\n### Output\n{'answer': 'cats'}"
    )


def test_input_section_stands_when_the_input_is_empty() -> None:
    assert render_prompt("Say it.") == "### Instruction\nSay it.\n### Input\n\n### Code\n"


@pytest.mark.parametrize("lead", ["\n", "  \n\t\n", "\r\n", "    ", "\u2028\u00a0\n"])
def test_white_space_before_code_and_output_is_left_out(lead: str) -> None:
    assert render_completion(lead + CODE, lead + OUTPUT) == render_completion(CODE, OUTPUT)
    plain = render_emulator_prompt("a", "b", PROGRAM)
    assert plain == render_emulator_prompt("a", "b", lead + PROGRAM + "\n")


def test_indentation_inside_the_code_is_kept() -> None:
    assert render_code_section("def f():\n\n    return 1\n\n>>> f()") == (
        "def f():\n\n    return 1\n\n>>> f()\n### Output\n"
    )


@given(hostile, hostile, hostile.filter(str.strip))
def test_emulator_prompt_is_a_prefix_of_the_training_text(
    instruction: str, input: str, code: str
) -> None:
    program, call = split_code(code + "\n\n" + CALL)
    text = render_prompt(instruction, input) + render_completion(f"{program}\n\n{call}", OUTPUT)
    assert text.startswith(render_emulator_prompt(instruction, input, program) + ">>> ")


@pytest.mark.parametrize(
    "call",
    [
        ">>> f(1)",
        ">>> f(\n...     1,\n... )",
        ">>> f([\n    'a',\n    'b',\n])",
        ">>> f('''one\n\ntwo''')",
    ],
)
def test_split_keeps_the_whole_call(call: str) -> None:
    assert split_code(f"{PROGRAM}\n\n{call}\n") == (PROGRAM, call)


def test_split_is_at_the_last_call() -> None:
    program = "def f(x):\n    '''\n    >>> f(0)\n    '''\n\n>>> x = 1"
    assert split_code(f"{program}\n>>> f(x)") == (program, ">>> f(x)")


@pytest.mark.parametrize("code", ["", PROGRAM, "    >>> f(1)", ">>>f(1)"])
def test_code_without_a_call_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match="no call"):
        split_code(code)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (render_completion(CODE, OUTPUT), Completion(PROGRAM, CALL, OUTPUT)),
        (f"{CALL}\n### Output\n{OUTPUT}", Completion("", CALL, OUTPUT)),  # as an emulator
        (f"{INSIDE}\n\n{CALL}\n### Output\n{INSIDE}", Completion(INSIDE, CALL, INSIDE)),
        ("", Completion("", "", "")),
        ("def f(x", Completion("def f(x", "", "")),
        (f"{PROGRAM}\n\n>>> plu", Completion(PROGRAM, ">>> plu", "")),
        (f"{CODE}\n### Output", Completion(PROGRAM, CALL, "")),
        (f"{CODE}\n### Output \r\n{{'a", Completion(PROGRAM, CALL, "{'a")),
        (f"{PROGRAM}\n### Output\n{OUTPUT}", Completion(PROGRAM, "", OUTPUT)),
    ],
)
def test_parse_takes_what_is_there(text: str, parts: Completion) -> None:
    assert parse_completion(text) == parts


@given(hostile)
def test_parse_finds_the_output_behind_any_program(program: str) -> None:
    parse_completion(program)  # never raises
    program = f"{program}\n\n{CALL}".split("\n>>> ")[0].strip()
    parts = parse_completion(render_completion(f"{program}\n\n{CALL}", OUTPUT))
    assert (parts.call, parts.output) == (CALL, OUTPUT)
