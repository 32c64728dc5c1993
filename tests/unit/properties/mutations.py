"""Strategies that spoil a JSON value, a file's bytes, and a text that a model may have written."""

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hypothesis import event, settings
from hypothesis import strategies as st

from tools.errors import UserError

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2, 0.5, 5, 1e-320, 1e308, -1e308, 10**20, 10**400, math.nan,
    math.inf, "NaN", "", "x", "\0", "\ud800", "</s>", "### Code\n", ">>> f(1)", [], {}, [[]],
    {"a": None}, "9" * 5000,
]  # fmt: skip

# what stands in programs and dicts, what ends them, and what breaks their readers
FRAGMENTS = [
    "\n", " ", "    ", "\t", "\r", "\0", "\\", "'", '"""', "(", ")", "{", "}", "[", "]", ":", ",",
    "#", "=", "**", ".", "\x1b[2J", "\u202e", "é", "\n### Output\n", "\n>>> ", ">>> f(1)\n",
    "### Code\n", "</s>", "def ", "return ", "class A:\n    x = helper\n", "lambda: ",
    "import os\n", "import math\n", "from math import *\n", "global helper\n", "del helper\n",
    "helper(1)", "len", "True", "1", "1.0", "-0.0", "1e999", "1j", "None", "'answer'", "{**x}",
    "set()", "{1}", "{True}", "b'x'", "'\\ud800'", "'\\0'", "9" * 5000, "0x" + "f" * 5000,
    "{0x" + "f" * 5000 + ": 1}", "[" * 150, "(" * 300, "-" * 3000, "lambda: " * 1200, "f(" * 90,
    "not " * 2000, "a." * 3000, "1+" * 3000, "if x:\n" * 30, "return return", "word " * 60,
]  # fmt: skip


def examples(count: int) -> settings:
    """This many examples in the unit tier, and fifty times as many with the profile `long`."""
    return settings(max_examples=count * settings.default.max_examples // 100)


@contextmanager
def no_traceback() -> Iterator[None]:
    """A UserError with a message is a good answer to spoilt input; another exception fails."""
    try:
        yield
        event("answered")
    except UserError as error:
        event("refused")
        assert str(error).strip()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key) of everything inside a JSON value."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


@st.composite
def mutated(draw: st.DrawFn, value: Any) -> Any:
    """Draw a copy with one to five places deleted, doubled, scaled or replaced."""
    changed = copy.deepcopy(value)
    for _ in range(draw(st.sampled_from([1, 1, 2, 5]))):
        if not (places := list(_places(changed))):
            break
        container, key = places[draw(st.integers(0, len(places) - 1))]
        inner = container[key]
        act = draw(st.sampled_from(["delete", "double", "scale", "replace", "replace", "replace"]))
        if act == "delete":
            del container[key]
        elif act == "double" and isinstance(container, list):
            container.insert(key, copy.deepcopy(inner))
        elif act == "scale" and type(inner) in (int, float) and -1e300 < inner < 1e300:
            container[key] *= draw(st.sampled_from([-1, 0.5, 2, 10, 1.00001]))
        else:
            container[key] = copy.deepcopy(draw(st.sampled_from(ODD)))
    return changed


@st.composite
def spoilt(draw: st.DrawFn, data: bytes) -> bytes:
    """Draw bytes cut short, or with some of them changed."""
    if not data or draw(st.booleans()):
        return data[: draw(st.integers(0, len(data)))]
    changed = bytearray(data)
    for _ in range(draw(st.sampled_from([1, 3, 30]))):
        changed[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(changed)


@st.composite
def rewritten(draw: st.DrawFn, text: str, others: Sequence[str]) -> str:
    """Draw a text with spans dropped, or replaced by a fragment or a piece of another text."""
    for _ in range(draw(st.sampled_from([1, 1, 2, 4]))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from([0, 1, 5, 40, 10**6])))
        if draw(st.booleans()):
            piece = draw(st.sampled_from(FRAGMENTS))
        else:
            other = draw(st.sampled_from(others))
            cut = draw(st.integers(0, len(other)))
            piece = other[cut : cut + draw(st.sampled_from([0, 10, 200]))]
        text = text[:start] + piece + text[end:]
    return text
