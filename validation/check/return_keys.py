"""Finds the keys of the dicts that a function returns, by reading it: nothing is run.

A returned name is followed through `out = {...}`, `out["key"] = value` and the like, in the order
of the source. A statement is certain if the `return` stands in its block or below, else it may have
been skipped. What may change a dict unseen (another function that gets it, a key in a variable)
leaves it open: it may have any keys.
"""

import ast
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from types import CodeType
from typing import Any

from tools.python_text import quietly

Function = ast.FunctionDef | ast.Lambda
MOST = 64  # lists of keys that are followed at once; with more a dict is open

_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_BLOCKS = (ast.stmt, ast.ExceptHandler, ast.match_case)
_READING_METHODS = frozenset("copy get items keys values".split())
_READING_FUNCTIONS = frozenset(
    "all any bool dict enumerate float format int isinstance len list max min print repr reversed "
    "set sorted str sum tuple type".split()
)
_REACH_ALL = frozenset("eval exec globals locals vars".split())
_GENERATOR = 0x20  # a flag of a function's code


@dataclass(frozen=True)
class Dicts:
    """The dicts that a value may be, by their keys in order; `open`: it may be any other too."""

    keys: frozenset[tuple[object, ...]] = frozenset()
    open: bool = False

    def __or__(self, other: "Dicts") -> "Dicts":
        keys = self.keys | other.keys
        return Dicts(keys, self.open or other.open) if len(keys) <= MOST else ANY

    def updated(self, more: "Dicts") -> "Dicts":
        """Return what `{**self, **more}` may be."""
        if len(self.keys) * len(more.keys) > MOST:
            return ANY
        merged = {tuple(dict.fromkeys(a + b)) for a in self.keys for b in more.keys or {()}}
        return Dicts(frozenset(merged), self.open or more.open or not more.keys)

    def opened(self) -> "Dicts":
        """Return the same, after something that may have changed them."""
        return Dicts(self.keys, open=True)


NO_DICT, ANY, EMPTY = Dicts(), Dicts(open=True), Dicts(frozenset({()}))


def returned_dicts(function: Function, program: ast.Module) -> Dicts:
    """Return the keys of all dicts that a call of the program's function may return."""
    own = {name for node in program.body for name in _names(node)}  # no builtin has these names
    return quietly(lambda _: _returned(function, own), "") or ANY  # None: nested too deeply


def _returned(function: Function, own_names: set[str]) -> Dicts:
    if isinstance(function, ast.Lambda):
        return _Reader(function, (), own_names).value(function.body, 0)
    module = compile(ast.Module([function], []), "<program>", "exec")
    own = [item for item in module.co_consts if isinstance(item, CodeType)]
    [code] = [item for item in own if item.co_name == function.name][-1:]
    if function.decorator_list or code.co_flags & _GENERATOR:
        return ANY
    reader = _Reader(function, code.co_cellvars, own_names)  # cells: what inner functions use
    found = NO_DICT
    for place, node in enumerate(reader.nodes):
        if isinstance(node, ast.Return) and node.value:
            found |= reader.value(node.value, place)
    return found.opened() if _REACH_ALL & {*code.co_names} else found


