"""When an answer is right."""

import importlib
import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.errors import UserError

BUILT_IN = ("exact", "numeric")  # the names that `load_metric` knows

_WORD = re.compile(r"-?\d+(?:\.\d+)?|\w+")


@dataclass(frozen=True)
class Metric:
    """When an answer is right, and which answers are the same vote.

    `matches(answer, expected)` compares the model's value with the task's text. `vote_key` returns
    equal texts for answers that are the same vote, and None for an answer that casts none.
    """

    matches: Callable[[Any, str], bool]
    vote_key: Callable[[Any], str | None]


def normalise(answer: Any) -> str:
    """Return an answer as lower-case words and numbers, one space apart; a list's items in order.

    Punctuation and brackets go, so `['Bird', 'cat']`, "bird, cat" and "bird cat" are the same;
    an answer of punctuation alone, such as `+`, stays as it is. None is the empty string.
    """
    if answer is None:
        return ""
    if isinstance(answer, list | tuple):
        return " ".join(filter(None, map(normalise, answer)))
    return " ".join(_WORD.findall(str(answer).casefold())) or str(answer).strip()


def as_number(answer: Any) -> float | None:
    """Return a number, or a text that is one (`1,234`), as a float; None for anything else."""
    if isinstance(answer, bool) or not isinstance(answer, int | float | str):
        return None
    text = answer.strip().replace(",", "") if isinstance(answer, str) else answer
    try:
        value = float(text)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def load_metric(name: str, tolerance: float = 0.0) -> Metric:
    """Return the metric of a task card: `exact`, `numeric`, or a function by its dotted name.

    Such a function takes (answer, expected) and returns a truth value; its module may be in the
    working folder. Raises UserError if it does not exist; so does `matches` if it raises anything.
    """
    if name == "exact":
        return Metric(lambda answer, expected: normalise(answer) == normalise(expected), _words)
    if name == "numeric":
        return Metric(lambda answer, expected: _close(answer, expected, tolerance), _numeral)
    return Metric(_own(name), _words)


def _own(name: str) -> Callable[[Any, str], bool]:
    module, _, function = name.rpartition(".")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # the `cogex` command does not look there by itself
    try:
        own = getattr(importlib.import_module(module), function)
        if not callable(own):
            raise TypeError("it is not a function")
    except Exception as error:  # a module may raise anything
        raise UserError(
            f"metric: {name}: {error}; name `exact`, `numeric` or package.module.function"
        ) from None

    def matches(answer: Any, expected: str) -> bool:
        try:
            return bool(own(answer, expected))
        except Exception as error:
            raise UserError(
                f"metric: {name}({answer!r}, {expected!r}): {type(error).__name__}: {error}; "
                "it must judge every value that a model may give, also None"
            ) from None

    return matches


def _words(answer: Any) -> str | None:
    return normalise(answer) or None


def _numeral(answer: Any) -> str | None:
    value = as_number(answer)
    return None if value is None else repr(value)


def _close(answer: Any, expected: str, tolerance: float) -> bool:
    one, other = as_number(answer), as_number(expected)
    return one is not None and other is not None and abs(one - other) <= tolerance
