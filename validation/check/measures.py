"""Judges one generation: which parts of a CoGEX completion are there, and is its answer right?

Perplexity alone does not show that: a model that misspells one heading has a fine perplexity and no
usable answer. What is measured here is the form of each part and the answer, against the reference;
whether the output is what the program really returns is `validation.check.emulation`.
"""

import ast
from dataclasses import dataclass

from prompt_strategies.layout import Completion, parse_completion
from tools.generate import Generation
from tools.python_text import literal
from validation.check.programs import called_name, parse, same, undefined_names

MEASURES = {
    "program_parses": "program is valid Python",
    "function_and_call": "defines a function and calls it",
    "undefined_helpers": "leaves helpers undefined",
    "output_dict": "output is a dict",
    "has_answer": "output has the key `answer`",
    "keys_agree": "output keys are the program's return keys",
    "intermediates": "intermediate values are there",
    "ends_by_eos": "ends by EOS",
    "answer_exact": "answer equals the reference",
}
# with a given program: what is left for the model to write
EMULATOR_MEASURES = {
    "function_and_call": "calls the given program",
    **{
        name: MEASURES[name]
        for name in ("output_dict", "has_answer", "keys_agree", "ends_by_eos", "answer_exact")
    },
}
# the least share of rows for exit 0; a measure that is not here is reported only
THRESHOLDS = {
    "program_parses": 0.98,
    "output_dict": 0.98,
    "has_answer": 0.98,
    "keys_agree": 0.98,
    "ends_by_eos": 0.99,
}


@dataclass(frozen=True)
class Judged:
    """One row: its prepared fields, what was generated, and which measures hold."""

    row: dict[str, str]
    generation: Generation
    completion: Completion
    holds: dict[str, bool]


def judge(row: dict[str, str], generation: Generation, given: str | None = None) -> Judged:
    """Judge one generation against its row; never raises on what a model wrote.

    `given` is the program of the prompt in emulator mode; then the generation begins with a call.
    """
    completion = _completion(generation.text, given)
    tree, output = parse(completion.program), literal(completion.output)
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    called = functions.get(called_name(completion.call))
    reference = literal(row["output"])
    fields = output if isinstance(output, dict) else {}
    expected = reference if isinstance(reference, dict) else {}
    holds = {
        "program_parses": bool(tree.body),
        "function_and_call": called is not None,
        "undefined_helpers": bool(undefined_names(completion.program)),
        "output_dict": isinstance(output, dict),
        "has_answer": "answer" in fields,
        "keys_agree": called is not None and list(fields) in _return_keys(called),
        "intermediates": any(
            key != "answer" and value not in (None, "", [], {}, ()) for key, value in fields.items()
        ),
        "ends_by_eos": generation.ended,
        "answer_exact": "answer" in fields
        and "answer" in expected
        and same(fields["answer"], expected["answer"]),
    }
    return Judged(row, generation, completion, holds)


def _completion(text: str, given: str | None) -> Completion:
    written = parse_completion(text)
    if given is None:
        return written
    # below a program of its own, a call is not that of the given one
    return Completion(given, "" if written.program else written.call, written.output)


def _return_keys(function: ast.FunctionDef) -> list[list[object]]:
    """The keys, in order, of each dict literal that the function returns."""
    return [
        [key.value for key in node.value.keys if isinstance(key, ast.Constant)]
        for node in ast.walk(function)
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Dict)
    ]


def family(row: dict[str, str]) -> str | None:
    """Return the part of an id like `plural-00013` before the number; None for other ids."""
    name, _, number = row["id"].rpartition("-")
    return name if number.isdigit() and name else None
