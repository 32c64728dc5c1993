"""A program is complete only where Python could run it, and no text makes the reader raise."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.programs import examine


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ("return {'answer': x}", "complete", ()),
        ("return {'answer': sorted(map(str, [x]))}", "complete", ()),
        ("import re, math as m\n    return {'answer': m.sqrt(x)}", "complete", ()),
        ("from collections import Counter\n    return Counter()", "complete", ()),
        ("return {'answer': look_up(x)}", "undefined", ("look_up",)),
        ("return {'b': two(one), 'a': list(map(three, x))}", "undefined", ("one", "three", "two")),
        ("import os\n    return {}", "not_allowed", ("import os",)),
        ("import os.path as math\n    return {}", "not_allowed", ("import os.path",)),
        ("import random\n    return {}", "not_allowed", ("import random",)),
        ("import numpy as np\n    return look_up(np)", "not_allowed", ("import numpy",)),
        ("from math import sin\n    from time import time", "not_allowed",
         ("from time import time",)),
        ("from . import math", "not_allowed", ("from . import math",)),
        ("from .math import sin", "not_allowed", ("from .math import sin",)),
        ("return open(x)", "not_allowed", ("open",)),
        ("return eval('x') + exec('x')", "not_allowed", ("eval", "exec")),
        ("return __import__('os')", "not_allowed", ("__import__",)),
        ("return {'answer': input()}", "not_allowed", ("input",)),
        ("return {'answer': id(x), 'b': hash(x)}", "not_allowed", ("hash", "id")),
        ("from datetime import datetime\n    return datetime.now()", "not_allowed", (".now",)),
        # its own names, though they are spelt like builtins
        ("input = x\n    return {'answer': input}", "complete", ()),
        ("return {'answer': [hash for hash in 'ab']}", "complete", ()),
    ],
)  # fmt: skip
def test_program_is_examined(body: str, status: str, detail: tuple[str, ...]) -> None:
    assert examine(f"def f(x):\n    {body}", ">>> f(3)") == (status, detail)


@pytest.mark.parametrize(
    ("program", "call", "status"),
    [
        ("", ">>> len('x')", "unreadable"),
        ("from math import *\ndef f(x): return x", ">>> f(1)", "not_allowed"),
        ("def f(x):\n    return {", ">>> f(1)", "unreadable"),
        ("def f(x, x):\n    return {}", ">>> f(1)", "unreadable"),
        ("f = len", "", "unreadable"),
        ("f = len", ">>> f(", "unreadable"),
        ("f = len", ">>> y = f(1)", "unreadable"),
        ("f = len", ">>> f(y)", "undefined"),
        ("f = len", ">>> f(open('x'))", "not_allowed"),
        ("f = len", ">>> f(\n    1)", "complete"),
        ("f = len", ">>> f(1)  # one", "complete"),
    ],
)
def test_call_is_examined_too(program: str, call: str, status: str) -> None:
    assert examine(program, call)[0] == status


FRAGMENTS = [
    *("{", "}", "(", ")", "[", ":", ",", "'", "\\", "\n", "\0", "\ud800", "    ", "x", "1", " "),
    *("def f(x):\n    return ", "from ", "import ", "*", ".", "math", "global x", "lambda", "f(1)"),
]


@given(st.text() | st.lists(st.sampled_from(FRAGMENTS)).map("".join))
@settings(max_examples=30, deadline=None)
def test_hostile_text_is_examined(text: str) -> None:
    for program, call in ((text, ">>> f(1)"), ("def f(x):\n    return x", f">>> {text}")):
        assert examine(program, call)[0] in ("unreadable", "not_allowed", "undefined", "complete")
