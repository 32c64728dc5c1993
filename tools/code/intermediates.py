"""Rewrites a function so that it returns its intermediate values beside its answer.

    def f(x):            def f(x):
        y = x + 1            y = x + 1
        return y * 2         return {'y': y, 'answer': y * 2}

The intermediate values are those of the names that the body always assigns. A function that
recurses, or returns from another place than its end, becomes a helper: a new last function calls it
and returns its answer alone.
"""

import ast
from collections.abc import Iterator

ANSWER = "answer"
Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef


class NotRewritableError(Exception):
    """Why a function cannot be rewritten."""


def with_intermediates(
    program: str, name: str, docstring: str, kept: frozenset[str] | None = None
) -> tuple[str, str]:
    """Return the program with `docstring` in its rewritten function, and that function's name.

    `name` is the last top-level function of that name. With `kept`, other names than these are no
    intermediate values. Raises NotRewritableError, or SyntaxError if the program is no Python.
    """
    tree = ast.parse(program)
    defined = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    named = [node for node in defined if node.name == name]
    if not named:
        raise NotRewritableError("it defines no such function")
    function = named[-1]
    _refuse_signature(function)
    if ast.get_docstring(function) is not None:
        function.body = function.body[1:]
    if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in _own_nodes(function)):
        raise NotRewritableError("a generator")
    returns = [node for node in _own_nodes(function) if isinstance(node, ast.Return)]
    if not any(node.value for node in returns):
        raise NotRewritableError("it returns nothing")
    recursive = any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(tree))
    main = function
    if recursive or returns != [function.body[-1]]:
        main = _caller(function)
        tree.body.append(main)
    else:
        function.body[-1] = _return(function, kept)
    main.body.insert(0, ast.Expr(ast.Constant(f"\n    {docstring}\n    ")))
    return ast.unparse(ast.fix_missing_locations(tree)), main.name


def _refuse_signature(function: ast.FunctionDef) -> None:
    arguments = function.args
    if arguments.vararg or arguments.kwarg or arguments.kwonlyargs or function.decorator_list:
        raise NotRewritableError("an unusual signature")


def _own_nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """Yield the nodes of a function's body, without those of scopes inside it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, Scope):
            waiting += ast.iter_child_nodes(node)


def _caller(function: ast.FunctionDef) -> ast.FunctionDef:
    """Return a function `solve_NAME` that calls the given one."""
    names = [each.arg for each in (*function.args.posonlyargs, *function.args.args)]
    call = ast.Call(ast.Name(function.name), [ast.Name(each) for each in names], [])
    answer = ast.Assign([ast.Name(ANSWER)], call)
    result = ast.Return(ast.Dict([ast.Constant(ANSWER)], [ast.Name(ANSWER)]))
    return ast.FunctionDef(
        name=f"solve_{function.name}",
        args=function.args,
        body=[answer, result],
        decorator_list=[],
        type_params=[],
    )


def _return(function: ast.FunctionDef, kept: frozenset[str] | None) -> ast.Return:
    """Return the last statement's successor: all intermediate values, then the answer."""
    last = function.body[-1]
    assert isinstance(last, ast.Return) and last.value
    hidden = {ANSWER} | ({last.value.id} if isinstance(last.value, ast.Name) else set())
    names = [
        name
        for name in _always_assigned(function)
        if name not in hidden and (kept is None or name in kept)
    ]
    keys: list[ast.expr | None] = [ast.Constant(name) for name in (*names, ANSWER)]
    return ast.Return(ast.Dict(keys, [*map(ast.Name, names), last.value]))


def _always_assigned(function: ast.FunctionDef) -> list[str]:
    """Return the names that statements of the body itself assign, in their order."""
    targets: list[ast.expr] = []
    for statement in function.body:
        if isinstance(statement, ast.Assign):
            targets += statement.targets
        elif isinstance(statement, ast.AugAssign | ast.AnnAssign) and statement.value:
            targets.append(statement.target)
    names = (
        node.id
        for target in targets
        for node in ([target] if isinstance(target, ast.Name) else getattr(target, "elts", []))
        if isinstance(node, ast.Name) and not node.id.startswith("_")
    )
    return list(dict.fromkeys(names))
