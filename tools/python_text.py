"""Reads Python that a model wrote, without running it; no text makes it raise."""

import ast
import warnings
from collections.abc import Callable
from typing import Any


def quietly(function: Callable[[str], Any], text: str) -> Any:
    """Return what a parser makes of a text; None if the text makes it raise."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SyntaxWarning: invalid escape sequence
            return function(text)
    except (SyntaxError, ValueError, TypeError, OverflowError, RecursionError, MemoryError):
        return None


def parse(program: str) -> ast.Module:
    """Return the tree of a program; an empty one if it is not Python."""
    return quietly(ast.parse, program) or ast.Module(body=[], type_ignores=[])


def literal(text: str) -> Any:
    """Return the value of a Python literal; None for any other text."""
    return quietly(ast.literal_eval, text)
