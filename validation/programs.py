"""Reads programs and values that a model wrote: nothing is run, and no text makes it raise."""

import ast
import builtins
import math
import symtable
import warnings
from collections.abc import Callable, Iterator
from typing import Any

BUILTINS = frozenset(dir(builtins))


def quietly(function: Callable[[str], Any], text: str) -> Any:
    """Return what a parser makes of a text; None for all that hostile text makes it raise."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SyntaxWarning: invalid escape sequence
            return function(text)
    except (SyntaxError, ValueError, TypeError, OverflowError, RecursionError, MemoryError):
        return None


def parse(program: str) -> ast.Module:
    """Return the tree of a program; an empty one if it is no Python."""
    return quietly(ast.parse, program) or ast.Module(body=[], type_ignores=[])


def literal(text: str) -> Any:
    """Return the value of a Python literal; None if it is none."""
    return quietly(ast.literal_eval, text)


def same(one: Any, other: Any, float_tolerance: float = 0.0) -> bool:
    """Say whether two literals are equal in value and type, all the way down.

    True is not 1, and '7' is not 7. Floats may differ by `float_tolerance`, relative.
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            same(one[key], other[key], float_tolerance) for key in one
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(
            same(*pair, float_tolerance) for pair in zip(one, other, strict=True)
        )
    if isinstance(one, float):
        return math.isclose(one, other, rel_tol=float_tolerance)
    return bool(one == other)


def call_of(call: str) -> str:
    """Return a call without its prompt, `>>> `."""
    return call.removeprefix(">>> ")


def called_name(call: str) -> str:
    """Return the name that `>>> name(…)` calls; empty if it is no such call."""
    match parse(call_of(call)).body:
        case [ast.Expr(value=ast.Call(func=ast.Name(id=name)))]:
            return name
    return ""


def names_from_outside(source: str) -> frozenset[str] | None:
    """Return the names that a module reads and does not define; None if it is no Python.

    These are builtins and undefined names. Scopes are Python's own: what one function keeps to
    itself, another cannot read.
    """
    module = quietly(lambda text: symtable.symtable(text, "<program>", "exec"), source)
    if module is None:
        return None
    symbols = [symbol for table in _tables(module) for symbol in table.get_symbols()]
    of_module = [*module.get_symbols(), *(item for item in symbols if item.is_declared_global())]
    defined = {item.get_name() for item in of_module if item.is_assigned() or item.is_imported()}
    read = {item.get_name() for item in symbols if item.is_referenced() and item.is_global()}
    return frozenset(read - defined)


def undefined_names(source: str) -> frozenset[str]:
    """Return the names that a module reads and that neither it nor Python defines."""
    return (names_from_outside(source) or frozenset()) - BUILTINS


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _tables(child)
