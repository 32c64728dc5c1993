"""Reads programs and values that a model wrote: nothing is run, and no text makes it raise."""

import ast
import builtins
import math
import symtable
from collections.abc import Iterator
from typing import Any

from tools.python_text import parse, quietly

BUILTINS = frozenset(dir(builtins))


def same(one: Any, other: Any, float_tolerance: float = 0.0) -> bool:
    """Say whether two literals are equal in value and type, all the way down.

    True is not 1, and '7' is not 7. Floats may differ by `float_tolerance`, relative.
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return _same_members(one, other) and all(
            same(one[key], other[key], float_tolerance) for key in one
        )
    if isinstance(one, set):
        return _same_members(one, other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(
            same(*pair, float_tolerance) for pair in zip(one, other, strict=True)
        )
    if isinstance(one, float):
        return math.isclose(one, other, rel_tol=float_tolerance)
    return bool(one == other)


def _same_members(one: Any, other: Any) -> bool:
    """Compare sets, or the keys of dicts, in type too: to Python {True} is {1}."""
    found = {item: item for item in other}
    return len(one) == len(other) and all(item in found and same(item, found[item]) for item in one)


def call_of(call: str) -> str:
    """Return a call without its prompt, `>>> `."""
    return call.removeprefix(">>> ")


def called_name(call: str) -> str:
    """Return the name that `>>> name(…)` calls; empty for any other text."""
    match parse(call_of(call)).body:
        case [ast.Expr(value=ast.Call(func=ast.Name(id=name)))]:
            return name
    return ""


def names_from_outside(source: str) -> frozenset[str] | None:
    """Return the names that a module reads and does not define; None if it is not Python.

    These are builtins and undefined names, by Python's own scopes: one function cannot read the
    local names of another.
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


def _tables(module: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    """Yield the tables of all scopes, without recursion: a thousand lambdas can be nested."""
    waiting = [module]
    while waiting:
        table = waiting.pop()
        yield table
        waiting += table.get_children()
