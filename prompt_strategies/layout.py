"""How a CoGEX row becomes text, and how generated text becomes its parts again.

    ### Instruction
    {instruction}
    ### Input
    {input}
    ### Code
    {program}

    >>> {call}
    ### Output
    {output}<EOS>

The sections are those of the CoGEX paper (arXiv 2405.16337) and of the card of its
dataset, `mkhalifa/CoGEX`: `code` is the pseudo-program with its call, `output` a Python
dict literal. EOS is not part of the text: `tokenise` appends it by id. Nothing here imports
a tokenizer.
"""

import re
from dataclasses import dataclass

LAYOUT_VERSION = 1  # raise it when a rendered text changes: prepared data names it

CODE_HEADER = "### Code\n"
OUTPUT_HEADER = "### Output\n"

_CALL_LINE = re.compile(r"^>>> ", re.MULTILINE)
_OUTPUT_LINE = re.compile(r"^### Output[ \t\r]*(?:\n|\Z)", re.MULTILINE)


@dataclass(frozen=True)
class Completion:
    """The parts of a generated completion; a part that is absent is the empty string."""

    program: str
    call: str
    output: str


def render_task(instruction: str, input: str = "") -> str:
    """Return the two given sections; there is an Input section even if the input is empty."""
    return f"### Instruction\n{instruction}\n### Input\n{input}\n"


def render_prompt(instruction: str, input: str = "") -> str:
    """Return the text before the code."""
    return render_task(instruction, input) + CODE_HEADER


def render_code_section(code: str) -> str:
    """Return `{code}\\n### Output\\n`: what the model writes before the output."""
    return f"{_at_boundary(code)}\n{OUTPUT_HEADER}"


def render_completion(code: str, output: str) -> str:
    """Return what follows the prompt: `{code}\\n### Output\\n{output}`, without EOS.

    White space before the code and before the output is removed: see `_at_boundary`.
    """
    return render_code_section(code) + _at_boundary(output)


def render_emulator_prompt(instruction: str, input: str, program: str) -> str:
    """Return the prompt that holds a given program; the model continues with `>>> name(args)`.

    It ends in the blank line between program and call, which `tokenise` leaves to the model. It
    is a prefix of the training text of a row whose code is
    `program + "\\n\\n" + ">>> call"`, for a program as `split_code` returns it.
    """
    return render_prompt(instruction, input) + _at_boundary(program).rstrip() + "\n\n"


def split_code(code: str) -> tuple[str, str]:
    """Return (program, call), split at the last line that starts with `>>> `.

    The call keeps its `>>> ` and all lines below it, so a call over several lines stays
    whole. White space around both parts is removed. Raises ValueError if there is no call.
    """
    starts = [match.start() for match in _CALL_LINE.finditer(code)]
    if not starts:
        raise ValueError("the code has no call: no line starts with '>>> '")
    return code[: starts[-1]].strip(), code[starts[-1] :].strip()


def parse_completion(text: str) -> Completion:
    """Return the parts of a generated completion, whole or cut short; never raises.

    The Output section begins at the first `### Output` line below a call, or at the first
    one if there is no call. Text generated from an emulator prompt has an empty program.
    """
    first_call = _CALL_LINE.search(text)
    header = _OUTPUT_LINE.search(text, first_call.start() if first_call else 0)
    code = text[: header.start()] if header else text
    output = text[header.end() :].strip() if header else ""
    if first_call is None:
        return Completion(code.strip(), "", output)
    program, call = split_code(code)
    return Completion(program, call, output)


def _at_boundary(text: str) -> str:
    """Strip leading white space: only the header's own line end stands above a section."""
    return text.lstrip()
