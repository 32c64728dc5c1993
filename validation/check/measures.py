"""Judges one generation: which parts of a completion are there, and is its answer right?

Perplexity alone does not show that: a model that misspells one heading has a fine perplexity and no
usable answer. What is measured here is the form of each part and the answer, against the reference;
whether the output is what the program really returns is `validation.check.emulation`.
"""

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass

from prompt_strategies.base import Rendered, Task
from prompt_strategies.layout import Completion, parse_completion
from prompt_strategies.nl_plan_layout import STEP_LINE
from prompt_strategies.nl_plan_layout import parse_completion as parse_plan
from tools.backend import Generation
from tools.programs import BUILTINS, call_of, called_name, same, undefined_names
from tools.python_text import literal, parse, quietly
from tools.search.metrics import normalise
from validation.check.return_keys import Function, returns_keys

Holds = dict[str, bool | None]  # by measure; None: it cannot be judged here

_OF_A_DICT = {
    "output_dict": "output is a dict",
    "has_answer": "output has the key `answer`",
    "keys_agree": "output keys are the program's return keys",
    "intermediates": "intermediate values are there",
}
_EOS = {"ends_by_eos": "ends by EOS"}
_EXACT = {"answer_exact": "answer equals the reference"}
_LENGTH = {"length": "is half to twice as long as the reference"}
MEASURES = {
    "program_parses": "program is valid Python",
    "function_and_call": "defines a function and calls it",
    "undefined_helpers": "leaves helpers undefined",
    **_OF_A_DICT,
    **_EOS,
    **_EXACT,
}
# with a given program: what is left for the model to write
EMULATOR_MEASURES = {
    "function_and_call": "calls the given program",
    **{
        name: MEASURES[name]
        for name in ("output_dict", "has_answer", "keys_agree", "ends_by_eos", "answer_exact")
    },
}
# what applies to what a strategy trains the model to write
TASK_MEASURES: dict[str, dict[str, str]] = {
    "program": MEASURES,
    "plan": {
        "numbered_steps": "plan is steps numbered from 1",
        **{name: text for name, text in _OF_A_DICT.items() if name != "keys_agree"},
        **_EOS,
        **_EXACT,
    },
    "answer": {
        **_EOS,
        **_LENGTH,
        **_EXACT,
        "answer_normalised": "equals it but for case, punctuation and white space",
    },
    "code": {
        "program_parses": "prompt and solution are valid Python",
        **_EOS,
        **_LENGTH,
        "answer_exact": "solution equals the reference",
        "answer_normalised": "equals it but for layout and comments",
    },
}
# the least share of the references' own share for exit 0; other measures are reported only
THRESHOLDS = {
    "program_parses": 0.98,
    "numbered_steps": 0.98,
    "output_dict": 0.98,
    "has_answer": 0.98,
    "keys_agree": 0.98,
    "ends_by_eos": 0.99,
}
_FAMILY_ID = re.compile(r"([^\W\d]+(?:[ -][^\W\d]+)*)-[0-9]+")
# what ids are called that only count
_NO_FAMILY = frozenset(
    "row id index idx item example sample instance data dataset record line entry question task "
    "train training val valid validation dev test alpaca cogex seed_task seed-task".split()
)


_NO_PROGRAM = Completion("", "", "")


@dataclass(frozen=True)
class Judged:
    """One row: its prepared fields, what was generated, and which measures hold."""

    row: dict[str, str]
    generation: Generation
    holds: Holds
    completion: Completion = _NO_PROGRAM


def labels(task: str, mode: str = "reasoner") -> dict[str, str]:
    """Return the measures that apply to a task, in words."""
    return EMULATOR_MEASURES if mode == "emulator" else TASK_MEASURES.get(task, {})


def judge_as(
    task: Task,
    row: dict[str, str],
    text: Rendered,
    generation: Generation,
    given: str | None = None,
) -> Judged:
    """Judge what was generated below a row's prompt, by the measures of its task.

    `text` is the row as the model sees it, `given` the program of the prompt in emulator mode.
    Never raises on what a model wrote.
    """
    if task == "program":
        return judge(row, generation, given)
    judged = {"plan": _judge_plan, "answer": _judge_answer, "code": _judge_code}[task]
    holds = judged(row, text, generation.text) | {"ends_by_eos": generation.ended}
    return Judged(row, generation, holds)


