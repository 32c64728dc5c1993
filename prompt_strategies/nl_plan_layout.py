"""How a CoGEX row becomes the text of the paper's NL plan: steps in place of the program.

    ### Instruction
    {instruction}
    ### Input
    {input}
    ### Plan
    # Step 1: {step}
    # Step 2: {step}
    ### Output
    {output}<EOS>

The paper (arXiv 2405.16337) keeps the numbered step descriptions and the output dict. Steps
are numbered from 1 in their order, whatever the program called them: a plan has no functions
in which a count could restart.
EOS is not part of the text: `tokenise` appends it by id. Nothing here imports a tokenizer.
"""

import re
from dataclasses import dataclass
from typing import Literal

from prompt_strategies import layout

LAYOUT_VERSION = 1  # raise it when a rendered text changes: the run record names it

PLAN_HEADER = "### Plan\n"
STEP_LINE = re.compile(r"^# Step (\d+): ", re.MULTILINE)

PlanSource = Literal["steps", "comments", "docstring", "name"]

# Not a parser, because programs need not be Python. Strings are matched so that a `#` inside one is
# skipped; a quote that is never closed does not start a string.
_TOKEN = re.compile(
    r"""
      \"{3}(?P<double> (?: \\. | [^\\] )*? )\"{3}
    | '{3}(?P<single> (?: \\. | [^\\] )*? )'{3}
    | \" (?: \\. | [^\"\\\n] )* \"
    | ' (?: \\. | [^'\\\n] )* '
    | \\.
    | \#(?P<comment> [^\n]* )
    """,
    re.VERBOSE | re.DOTALL,
)
_STEP = re.compile(r"\W*step\s*\d+(?:\.\d+)*\s*[:.)-]\s*(\S.*)", re.IGNORECASE)
_CALLED = re.compile(r"^>>> .*?\b(\w+)\(", re.MULTILINE)


@dataclass(frozen=True)
class Plan:
    """The steps of a program, each one line without its number, and where they were found."""

    steps: tuple[str, ...]
    source: PlanSource


@dataclass(frozen=True)
class PlanCompletion:
    """The parts of a generated completion; a part that is absent is the empty string."""

    plan: str
    output: str


def find_plan(code: str) -> Plan:
    """Return the plan of any code; it has at least one step.

    Its steps are the comments `# Step N: …`, else all other comments, else the first line of
    the docstring, else the name of the called function in words.
    """
    tokens = list(_TOKEN.finditer(code))
    comments = [match["comment"].lstrip("#").strip() for match in tokens if match["comment"]]
    if steps := [match[1] for match in map(_STEP.match, comments) if match]:
        return Plan(tuple(steps), "steps")
    if remarks := [comment for comment in comments if re.search(r"\w", comment)]:
        return Plan(tuple(remarks), "comments")
    for match in tokens:
        if docstring := (match["double"] or match["single"] or "").strip():
            return Plan((docstring.split("\n")[0].rstrip(),), "docstring")
    names = _CALLED.findall(code)
    words = names[-1].replace("_", " ").strip() if names else ""
    return Plan((words or "solve the task",), "name")


def render_prompt(instruction: str, input: str = "") -> str:
    """Return the text before the plan; there is an Input section even if the input is empty."""
    return layout.render_task(instruction, input) + PLAN_HEADER


def render_plan_section(code: str) -> str:
    """Return `# Step 1: …\\n### Output\\n`: what the model writes before the output."""
    steps = [f"# Step {number}: {step}\n" for number, step in enumerate(find_plan(code).steps, 1)]
    return "".join(steps) + layout.OUTPUT_HEADER


def render_completion(code: str, output: str) -> str:
    """Return what follows the prompt: the code's plan and the output, without EOS.

    White space before the output is removed.
    """
    return render_plan_section(code) + output.lstrip()


def parse_completion(text: str) -> PlanCompletion:
    """Return the parts of a generated completion, whole or cut short; never raises.

    The output begins at the first line `### Output`, which no step can hold.
    """
    plan, _, output = f"\n{text}\n".partition(f"\n{layout.OUTPUT_HEADER}")
    return PlanCompletion(plan.strip(), output.strip())
