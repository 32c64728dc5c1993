"""Lets a model say what CRUXEval's functions return; `validation.code.cruxeval` scores it.

A trained model is asked as in training: it gets the program, rewritten as `cogex prepare verified`
rewrites programs, and the call, and writes the output. Its prediction is the output's `answer`, or
the whole of it where it is no dict. A base is asked to go on with an assertion, below `shots`
examples of the same form.
"""

import ast
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from prompt_strategies.layout import OUTPUT_HEADER, render_prompt
from tools.code.intermediates import ANSWER, NotRewritableError, with_intermediates
from tools.code.random_programs import INSTRUCTION
from tools.code.trial import SECONDS, limits_of
from tools.errors import UserError
from tools.files import refuse_unwritable, write_json, write_jsonl
from tools.generate import open_writer
from tools.intervals import wilson
from tools.python_text import literal
from tools.recipe import Recipe
from validation.check.check import load_named
from validation.code.cruxeval import Row, read_generations, read_rows, score

EXAMPLES = (
    ("def f(words, n):\n    return [word[:n] for word in words if word]",
     "['plum', '', 'fig'], 2", "['pl', 'fi']"),
    ("def f(text):\n    out = ''\n    for c in text:\n        out = c + out\n    return out",
     "'abc d'", "'d cba'"),
    ("def f(d, key):\n    d[key] = d.get(key, 0) + 1\n    return sorted(d.items())",
     "{'b': 2}, 'a'", "[('a', 1), ('b', 2)]"),
)  # fmt: skip


# characters of an output, at most, in each row of the table by length
LENGTHS = (8, 16, 32, math.inf)


def check_cruxeval(
    recipe: Recipe,
    data: Path,
    *,
    model_name: str = "best",
    shots: int = 0,
    samples: Path | None = None,
    max_new_tokens: int = 512,
    allow_code_execution: bool = False,
) -> dict[str, Any]:
    """Score what a recipe's model, or a file of `samples`, says that CRUXEval's functions return.

    Writes `check-cruxeval-o-NAME.json` and the predictions into the run folder, and returns the
    first's content. Without consent an answer that is no literal is not run, and counts as wrong.
    Raises UserError if a file cannot be used.
    """
    if shots > len(EXAMPLES) or (shots and (samples or model_name != "base")):
        raise UserError(
            f"--shots {shots}: give {len(EXAMPLES)} at most, with --model base; a trained model is "
            "asked as in training"
        )
    rows, origin = read_rows(data)
    refuse_unwritable(recipe.output_dir)
    name, written, unknown = model_name, dict[str, str](), list[str]()
    if samples:
        name = samples.name.split(".")[0]
        generations, unknown = read_generations(samples, rows)
    else:
        name += f"-{shots}-shots" if shots else ""
        generations, written = predict(
            recipe, model_name, rows.values(), shots=shots, max_new_tokens=max_new_tokens
        )
    section, lines = score(
        name, rows, generations, limits_of(SECONDS), allow_code_execution=allow_code_execution
    )
    result = {
        "suite": "cruxeval-o",
        "recipe": str(recipe.path),
        "data": origin,
        "tasks": len(rows),
        **section,
        "by_output_length": _by_length(lines),
        "unknown_tasks": unknown,
    }
    folder = recipe.output_dir
    write_jsonl(
        folder / f"generations-cruxeval-o-{name}.jsonl",
        ({**line, "written": written.get(line["task_id"])} for line in lines),
    )
    write_json(folder / f"check-cruxeval-o-{name}.json", result)
    return result


def _by_length(lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Count the right samples by the length of the right output."""
    groups: dict[float, list[bool]] = {most: [] for most in LENGTHS}
    for line in lines:
        most = next(each for each in LENGTHS if len(line["output"]) <= each)
        groups[most].append(line["passed"])
    return [
        {"characters": None if most == math.inf else most, "samples": len(held), "right": sum(held)}
        for most, held in groups.items()
    ]


def print_cruxeval(result: dict[str, Any], console: Console) -> None:
    """Print pass@k, of one sample with its 95% interval, and the share by length of the output."""
    table = Table("CRUXEval, output", result["name"], title=f"{result['tasks']} functions")
    for k, value in result["pass_at_k"].items():
        interval = ""
        if result["samples"] == result["tasks"]:
            low, high = wilson(round(value * result["tasks"]), result["tasks"])
            interval = f" ({100 * low:.1f} to {100 * high:.1f})"
        table.add_row(f"pass@{k}", f"{100 * value:.4f}%{interval}")
    for item in result["by_output_length"]:
        most = item["characters"]
        label = f"output of {most} characters at most" if most else "longer output"
        table.add_row(label, f"{item['right']}/{item['samples']}")
    for kind, count in result["failures"].items():
        table.add_row(f"not right: {kind}", str(count))
    console.print(table)
    if result["unknown_tasks"]:
        console.print(f"{len(result['unknown_tasks'])} samples have an id of no function")


def predict(
    recipe: Recipe, model_name: str, rows: Iterable[Row], *, shots: int, max_new_tokens: int
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return by id what the model predicts, one text in a list, and all that it wrote."""
    model, _, write = open_writer(partial(load_named, recipe, model_name))
    base = model_name == "base"
    asked = {row["id"]: _assertion(row, shots) if base else emulator_prompt(row) for row in rows}
    made = write(
        list(asked.values()),
        max_length=model.config.max_position_embeddings,
        max_new_tokens=max_new_tokens,
    )
    written = {name: item.text for name, item in zip(asked, made, strict=True)}
    read = _first_line if base else _answer
    return {name: [read(text)] for name, text in written.items()}, written


def emulator_prompt(row: Mapping[str, Any]) -> str:
    """Return the prompt that ends where the output begins.

    A function that cannot be rewritten stays as it is.
    """
    program, name = row["code"], "f"
    with suppress(NotRewritableError):
        program, name = with_intermediates(program, name, INSTRUCTION)
    code = f"{program.strip()}\n\n>>> {name}({row['input']})\n"
    return render_prompt(INSTRUCTION, _input(row)) + code + OUTPUT_HEADER


def _input(row: Mapping[str, Any]) -> str:
    """Return a line for each argument, as `cogex prepare verified` writes them."""
    *body, call = ast.parse(f"{row['code']}\nf({row['input']})").body
    function = next(each for each in body if isinstance(each, ast.FunctionDef))
    assert isinstance(call, ast.Expr) and isinstance(call.value, ast.Call)
    names = [each.arg for each in function.args.args]
    given = dict(zip(names, call.value.args, strict=False))
    given |= {str(each.arg): each.value for each in call.value.keywords}
    return "\n".join(f"{name} = {ast.unparse(value)}" for name, value in given.items())


def _assertion(row: Row, shots: int) -> str:
    shown = "".join(
        f"{code}\n\nassert f({given}) == {output}\n\n\n" for code, given, output in EXAMPLES[:shots]
    )
    return f"{shown}{row['code']}\n\nassert f({row['input']}) =="


def _first_line(text: str) -> str:
    return text.strip().split("\n")[0]


def _answer(text: str) -> str:
    value = literal(text.strip())
    return repr(value[ANSWER]) if isinstance(value, dict) and ANSWER in value else text.strip()
