"""Prepares the CoGEX dataset: data.json of `mkhalifa/CoGEX` on the Hugging Face hub.

Beside the reasons and flags of `tools.prepare.pipeline` there are:

- rejected: `no call: F` (no line `>>> name(args)`);
- flagged, the output: `output-not-dict` (no Python literal dict), `no-answer` (it has no such key);
- flagged, the program: `program-not-python`, `call-before-program`;
- flagged, the call: `call-not-python`, `no-function-called` (an assignment, a method),
  `calls-another-function` (one that the program does not define).

Programs are counted, too: those that leave helpers undefined, as the paper's do, those that are
complete, and the outputs that hold intermediate values.
"""

import ast
import re
from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any

from prompt_strategies import layout
from prompt_strategies.cogex import CogexStrategy
from tools.prepare.fields import PreparedRow, ReadRow, RejectedError, without_blank_ends
from tools.prepare.pipeline import Format, prepare_rows
from tools.programs import call_of, called_name, examine
from tools.python_text import literal, quietly

_ASSIGNMENT = re.compile(r"\s*output\s*=(?!=)\s*")


def _without_assignment(output: str) -> str:
    match = _ASSIGNMENT.match(output)
    return output[match.end() :] if match else output


@lru_cache(maxsize=1)  # a row's output is asked for three times
def _output_of(text: str) -> Any:
    return literal(text)


def _find_flags(read: ReadRow) -> list[str]:
    """Return what is odd in program, call and output. Raises RejectedError if there is no call."""
    try:
        program, call = layout.split_code(read.texts["code"])
    except ValueError:
        call = ">>>"
    if call == ">>>":
        raise RejectedError(f"no call: {read.names['code']}")
    output, tree = _output_of(read.texts["output"]), quietly(ast.parse, program)
    flags = []
    if not isinstance(output, dict):
        flags.append("output-not-dict")
    elif "answer" not in output:
        flags.append("no-answer")
    if tree is None:
        flags.append("program-not-python")
    if flag := _call_flag(tree, call_of(call)):
        flags.append(flag)
    return flags


def _call_flag(tree: ast.Module | None, call: str) -> str | None:
    if re.search(r"^(?:def|class) ", call, re.MULTILINE):
        return "call-before-program"
    if quietly(ast.parse, call) is None:
        return "call-not-python"
    if not (name := called_name(call)):
        return "no-function-called"
    if tree is None:
        return None
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    return None if name in functions else "calls-another-function"


def _traits(row: PreparedRow) -> Iterator[str]:
    """Yield what is counted of a program and its output, for the person who reads the summary."""
    program, call = layout.split_code(row["code"])
    status, _ = examine(program, call)
    yield {
        "undefined": "leave helpers undefined",
        "complete": "are complete",
        "not_allowed": "import or call what is not allowed in the sandbox",
        "unreadable": "are not Python, or their call is not",
    }[status]
    output = _output_of(row["output"])
    if isinstance(output, dict) and set(output) > {"answer"}:
        yield "have intermediate values in their output"


def _answer(row: PreparedRow) -> str:
    """Return what two rows of one task should agree about."""
    output = _output_of(row["output"])
    if not isinstance(output, dict) or "answer" not in output:
        return row["output"]
    return quietly(repr, output["answer"]) or row["output"]  # no repr: an integer of 5,000 digits


FORMAT = Format(
    strategy=CogexStrategy,
    tidying=(
        ("code", "blank lines dropped", without_blank_ends),
        ("output", "blank lines dropped", without_blank_ends),
        ("output", "`output =` dropped", _without_assignment),
    ),
    find_flags=_find_flags,
    unfenced=("code", "output"),
    traits=_traits,
    answer=_answer,
)

prepare_cogex = partial(prepare_rows, FORMAT)  # (source, out, *, val_size=2000, …) -> Summary
