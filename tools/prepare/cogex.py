"""Prepares the CoGEX dataset: data.json of `mkhalifa/CoGEX` on the Hugging Face hub.

Beside the reasons and flags of `tools.prepare.pipeline` there are:

- rejected: `no call: code` (no line `>>> name(args)`);
- flagged: `output-not-dict` (no Python literal dict), `no-answer` (the dict has no such
  key), `program-not-python`.
"""

import ast
import re
from functools import partial
from typing import Any

from prompt_strategies import layout
from prompt_strategies.cogex import CogexStrategy
from tools.prepare.fields import PreparedRow, RejectedError, as_text, required, without_blank_ends
from tools.prepare.pipeline import Format, prepare_rows

# the dataset card and its replications spell the fields differently; the first one wins
_CODE = ("code_prompt", "code")
_OUTPUT = ("code_output", "code output", "output")

_ASSIGNMENT = re.compile(r"\s*output\s*=(?!=)\s*")
# what Python's parser and literal_eval raise on hostile text
_PARSE_ERRORS = (SyntaxError, ValueError, TypeError, RecursionError, MemoryError)


def _read(row: dict[str, Any]) -> PreparedRow:
    return {
        "instruction": required(row, "instruction", ("instruction",), str),
        "input": as_text("input", row.get("input")),
        "code": required(row, "code", _CODE, str),
        "output": as_text("output", required(row, "output", _OUTPUT, str | dict)),
    }


def _normalise(row: PreparedRow) -> PreparedRow:
    """Drop the blank lines around code and output, and a leading `output =`."""
    return row | {
        "code": without_blank_ends(row["code"]),
        "output": _without_assignment(without_blank_ends(row["output"])),
    }


def _without_assignment(output: str) -> str:
    match = _ASSIGNMENT.match(output)
    return output[match.end() :] if match else output


def _find_flags(row: PreparedRow) -> list[str]:
    """Return what is odd in program and output. Raises RejectedError if there is no call."""
    try:
        program, call = layout.split_code(row["code"])
    except ValueError:
        raise RejectedError("no call: code") from None
    if call == ">>>":
        raise RejectedError("no call: code")
    flags = []
    try:
        output = ast.literal_eval(row["output"])
    except _PARSE_ERRORS:
        output = None
    if not isinstance(output, dict):
        flags.append("output-not-dict")
    elif "answer" not in output:
        flags.append("no-answer")
    try:
        ast.parse(program)
    except _PARSE_ERRORS:
        flags.append("program-not-python")
    return flags


FORMAT = Format(
    strategy=CogexStrategy,
    published_fields="instruction, input, code_prompt and code_output",
    read=_read,
    normalise=_normalise,
    find_flags=_find_flags,
)

prepare_cogex = partial(prepare_rows, FORMAT)  # (source, out, *, val_size=2000, …) -> Summary
