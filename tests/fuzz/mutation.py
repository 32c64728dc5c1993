"""Ways to spoil a JSON value, a file's bytes, and a text that a model may have written."""

import copy
import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

ODD = [
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


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key) of everything inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        yield value, key
        if isinstance(inner, dict | list):
            yield from places(inner)


def mutate(rng: random.Random, value: Any) -> Any:
    """Return a copy with one to five places deleted, doubled, scaled or replaced."""
    changed = copy.deepcopy(value)
    for _ in range(rng.choice([1, 1, 2, 5])):
        if not (found := list(places(changed))):
            return changed
        container, key = rng.choice(found)
        act = rng.random()
        if act < 0.15:
            del container[key]
        elif act < 0.25 and isinstance(container, list):
            container.insert(key, copy.deepcopy(container[key]))
        elif act < 0.4 and type(container[key]) in (int, float) and -1e300 < container[key] < 1e300:
            container[key] *= rng.choice([-1, 0.5, 2, 10, 1.00001])
        else:
            container[key] = copy.deepcopy(rng.choice(ODD))
    return changed


def spoil(rng: random.Random, data: bytes) -> bytes:
    """Return bytes cut short, or with some of them changed."""
    if not data or rng.random() < 0.4:
        return data[: rng.randrange(len(data) + 1)]
    changed = bytearray(data)
    for _ in range(rng.choice([1, 3, 100])):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def rewrite(rng: random.Random, text: str, others: Sequence[str]) -> str:
    """Return a text with one to four spans dropped, moved, replaced by a fragment or another's."""
    for _ in range(rng.choice([1, 1, 2, 4])):
        start, end = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        end = min(end, start + rng.choice([0, 1, 5, 40, 10**6]))
        if rng.random() < 0.1:  # whole lines
            lines = text.split("\n")
            lines[rng.randrange(len(lines))] = rng.choice(rng.choice(others).split("\n"))
            text = "\n".join(lines)
        elif rng.random() < 0.6:
            text = text[:start] + rng.choice(FRAGMENTS) + text[end:]
        else:
            other = rng.choice(others)
            cut = rng.randrange(len(other) + 1)
            text = text[:start] + other[cut : cut + rng.choice([0, 10, 200])] + text[end:]
    return text
