"""Makes CoGEX rows whose outputs are true, from code tasks with tests.

In the published data a language model imagined every output. Here the sandbox computes it: the
program is a task's solution, rewritten to return its intermediate values
(`tools.code.intermediates`), and the call is one of its tests'. Random programs can join the tasks.
A task that yields no row is in rejected.jsonl with its reason:

- `held out: …`, `duplicate …`: as in `cogex prepare code`, so that a benchmark is never trained on;
- `no description`: its docstring has no sentence before its examples;
- `no call with literal arguments`: its tests have none;
- `not rewritable: …`: as `tools.code.intermediates` says;
- `every call: …`: each of its calls is rejected, for the first one's reason: it fails or runs too
  long, its answer is no literal, is not what the original program gives, is too long, or differs
  between two runs.

`calls_rejected` in manifest.json counts the calls that were left out, by these reasons.
"""

import ast
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from prompt_strategies.code import CodeStrategy
from prompt_strategies.cogex import CogexStrategy
from tools.code import near_duplicates
from tools.code.intermediates import ANSWER, NotRewritableError, with_intermediates
from tools.code.merge import origin, prepared_tasks, rows_file, unwanted
from tools.code.random_programs import random_programs
from tools.errors import UserError
from tools.prepare.folder import (
    check_out,
    commonest_first,
    print_counts,
    rejected_lines,
    write_folder,
)
from tools.prepare.split import choose_validation
from tools.programs import Returned, run_twice
from tools.python_text import literal

FIELDS = (*CodeStrategy.columns, "entry_point", "tests")
LONGEST = 600  # characters of an output

