"""Finds the keys of the dicts that a function returns, by reading it: nothing is run.

A name is followed through `out = {...}` and `out["key"] = value` in the function's own block. One
that is used otherwise than to read a key or to be returned may hold any dict, and so may whatever
else is no literal.
"""

import ast
from collections.abc import Iterator

Function = ast.FunctionDef | ast.Lambda
Dicts = list[tuple[object, ...] | None]  # what a value may be: a dict of these keys; None: any

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_NO_DICT = (
    *(ast.Constant, ast.JoinedStr, ast.Compare, ast.List, ast.Tuple, ast.Set),
    *(ast.ListComp, ast.SetComp),
)


def returns_keys(function: Function, keys: tuple[object, ...]) -> bool | None:
    """Whether a `return` gives a dict of these keys, in their order; None: one may."""
    if isinstance(function, ast.Lambda):
        found = _dicts(function.body, {})
    elif function.decorator_list or any(map(_yields, _own(function.body))):
        return None
    else:
        found = list(_returned(function))
    return keys in found or (None if None in found else False)


def _returned(function: ast.FunctionDef) -> Iterator[tuple[object, ...] | None]:
    """Follow the names of a function from statement to statement."""
    known: dict[str, Dicts] = {}
    unknown = {*_used_otherwise(function)}
    for statement in function.body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                known[name] = [None] if name in unknown else _dicts(value, known)
            case ast.Assign(
                targets=[ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=key))]
            ):
                known[name] = [
                    None if keys is None else tuple(dict.fromkeys((*keys, key)))
                    for keys in known.get(name, [None])
                ]
            case _:
                for node in _own([statement]):
                    if isinstance(node, ast.Return) and node.value:
                        yield from _dicts(node.value, known)


def _dicts(value: ast.expr, known: dict[str, Dicts]) -> Dicts:
    match value:
        case ast.Dict(keys=keys) if all(isinstance(key, ast.Constant) for key in keys):
            return [tuple(dict.fromkeys(key.value for key in keys))]  # type: ignore[union-attr]
        case ast.Name(id=name):
            return known.get(name, [None])
    return [] if isinstance(value, _NO_DICT) else [None]


def _used_otherwise(function: ast.FunctionDef) -> Iterator[str]:
    """The names that something may change unseen, or that are not set in the function's block."""
    plain: set[ast.AST | None] = {
        node.value for node in _own(function.body) if isinstance(node, ast.Return)
    }
    for statement in function.body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name() as target])
                | ast.Assign(
                    targets=[ast.Subscript(value=ast.Name() as target, slice=ast.Constant())]
                )
                | ast.AnnAssign(target=ast.Name() as target, value=ast.expr())
            ):
                plain.add(target)
    for node in ast.walk(function):
        match node:
            case ast.Subscript(value=ast.Name() as name, ctx=ast.Load()):
                plain.add(name)
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                yield from names
        # of an inner function, an exception, an import, a pattern, …
        others = (getattr(node, field, None) for field in ("name", "asname", "rest"))
        yield from (name for name in others if isinstance(name, str))
    yield from (
        node.id for node in ast.walk(function) if isinstance(node, ast.Name) and node not in plain
    )


def _own(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """The nodes of a function without those of inner functions."""
    waiting: list[ast.AST] = [*body]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, _SCOPES):
            waiting += ast.iter_child_nodes(node)


def _yields(node: ast.AST) -> bool:
    return isinstance(node, ast.Yield | ast.YieldFrom)
