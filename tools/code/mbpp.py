r"""Splits a program of MBPP (Austin et al. 2021, arXiv 2108.07732) into prompt and solution.

A published row has a sentence, a whole program and assertions. The prompt gets the form of
HumanEval's: imports, then helpers, classes and globals, then the signature of the function that
every assertion calls, with the sentence and the first assertion as its docstring. The solution is
that function's body. Both are written from the syntax tree (`ast.unparse`), which removes tabs,
CRLF, semicolons, odd spacing and comments.
"""

import ast
import textwrap
from typing import Any

from tools.code.tasks import Task, strings
from tools.prepare.fields import RejectedError
from tools.python_text import quietly

Function = ast.FunctionDef | ast.AsyncFunctionDef
_MARK = "@docstring@"
_WIDTH = 88  # of the docstring's sentence; published ones have up to 300 characters


def mbpp_task(row: Any) -> Task:
    """Make a task of a published row. Raises RejectedError."""
    try:
        return _task(row)
    except (RecursionError, MemoryError):  # from ast, on a thousand nested brackets
        raise RejectedError("nested too deep") from None


def _task(row: Any) -> Task:
    text, code = strings(row, "text", "code")
    number, setup = row.get("task_id"), row.get("test_setup_code", "")
    if not isinstance(number, int) or isinstance(number, bool):
        raise RejectedError("missing: task_id" if number is None else "wrong type: task_id")
    checks = row.get("test_list", [])
    if not isinstance(checks, list) or not all(isinstance(check, str) for check in checks):
        raise RejectedError("wrong type: test_list")
    if not checks or not isinstance(setup, str):
        raise RejectedError("has no tests")
    program = _parse("code", code)
    tests = _parse("tests", "\n".join([setup, *checks]))
    function = _function_asked_for(program, [_parse("tests", check) for check in checks])
    prompt, solution = split_program(program, function, _docstring(text, checks[0]))
    return Task(
        id=f"mbpp_{number}",
        task_id=number,
        entry_point=function.name,
        prompt=prompt,
        solution=solution,
        tests=f"{ast.unparse(tests)}\n",
        names=tuple(sorted(_defined(program) & _names(tests))),
        setup="".join(f"{ast.unparse(node)}\n" for node in program.body if _is_import(node)),
    )


def _parse(what: str, source: str) -> ast.Module:
    tree = quietly(ast.parse, source.replace("\r\n", "\n"))
    if tree is None:
        raise RejectedError(f"{what}: no Python")
    return tree


def _function_asked_for(program: ast.Module, checks: list[ast.Module]) -> Function:
    """Return the last top-level function of the program that every assertion calls."""
    for node in reversed(program.body):
        if isinstance(node, Function) and all(_calls(check, node.name) for check in checks):
            return node
    raise RejectedError("no function that every test calls")


def _calls(tree: ast.AST, name: str) -> bool:
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return any(isinstance(called, ast.Name) and called.id == name for called in calls)


def split_program(program: ast.Module, function: Function, docstring: str) -> tuple[str, str]:
    """Return prompt and solution: together a program that defines `function` last.

    The program's other top-level statements come before it, in their order. Raises RejectedError
    if the function has no body.
    """
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if not body:
        raise RejectedError("the function has no body")
    marked = type(function)(**{**vars(function), "body": [ast.Expr(ast.Constant(_MARK)), *body]})
    header, _, solution = ast.unparse(marked).partition(f'    """{_MARK}"""\n')
    others = [node for node in program.body if node is not function]
    parts = [[node for node in others if _is_import(node)], []]
    for node in others:
        if isinstance(node, Function | ast.ClassDef):
            parts += [[node], []]
        elif not _is_import(node):
            parts[-1].append(node)
    texts = ["\n".join(map(ast.unparse, nodes)) for nodes in parts if nodes]
    # unparse puts a line break before decorators
    prompt = "\n\n\n".join(text.strip("\n") for text in (*texts, header))
    return f"{prompt}\n{docstring}", f"{solution}\n"


def _docstring(text: str, check: str) -> str:
    """Return a sentence and an example as an indented docstring with its quotes.

    The example is a call and its value, as in a session; an assertion of another form stays one.
    """
    match ast.parse(check.strip()).body:
        case [ast.Assert(test=ast.Compare(ast.Call() as call, [ast.Eq()], [value]))]:
            example = f">>> {ast.unparse(call)}\n{ast.unparse(value)}"
        case nodes:
            example = "\n".join(ast.unparse(node) for node in nodes)
    sentence = textwrap.fill(" ".join(text.split()), _WIDTH, break_long_words=False)
    content = f"{sentence}\n{example}\n".replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return textwrap.indent(f'"""{content}"""\n', "    ")


def _is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def _defined(program: ast.Module) -> set[str]:
    """Return the top-level names that a program defines, without imports."""
    found: set[str] = set()
    for node in program.body:
        if isinstance(node, Function | ast.ClassDef):
            found.add(node.name)
        elif not _is_import(node):
            found |= {
                name.id
                for name in ast.walk(node)
                if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
            }
    return found


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
