"""Reads programs that a model wrote, and runs them twice in the sandbox; no text makes it raise.

A program is *complete* if every name that it reads is defined in it, is a builtin, or comes from a
module of `PURE_MODULES`. Then Python can run it. What depends on chance, the clock or the machine
has no one true value, and is not run. These lists keep such programs out. They do not isolate a
program; the sandbox does.
"""

import ast
import builtins
import json
import math
import symtable
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tools.python_text import parse, quietly
from tools.sandbox import Limits, Outcome, run_programs

BUILTINS = frozenset(dir(builtins))
LIMITS = Limits(output=1 << 16)  # a true dict is as short as one that a model writes

PURE_MODULES = frozenset(
    "__future__ abc bisect calendar cmath collections copy dataclasses datetime decimal difflib "
    "enum fractions functools heapq itertools json math numbers operator re statistics string "
    "textwrap typing unicodedata".split()
)
IMPURE_BUILTINS = frozenset(
    "__import__ breakpoint compile copyright credits eval exec exit hash help id input license "
    "open quit".split()
)
# of datetime: the clock, and the time zone of the machine
_CLOCK = frozenset("now today utcnow fromtimestamp timestamp astimezone".split())

_HARNESS = """
import contextlib, io, json, sys
report = {}
with contextlib.redirect_stdout(io.StringIO()):
    try:
        names = {"__name__": "__main__"}
        exec(PROGRAM, names)
        value = eval(CALL, names)
        report["type"] = type(value).__name__
        report["text"] = repr(value)
    except BaseException as error:
        report["error"] = type(error).__name__
json.dump(report, sys.stdout)
"""


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


def leaves_of(source: str) -> list[str]:
    """Return the functions that a program calls and that nobody defines, in the order of calls."""
    undefined = undefined_names(source)
    calls = sorted(
        (node.func.lineno, node.func.col_offset, node.func.id)
        for node in ast.walk(parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    )
    return list(dict.fromkeys(name for _, _, name in calls if name in undefined))


def _tables(module: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    """Yield the tables of all scopes, without recursion: a thousand lambdas can be nested."""
    waiting = [module]
    while waiting:
        table = waiting.pop()
        yield table
        waiting += table.get_children()


def examine(program: str, call: str) -> tuple[str, tuple[str, ...]]:
    """Say whether a program is `complete`, else `undefined`, `not_allowed` or `unreadable`.

    The other value holds the names that are undefined or not allowed. Nothing is run.
    """
    tree, call = parse(program), call_of(call)
    if not tree.body or quietly(lambda text: ast.parse(text, mode="eval"), call) is None:
        return "unreadable", ()
    names = names_from_outside(f"{program}\n{call}")
    if names is None:
        return "unreadable", ()
    if found := sorted({*_impure(tree), *(names & IMPURE_BUILTINS)}):
        return "not_allowed", tuple(found)
    if undefined := sorted(names - BUILTINS):
        return "undefined", tuple(undefined)
    return "complete", ()


def _impure(tree: ast.Module) -> Iterator[str]:
    """The imports and attributes that are not allowed; a star hides what it defines."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    if alias.name.split(".")[0] not in PURE_MODULES:
                        yield f"import {alias.name}"
            case ast.ImportFrom(module=module, names=names, level=level):
                pure = not level and str(module).split(".")[0] in PURE_MODULES
                if not pure or names[0].name == "*":
                    yield f"from {'.' * level}{module or ''} import {names[0].name}"
            case ast.Attribute(attr=name) if name in _CLOCK:
                yield f".{name}"


@dataclass(frozen=True)
class Returned:
    """How one run of a call ended, as the program itself reports it.

    `status` is returned, crashed, timed_out or, if too much was printed, no_literal. `detail` is
    the type of the value or exception, `text` the value's `repr`.
    """

    status: str
    detail: str = ""
    text: str = ""


def run_twice(
    calls: Sequence[tuple[str, str]], *, allow_code_execution: bool
) -> list[tuple[Returned, Returned]]:
    """Run each (program, expression) with two orders of sets. Raises UserError as `run_programs`.

    The two differ where a value depends on the order of a set, on chance or on an address.
    """
    sources = [f"PROGRAM = {program!a}\nCALL = {call!a}\n{_HARNESS}" for program, call in calls]
    first, second = (
        run_programs(
            sources, allow_code_execution=allow_code_execution, limits=LIMITS, hash_seed=seed
        )
        for seed in (0, 1)
    )
    return [(_end(one), _end(other)) for one, other in zip(first, second, strict=True)]


def _end(outcome: Outcome) -> Returned:
    if outcome.timed_out:
        return Returned("timed_out")
    match quietly(json.loads, outcome.stdout):
        case {"type": str(kind), **rest}:
            return Returned("returned", kind, str(rest.get("text", "")))
        case {"error": str(exception)}:
            return Returned("crashed", exception)
    if outcome.output_cut:
        return Returned("no_literal", f"over {LIMITS.output:,} bytes")
    return Returned("crashed", f"exit status {outcome.status}")
