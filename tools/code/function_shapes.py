"""Recognises a benchmark's function in other code, even under other names and comments.

The shape of a function is its syntax tree as text. Its own names are numbered in the order of their
first use; docstring, decorators, annotations and the function's name are left out. Two functions
with one shape do the same. A solution with other statements is not recognised.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

Function = ast.FunctionDef | ast.AsyncFunctionDef

# Anyone may write `return a + b`: with fewer nodes than this, the name must agree too.
# The median of HumanEval and MBPP is 24; `return sorted(x)` has 4, a loop that sums up a list 12.
LEAST_NODES = 12

_LEFT_OUT = {"annotation", "returns", "type_comment", "decorator_list", "ctx", "kind"}


@dataclass
class Problems:
    """The functions of benchmarks by shape."""

    names: dict[str, set[str]] = field(default_factory=dict)  # of the functions with that shape
    outlines: set[tuple[str, ...]] = field(default_factory=set)

    def add(self, source: str) -> int:
        """Add every function of a source text; return how many. Raises SyntaxError."""
        found = list(functions(ast.parse(source)))
        for function in found:
            self.names.setdefault(shape(function), set()).add(function.name)
            self.outlines.add(_outline(function))
        return len(found)

    def holds(self, function: Function) -> bool:
        """Whether a function is one of a benchmark; if it is short, the name must agree too."""
        if _outline(function) not in self.outlines:
            return False  # as for nearly all; a shape takes a hundred times longer
        text = shape(function)
        if text not in self.names:
            return False
        return function.name in self.names[text] or _size(function) >= LEAST_NODES


def functions(tree: ast.AST) -> Iterator[Function]:
    """Yield every function of a syntax tree, also methods and inner functions."""
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def shape(function: Function, *, constants: bool = True) -> str:
    """Return the shape of a function; without `constants`, only None, True and False keep a value.

    Raises RecursionError where it is nested too deep.
    """
    own = {
        node.arg if isinstance(node, ast.arg) else node.id
        for node in ast.walk(function)
        if isinstance(node, ast.arg) or (isinstance(node, ast.Name) and _is_bound(node))
    }
    own |= {inner.name for inner in functions(function)}  # its own name too: it may call itself
    numbers: dict[str, int] = {}

    def number(name: str) -> str:
        return f"_{numbers.setdefault(name, len(numbers))}" if name in own else name

    def write(value: object) -> str:
        match value:
            case ast.Name(id=name) | ast.arg(arg=name):
                return f"({number(name)})"
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                return f"(def{number(value.name)}{write(value.args)}{write(body(value))})"
            case ast.Constant(value=constant) if not constants and not (
                constant is None or isinstance(constant, bool)
            ):
                return f"({type(constant).__name__})"
            case ast.AST():
                parts = (write(v) for k, v in ast.iter_fields(value) if k not in _LEFT_OUT)
                return f"({type(value).__name__} {' '.join(parts)})"
            case list():
                return f"[{','.join(write(item) for item in value)}]"
        return repr(value)

    return f"{write(function.args)}{write(body(function))}"


def body(function: Function) -> list[ast.stmt]:
    """Return the statements of a function after its docstring."""
    return function.body[1:] if ast.get_docstring(function, clean=False) else function.body


def _is_bound(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)


def _outline(function: Function) -> tuple[str, ...]:
    return tuple(type(statement).__name__ for statement in body(function))


def _size(function: Function) -> int:
    nodes = (node for statement in body(function) for node in ast.walk(statement))
    return sum(not isinstance(node, ast.expr_context) for node in nodes)
