"""The candidates of a search: programs, or NL plans, cut out of a model's generations."""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prompt_strategies import layout, nl_plan_layout
from tools.python_text import compiles, parse, take_literal, take_program


@dataclass(frozen=True)
class Form:
    """How to ask for candidates of one kind, cut them out, have them emulated, and read answers.

    `cut` returns None for a text without a usable candidate. `read` returns the text of the output
    section of a generation of either mode.
    """

    name: str
    reasoner_prompt: Callable[[str, str], str]
    emulator_prompt: Callable[[str, str, str], str]
    cut: Callable[[str], str | None]
    read: Callable[[str], str]

    def answer(self, generated: str) -> Any:
        """Return the value under `answer` in the output dict; None if there is none.

        The dict may stand in a code fence, or before prose.
        """
        output = take_literal(self.read(generated))
        return output.get("answer") if isinstance(output, dict) else None


def cut_program(generated: str) -> str | None:
    """Return the definitions of a generated program, normalised.

    The program may stand in a code fence or among prose. Top-level calls are left out; imports,
    constants and comments stay. Returns None if there is no function, or if Python cannot compile
    the program.
    """
    source = take_program(layout.parse_completion(generated).program.replace("\r\n", "\n"))
    tree = parse(source)
    if not any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in tree.body):
        return None
    lines = source.split("\n")
    for node in tree.body:
        if isinstance(node, ast.Expr):
            lines[node.lineno - 1 : node.end_lineno] = [""] * (
                (node.end_lineno or node.lineno) - node.lineno + 1
            )
    program = _normalised(lines)
    return program if compiles(program) else None


def _normalised(lines: list[str]) -> str:
    """Remove white space at line ends, and all but one of several blank lines."""
    kept: list[str] = []
    for line in map(str.rstrip, lines):
        if line or (kept and kept[-1]):
            kept.append(line)
    return "\n".join(kept).strip("\n")


def cut_plan(generated: str) -> str | None:
    """Return the steps of a generated plan, numbered from 1; None if there are none."""
    plan = nl_plan_layout.find_plan(nl_plan_layout.parse_completion(generated).plan)
    if plan.source != "steps":
        return None
    return "\n".join(f"# Step {number}: {step}" for number, step in enumerate(plan.steps, 1))


def _plan_emulator_prompt(instruction: str, input: str, plan: str) -> str:
    return f"{nl_plan_layout.render_prompt(instruction, input)}{plan}\n{layout.OUTPUT_HEADER}"


def _plan_output(generated: str) -> str:
    """The output section; the whole text if the prompt ended with that section's header."""
    return nl_plan_layout.parse_completion(generated).output or generated.strip()


PROGRAM = Form(
    "program",
    layout.render_prompt,
    layout.render_emulator_prompt,
    cut_program,
    lambda generated: layout.parse_completion(generated).output,
)
PLAN = Form("plan", nl_plan_layout.render_prompt, _plan_emulator_prompt, cut_plan, _plan_output)