class _Reader:
    """The nodes of a function in the order of the source, without those of inner functions."""

    def __init__(self, function: Function, shared: Iterable[str], own_names: set[str]) -> None:
        self.nodes: list[ast.AST] = []
        self.parents: dict[ast.AST, ast.AST] = {}
        self.blocks: dict[ast.AST, tuple[tuple[ast.AST, str], ...]] = {}  # around a node
        self.places: dict[str, list[int]] = defaultdict(list)  # of a variable, in `nodes`
        self.shared = {*shared}
        self.reading = _READING_FUNCTIONS - own_names
        self.arguments = {item.arg for item in ast.walk(function.args) if isinstance(item, ast.arg)}
        self.variable = cache(self._variable)
        self._add(function, ())

    def _add(self, node: ast.AST, blocks: tuple[tuple[ast.AST, str], ...]) -> None:
        for field, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    inside = (*blocks, (node, field)) if isinstance(child, _BLOCKS) else blocks
                    for name in _names(child):
                        self.places[name].append(len(self.nodes))
                    if isinstance(child, ast.Global | ast.Nonlocal):
                        self.shared |= {*child.names}
                    self.nodes.append(child)
                    self.parents[child], self.blocks[child] = node, inside
                    if not isinstance(child, _SCOPES):
                        self._add(child, inside)

    def value(self, node: ast.expr, place: int) -> Dicts:
        """Return the dicts that an expression may be at a place in the function."""
        match node:
            case ast.Name(id=name):
                return self.variable(name, place)
            case ast.NamedExpr(value=inner):
                return self.value(inner, place)
            case ast.IfExp(body=one, orelse=other):
                return self.value(one, place) | self.value(other, place)
            case ast.BoolOp(values=values):
                found = NO_DICT
                for item in values:
                    found |= self.value(item, place)
                return found
            case ast.Dict(keys=keys, values=values):
                pairs = zip(keys, values, strict=True)
                return _merged(_of(key) if key else self.value(item, place) for key, item in pairs)
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return self.value(left, place).updated(self.value(right, place))
            case ast.Call(func=ast.Name(id="dict")) if "dict" in self.reading:
                return self.argument(node, place)
            case ast.Call(func=ast.Attribute(value=inner, attr="copy"), args=[]):
                return self.value(inner, place)
            case ast.Constant() | ast.JoinedStr() | ast.Compare() | ast.UnaryOp():
                return NO_DICT
            case ast.List() | ast.Tuple() | ast.Set() | ast.ListComp() | ast.SetComp():
                return NO_DICT
        return ANY

    def argument(self, call: ast.Call, place: int) -> Dicts:
        """Return what `dict(…)` or `out.update(…)` is given: a dict or pairs, and more keys."""
        parts = []
        for item in call.args:
            match item:
                case ast.List(elts=pairs) | ast.Tuple(elts=pairs):
                    parts += [_of(*pair.elts[:1]) if isinstance(pair, ast.Tuple | ast.List)
                              else ANY for pair in pairs]  # fmt: skip
                case _:
                    parts.append(self.value(item, place))
        for word in call.keywords:
            named = word.arg and Dicts(frozenset({(word.arg,)}))
            parts.append(named or self.value(word.value, place))
        return _merged(parts)

    def _variable(self, name: str, place: int) -> Dicts:
        """Follow a variable from the start of the function to a place."""
        here = self.blocks[self.nodes[place]] if self.nodes else ()
        found = ANY if name in self.arguments else NO_DICT
        is_set, in_loops = name in self.arguments, 0
        for other in self.places[name]:
            change = self.change(self.nodes[other], other)
            if change is None:
                continue
            value, replaces = change
            blocks = self.blocks[self.nodes[other]]
            if other > place:  # it may come before in a loop's next round, or in a `finally`
                around = {block for block, _ in here}
                if any(block in around and (isinstance(block, _LOOPS) or field == "finalbody")
                       for block, field in blocks):  # fmt: skip
                    found = found.opened()
                continue
            now = value if replaces else found.updated(value)
            found = now if blocks == here[: len(blocks)] else found | now
            is_set = is_set or replaces
            in_loops += any(isinstance(block, _LOOPS) for block, _ in blocks)
        # in a loop several changes may come in another order
        return found if is_set and in_loops < 2 and name not in self.shared else found.opened()

    def change(self, node: Any, place: int) -> tuple[Dicts, bool] | None:
        """Return what a node does to the variable that it names; None if it only reads it.

        That is a dict, and whether it takes the place of the old one or is added to it.
        """
        parent = self.parents[node]
        above = self.parents.get(parent)
        match parent:
            case ast.AnnAssign(value=None):
                return None
            case ast.Assign(targets=[target], value=value) if node is target:
                return self.named_again(value, place), True
            case ast.AnnAssign(target=target, value=ast.expr() as value) if node is target:
                return self.named_again(value, place), True
            case ast.NamedExpr(target=target, value=value) if node is target:
                return self.named_again(value, place), True
            case ast.Tuple(elts=names, ctx=ast.Store()) if isinstance(above, ast.Assign):
                values = getattr(above.value, "elts", [])
                if len(names) == len(values) and not any(
                    isinstance(item, ast.Starred) for item in values
                ):
                    return self.named_again(values[names.index(node)], place), True
            case ast.AugAssign(target=target, op=ast.BitOr(), value=value) if node is target:
                return self.value(value, place), False
            case ast.Subscript(value=target, ctx=ast.Store(), slice=key) if node is target:
                # `out[key] += 1` needs a key that is there
                return None if isinstance(above, ast.AugAssign) else (_of(key), False)
            case ast.Attribute(attr="update") if isinstance(above, ast.Call):
                return self.argument(above, place), False
        is_read = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        if is_read and self.only_reads(node, parent):
            return None
        return ANY, not is_read

    def named_again(self, value: ast.expr, place: int) -> Dicts:
        """Return a value that gets a name; under a name that it has it may be changed later."""
        found = self.value(value, place)
        return found.opened() if isinstance(value, ast.Name) else found

    def only_reads(self, node: ast.Name, parent: ast.AST) -> bool:
        """Whether what stands around a variable reads its dict, and hands it on to nobody."""
        match parent:
            case (
                ast.Subscript(ctx=ast.Load()) | ast.Return() | ast.Compare() | ast.FormattedValue()
            ):
                return True
            case ast.BinOp(op=ast.BitOr()) | ast.UnaryOp(op=ast.Not()) | ast.keyword(arg=None):
                return True
            case ast.Attribute(attr=method):
                return method in _READING_METHODS
            case ast.Call(func=ast.Name(id=function)):
                return function in self.reading
            case ast.For(iter=read) | ast.comprehension(iter=read):
                return node is read
            case ast.If(test=read) | ast.IfExp(test=read) | ast.While(test=read):
                return node is read
            case ast.Dict(keys=keys, values=values):  # `**out` copies it
                return any(pair == (None, node) for pair in zip(keys, values, strict=True))
        return False


def _names(node: ast.AST) -> list[str]:
    """The variables that a node reads or sets itself."""
    match node:
        case ast.Name(id=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return [name]
        case ast.ClassDef(name=name) | ast.MatchMapping(rest=str(name)):
            return [name]
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
            return [name]
        case ast.MatchStar(name=str(name)):
            return [name]
        case ast.alias(name=name, asname=other):
            return [other or name.split(".")[0]]
    return []


def _merged(parts: Iterable[Dicts]) -> Dicts:
    made = EMPTY
    for part in parts:
        made = made.updated(part)
    return made


def _of(*keys: ast.expr) -> Dicts:
    """A dict of one key; any dict where that is no literal."""
    try:
        [key] = keys
        return Dicts(frozenset({(ast.literal_eval(key),)}))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return ANY
