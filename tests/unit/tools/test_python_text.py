"""A program is taken out of whatever fence, prose or template stands around it."""

import time

import pytest

from tools.python_text import take_literal, take_program

PROMPT = 'def add(a, b):\n    """Sum."""\n'
WHOLE = "def add(a, b):\n    return a + b"
BODY = "    return a + b"
OTHER = "def other(x):\n    y = x\n    z = y\n    return z"
F = "`" * 3

HOLDERS = {
    "python": f"{F}python\nPROGRAM\n{F}\n",
    "py": f"{F}py\nPROGRAM\n{F}",
    "another name": f"{F}Python3\nPROGRAM\n{F}",
    "attributes": f'{F}python title="add.py"\nPROGRAM\n{F}\nDone',
    "no language": f"{F}\nPROGRAM\n{F}",
    "tildes": "~~~\nPROGRAM\n~~~\nThat is all.",
    "never closed": f"Here:\n{F}python\nPROGRAM",
    "closed on the last line": f"{F}python\nPROGRAM{F}",
    "opened in a sentence": f"Here: {F}python\nPROGRAM\n{F} That is all.",
    "closed alone": f"PROGRAM\n{F}\nThis works.",
    "a fence in a fence": f"{F}`markdown\n{F}python\nPROGRAM\n{F}\n{F}`",
    "others before and after": (
        f"{F}json\n{{}}\n{F}\n{F}python\n{OTHER}\n{F}\n{F}py\nPROGRAM\n{F}\n"
        f"Test:\n{F}\nadd(1, 2)\n{F}"
    ),
    "prose": "Here is the code:\n\nPROGRAM\n\nIt's right, for it adds.",
    "prose after": "PROGRAM\n\nThis function's result is right.",
    "a word after": "Sure!\nPROGRAM\n\nDone",
    "CRLF": f"{F}python\nPROGRAM\n{F}\n".replace("\n", "\r\n"),
    "end of turn": "PROGRAM\n<|im_end|>\n",
    "turn": f"<|im_start|>assistant\n{F}python\nPROGRAM\n{F}<|im_end|>\n<|im_start|>user\nNow",
    "Llama's": "[/INST] Sure.\nPROGRAM\n</s>",
    "reasoning": f"<think>\n{F}\ndef add(a, b): return 0\n{F}\n</think>\n{F}\nPROGRAM\n{F}",
}


@pytest.mark.parametrize("name", HOLDERS)
@pytest.mark.parametrize("program", [WHOLE, BODY])
def test_program_is_taken_out(name: str, program: str) -> None:
    text = HOLDERS[name].replace("PROGRAM", program)
    assert take_program(text, PROMPT, "add").strip("\n") == program
    if program == WHOLE:
        assert take_program(text, "", "add").strip("\n") == program


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        (f"1. So:\n\n   {F}python\n   def add(a, b):\n       return a + b\n   {F}\n", WHOLE),
        ("So:\n\n    def add(a, b):\n        return a + b\n\nDone.", WHOLE),
        (f"{F}def add(a, b): return a + b{F}", "def add(a, b): return a + b"),
        (f"{F}\ndef add(a, b):\n    '''\n    {F}\n    x\n    {F}\n    '''\n    return 3\n{F}",
         f"def add(a, b):\n    '''\n    {F}\n    x\n    {F}\n    '''\n    return 3"),
        (f"Use math.\n\nimport math\n\n{WHOLE}\n\nSo: it adds", f"import math\n\n{WHOLE}"),
    ],
    ids=["indented fence", "indented program", "one line", "fence in a docstring", "with imports"],
)  # fmt: skip
def test_program_in_an_odd_place_is_taken_out(text: str, taken: str) -> None:
    assert take_program(text, PROMPT, "add").strip("\n") == taken


def test_of_several_programs_it_is_the_longest_that_parses() -> None:
    text = f"{F}\n{WHOLE}\n{F}\n{F}\n{OTHER}\n{F}\n{F}\n{OTHER}\n  broken(\n{F}"
    assert take_program(text).strip("\n") == OTHER


@pytest.mark.parametrize(
    "text",
    ["", "\0", F, f"{F}python", "no code here", "def f(:", "(" * 9999, "`" * 99_999, " " * 99_999,
     "def f():\n" * 5000, "for the\n" * 5000, "'''" * 3000, BODY, WHOLE, f"{BODY}\r\n",
     f"{WHOLE}\n\nx = '{F}</s>'"],
    ids=lambda text: repr(text[:12]),
)  # fmt: skip
def test_python_and_what_holds_none_stay_as_they_are(text: str) -> None:
    start = time.process_time()
    assert take_program(text, PROMPT, "add") == text
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "text",
    ["{'a': [1]}", "{'a': [1]}\nThat is it.", f"{F}python\n{{'a': [1]}}\n{F}", f"{{'a': [1]}}\n{F}",
     f"Out:\n{F}\n{{'a':\n [1]}}\n{F}\nIt's so.", "{'a': [1]}<|im_end|>", " {'a': [1]}\r\n"],
)  # fmt: skip
def test_literal_is_taken_out(text: str) -> None:
    assert take_literal(text) == {"a": [1]}


def test_text_without_a_literal_has_none() -> None:
    assert take_literal("It is one.") is take_literal("") is take_literal("f(1)") is None