_EXAMPLES = re.compile(r"^\s*(>>>|assert\b|\[?(for )?examples?\b.*)", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class Call:
    """A call of a task's program, to be run."""

    task: int  # its index
    number: int  # of the call in its task
    source: str  # the original program, which defines the function `name`
    name: str
    parameters: tuple[str, ...]
    arguments: tuple[str, ...]  # as Python literals
    sentence: str  # what the program is for

    def rewritten(self, kept: frozenset[str] | None = None) -> tuple[str, str]:
        """Return the program that returns its intermediate values, and the call of it."""
        program, main = with_intermediates(self.source, self.name, self.sentence, kept)
        return program, f"{main}({', '.join(self.arguments)})"


def prepare_verified(
    inputs: Sequence[Path],
    out: Path,
    *,
    allow_code_execution: bool,
    calls: int = 3,
    val_size: int = 200,
    seed: int = 42,
    held_out: Sequence[Path] = (),
    programs: int = 0,
) -> dict[str, Any]:
    """Write train.jsonl and val.jsonl of true rows; a task and what resembles it stay together.

    `calls` is the most rows of a task; `programs` is the number of random programs that join the
    tasks of the inputs (`tools.code.random_programs`). Returns manifest.json. Raises UserError,
    with nothing written, if an input is not as `cogex prepare` left it, if too few rows are left,
    or without consent.
    """
    if not inputs and not programs:
        raise UserError("there is nothing to verify: give --input, or --random-programs")
    check_out(out, inputs[0] if inputs else out, ())
    tasks = [task for folder in inputs for task in prepared_tasks(folder, FIELDS)]
    tasks += random_programs(programs, seed)
    reasons = unwanted(tasks, held_out)
    wanted: list[Call] = []
    for index, task in enumerate(tasks):
        if index not in reasons:
            try:
                wanted += _calls_of(index, task, calls)
            except NotRewritableError as reason:
                reasons[index] = str(reason)
    rows: dict[int, list[dict[str, str]]] = {}
    failed: dict[int, list[str]] = {}
    for call, (text, problem) in zip(wanted, _execute(wanted, allow_code_execution), strict=True):
        if text:
            row = _prepared(tasks[call.task]["id"], call, text)
            rows.setdefault(call.task, []).append(row)
        else:
            failed.setdefault(call.task, []).append(problem)
    reasons |= {task: f"every call: {why[0]}" for task, why in failed.items() if task not in rows}
    kept = sorted(rows)
    count = sum(map(len, rows.values()))
    if val_size < 0 or val_size >= count:
        raise UserError(
            f"--val-size is {val_size}, and there are {count} rows: give fewer, or another --input"
        )
    flat = [(task, row) for task in kept for row in rows[task]]
    validation = _validation(tasks, [task for task, _ in flat], val_size, seed)
    files: dict[str, list[Any]] = {
        "train.jsonl": [row for place, (_, row) in enumerate(flat) if place not in validation],
        "val.jsonl": [row for place, (_, row) in enumerate(flat) if place in validation],
        "rejected.jsonl": rejected_lines(reasons, tasks),
    }
    manifest = {
        "format": CogexStrategy.dataset,
        "layout_version": CogexStrategy.layout_version,
        "inputs": [origin(folder / "rows.jsonl") for folder in inputs],
        "held_out": [origin(rows_file(path)) for path in held_out],
        "read": len(tasks),
        "rejected": len(reasons),  # tasks
        "rows": len(flat),
        "train": len(flat) - len(validation),
        "val": len(validation),
        "random_programs": programs,
        "with_intermediates": sum(len(literal(row["output"])) > 1 for _, row in flat),
        "reasons": _count(reasons.values()),
        "calls_rejected": _count(reason for why in failed.values() for reason in why),
        "val_size": val_size,
        "seed": seed,
    }
    return write_folder(out, files, manifest, hashed=["train.jsonl", "val.jsonl"])


def _validation(
    tasks: Sequence[dict[str, str]], task_of_row: Sequence[int], size: int, seed: int
) -> set[int]:
    """Choose the validation rows by whole groups of tasks that resemble each other."""
    kept = sorted(set(task_of_row))
    groups = near_duplicates.group([tasks[task] for task in kept])
    group_of = {kept[number]: place for place, group in enumerate(groups) for number in group}
    rows: list[list[int]] = [[] for _ in groups]
    for place, task in enumerate(task_of_row):
        rows[group_of[task]].append(place)
    return choose_validation(rows, size, seed)


def _calls_of(index: int, task: dict[str, str], most: int) -> list[Call]:
    """Return what is to be run for a task. Raises NotRewritableError with the reason against it."""
    source, name = task["prompt"] + task["solution"], task["entry_point"]
    sentence = task.get("instruction") or _sentence(source, name)
    found = _arguments(task["tests"], name)
    if not found:
        raise NotRewritableError("no call with literal arguments")
    step = max(1, len(found) // most)
    calls = [
        Call(index, number, source, name, _parameters(source, name), tuple(arguments), sentence)
        for number, arguments in enumerate(found[::step][:most])
    ]
    try:
        calls[0].rewritten()
    except NotRewritableError as reason:
        raise NotRewritableError(f"not rewritable: {reason}") from None
    return calls


def _function(source: str, name: str) -> ast.FunctionDef:
    return [
        node for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.name == name
    ][-1]  # fmt: skip


def _parameters(source: str, name: str) -> tuple[str, ...]:
    arguments = _function(source, name).args
    return tuple(each.arg for each in (*arguments.posonlyargs, *arguments.args))


def _sentence(source: str, name: str) -> str:
    """Return what a docstring says before its examples, on one line."""
    said = ast.get_docstring(_function(source, name)) or ""
    text = " ".join(_EXAMPLES.split(said, maxsplit=1)[0].split())
    if not text:
        raise NotRewritableError("no description")
    return text


def _arguments(tests: str, name: str) -> list[list[str]]:
    """Return the different calls in the tests whose arguments are literals, as source."""
    found = []
    for node in ast.walk(ast.parse(tests)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in (name, "candidate")
            and not node.keywords
        ):
            texts = [ast.unparse(argument) for argument in node.args]
            if texts and all(_is_literal(text) for text in texts) and texts not in found:
                found.append(texts)
    return found


def _is_literal(text: str) -> bool:
    return text == "None" or literal(text) is not None


def _execute(calls: Sequence[Call], allow_code_execution: bool) -> list[tuple[str, str]]:
    """Return for each call its output, or "" and the reason against it."""
    runs = run_twice([_program(call) for call in calls], allow_code_execution=allow_code_execution)
    return [_agreed(*pair) for pair in runs]


def _program(call: Call) -> tuple[str, str]:
    """Return a program and an expression: the original's answer and each returned value."""
    program, rewritten = call.rewritten()
    original = f"{call.name}({', '.join(call.arguments)})"
    both = f"exec({call.source!a}, first := {{}})\nexec({program!a}, second := {{}})"
    values = f"[(key, repr(value)) for key, value in eval({rewritten!a}, second).items()]"
    return both, f"(repr(eval({original!a}, first)), {values})"


def _agreed(first: Returned, second: Returned) -> tuple[str, str]:
    found = {first.status, second.status}
    if "timed_out" in found:
        return "", "it runs too long"
    if found != {"returned"}:
        return "", "it fails"
    one, other = _output(first.text), _output(second.text)
    return one if one == other else ("", "two runs differ")


def _output(returned: str) -> tuple[str, str]:
    """Return the dict as text, without values that have no literal; or the reason against it."""
    expected, pairs = literal(returned)
    values = dict(pairs)
    answer = values.get(ANSWER, "")
    if not _is_literal(answer):
        return "", "its answer has no literal"
    if expected != answer and literal(expected) != literal(answer):
        return "", "the original gives another answer"
    lines = [f"    {key!r}: {text}" for key, text in values.items() if _is_literal(text)]
    text = "{\n" + ",\n".join(lines) + "\n}"
    return (text, "") if len(text) <= LONGEST else ("", "its output is too long")


def _prepared(task_id: str, call: Call, output: str) -> dict[str, str]:
    """Return the prepared row; the program returns the same names as the output."""
    program, rewritten = call.rewritten(frozenset(literal(output)))
    pairs = zip(call.parameters, call.arguments, strict=False)  # the rest are defaults
    return {
        "id": f"{task_id}-{call.number}",
        "instruction": call.sentence,
        "input": "\n".join(f"{name} = {value}" for name, value in pairs),
        "code": f"{program}\n\n>>> {rewritten}",
        "output": output,
    }


def _count(reasons: Any) -> dict[str, int]:
    return commonest_first(Counter(reason.split(" of ")[0] for reason in reasons))


def print_summary(manifest: dict[str, Any], console: Console) -> None:
    """Print every count and reason."""
    counts = {name: manifest[name] for name in ("rows", "train", "val")}
    counts |= {"with intermediate values": manifest["with_intermediates"]}
    counts |= {"calls left out": sum(manifest["calls_rejected"].values())}
    counts |= {f"  {reason}": count for reason, count in manifest["calls_rejected"].items()}
    counts |= {"tasks read": manifest["read"]}
    print_counts("verified rows", counts, manifest, console)