def judge(row: dict[str, str], generation: Generation, given: str | None = None) -> Judged:
    """Judge a generated program; in emulator mode the generation begins with a call."""
    completion = _completion(generation.text, given)
    tree = parse(completion.program)
    holds = {
        "program_parses": bool(tree.body),
        "function_and_call": called_name(completion.call) in _functions(tree),
        "undefined_helpers": bool(undefined_names(completion.program)),
        **_judge_dict(completion.output, row["output"]),
        "keys_agree": _keys_agree(tree, completion),
        "ends_by_eos": generation.ended,
    }
    return Judged(row, generation, holds, completion)


def _judge_plan(row: dict[str, str], text: Rendered, generated: str) -> Holds:
    written = parse_plan(generated)
    steps = [int(number) for number in STEP_LINE.findall(written.plan)]
    numbered = bool(steps) and steps == list(range(1, len(steps) + 1))
    return {"numbered_steps": numbered, **_judge_dict(written.output, row["output"])}


def _judge_answer(row: dict[str, str], text: Rendered, generated: str) -> Holds:
    return _judge_text(generated, text.completion, normalise)


def _judge_code(row: dict[str, str], text: Rendered, generated: str) -> Holds:
    def meaning(solution: str) -> object:
        tree = parse(text.prompt + solution)
        return quietly(lambda _: ast.dump(tree), "") if tree.body else solution

    parses = bool(parse(text.prompt + generated).body)
    return {"program_parses": parses, **_judge_text(generated, text.completion, meaning)}


def _judge_text(written: str, reference: str, meaning: Callable[[str], object]) -> Holds:
    """Compare a text with its reference: exactly, by what it means, and in length."""
    one, other = written.strip(), reference.strip()
    return {
        "answer_exact": one == other,
        "answer_normalised": one == other or meaning(written) == meaning(reference),
        "length": len(other) <= 2 * len(one) and len(one) <= 2 * len(other),
    }


def _judge_dict(text: str, expected: str) -> Holds:
    """Judge an output section."""
    output, reference = literal(text), literal(expected)
    fields = output if isinstance(output, dict) else {}
    right = reference if isinstance(reference, dict) else {}
    return {
        "output_dict": isinstance(output, dict),
        "has_answer": "answer" in fields,
        "intermediates": any(
            key != "answer" and value not in (None, "", [], {}, ()) for key, value in fields.items()
        ),
        "answer_exact": "answer" in fields
        and "answer" in right
        and same(fields["answer"], right["answer"]),
    }


def _completion(text: str, given: str | None) -> Completion:
    written = parse_completion(text)
    if given is None:
        return written
    # below a program of its own, a call is not that of the given one
    return Completion(given, "" if written.program else written.call, written.output)


def _functions(tree: ast.Module) -> dict[str, Function]:
    """The functions that a program defines, by name."""
    found: dict[str, Function] = {}
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name):
                found[name] = node
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Lambda() as function):
                found[name] = function
    return found


def _keys_agree(tree: ast.Module, completion: Completion) -> bool | None:
    """Whether the output has the keys of a dict that the program returns, in their order.

    None where the program does not say which keys that is, so that the output may be right.
    """
    output, name = literal(completion.output), called_name(completion.call)
    if not isinstance(output, dict) or not tree.body or not _is_call(completion.call):
        return False
    if function := _functions(tree).get(name):
        return returns_keys(function, tuple(output))
    # what a class, a method, an alias or `print(f())` gives is not followed
    defined = {getattr(node, "name", getattr(node, "id", None)) for node in ast.walk(tree)}
    return None if not name or name in defined or name in BUILTINS else False


def _is_call(call: str) -> bool:
    match parse(call_of(call)).body:
        case [ast.Expr(value=ast.Call() | ast.Subscript())]:
            return True
    return False


def family(row: dict[str, str]) -> str | None:
    """Return the row's own `family`, else the words of an id like `plural-00013`, else None."""
    if "family" in row:  # prepare writes it into every row, or into none
        return row["family"] or "no family"
    match = _FAMILY_ID.fullmatch(row["id"])
    return match[1] if match and match[1].casefold() not in _NO_FAMILY else None
