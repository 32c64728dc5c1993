"""Tells simple programs from others by their syntax tree, and counts their lines.

A program is *simple* if, without its docstrings,

- it has at most `MOST_DECISIONS` decisions: each `if`, `elif`, conditional expression, loop,
  `for` and `if` of a comprehension, and further operand of `and` or `or` is one (McCabe's
  cyclomatic complexity without the 1 of each function);
- its blocks (`if`, `for`, `while`) are nested at most `DEEPEST` deep; an `elif` is no deeper than
  its `if`;
- it defines one function and no class;
- it has no `try`, `raise`, `with`, `match`, `global`, `nonlocal`, `yield`, `del`, `async` or
  `await`, no decorator, and no star in its parameters.

Lines are counted as `ast.unparse` writes them, without blank ones.

Its *level* is 1, 2 or 3, for a curriculum: see `level_of`.
"""

import ast

MOST_DECISIONS = 8
DEEPEST = 3

_DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)
_BLOCKS = (ast.If, ast.For, ast.While)
_DECISIONS = (*_BLOCKS, ast.IfExp, ast.comprehension)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_LOOPS = (ast.For, ast.While, *_COMPREHENSIONS)
LEVELS = (1, 2, 3)
_NEVER = (
    ast.ClassDef, ast.Try, ast.TryStar, ast.Raise, ast.With, ast.Match, ast.Global, ast.Nonlocal,
    ast.Yield, ast.YieldFrom, ast.Delete, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith,
    ast.Await,
)  # fmt: skip


def count_lines(source: str) -> int:
    """Return the lines of a program without docstrings, comments and blank lines."""
    text = ast.unparse(without_docstrings(ast.parse(source)))
    return sum(bool(line.strip()) for line in text.splitlines())


def not_simple(source: str) -> str | None:
    """Say why a program is not simple; None if it is."""
    tree = without_docstrings(ast.parse(source))
    nodes = list(ast.walk(tree))
    if found := [node for node in nodes if isinstance(node, _NEVER)]:
        return f"has {type(found[0]).__name__}"
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    if len(functions) > 1:
        return "has several functions"
    if any(item.decorator_list or item.args.vararg or item.args.kwarg for item in functions):
        return "has decorators or star parameters"
    if sum(map(_decisions, nodes)) > MOST_DECISIONS:
        return f"has over {MOST_DECISIONS} decisions"
    if _depth(tree.body) > DEEPEST:
        return f"has blocks over {DEEPEST} deep"
    return None


def level_of(source: str) -> int:
    """Return the level of a program in Python, 1 to 3.

    3 has recursion, a `while`, a loop within a loop, a class or several functions; 1 is one
    statement without a loop or a comprehension; 2 is the rest.
    """
    tree = without_docstrings(ast.parse(source))
    nodes = list(ast.walk(tree))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    loops = [node for node in nodes if isinstance(node, _LOOPS)]
    names = {function.name for function in functions}
    calls = {node.func.id for node in nodes
             if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}  # fmt: skip
    if (
        len(functions) > 1
        or names & calls
        or any(isinstance(node, ast.While | ast.ClassDef) for node in nodes)
        or any(_holds_a_loop(loop) for loop in loops)
    ):
        return 3
    one = all(len(function.body) == 1 for function in functions)
    return 1 if one and not loops and not any(isinstance(node, ast.If) for node in nodes) else 2


def _holds_a_loop(loop: ast.AST) -> bool:
    if isinstance(loop, _COMPREHENSIONS) and len(loop.generators) > 1:
        return True
    return any(isinstance(node, _LOOPS) for node in ast.walk(loop) if node is not loop)


def _decisions(node: ast.AST) -> int:
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    return int(isinstance(node, _DECISIONS))


def _depth(body: list[ast.stmt]) -> int:
    return max(map(_depth_of, body), default=0)


def _depth_of(statement: ast.stmt) -> int:
    if isinstance(statement, ast.FunctionDef):
        return _depth(statement.body)
    if not isinstance(statement, _BLOCKS):
        return 0
    others = statement.orelse
    is_elif = isinstance(statement, ast.If) and len(others) == 1 and isinstance(others[0], ast.If)
    return max(1 + _depth(statement.body), _depth(others) + (not is_elif))


def without_docstrings(tree: ast.Module) -> ast.Module:
    """Take the docstrings out of a tree, and return it."""
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree
