"""Benchmarks generated code on HumanEval, MBPP, or the mini suite of twenty small functions.

A model continues each task's prompt, and the completion is cut as HumanEval cuts it. Prompt and
completion are then tried against the task's tests in two sandboxes (`tools.code.trial`). With
`--samples` the completions come from a file in HumanEval's format.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tools.code import near_duplicates
from tools.code.tasks import Task
from tools.code.trial import VERDICTS, Verdict, try_programs
from tools.errors import UserError
from tools.files import write_json, write_jsonl
from tools.prepared_rows import declared_strategy, read_prepared_rows
from tools.recipe import Recipe, read_recipe
from tools.sandbox import CONSENT, unavailable
from validation.check.collapse import find_loop, measure_collapse
from validation.code.samples import (
    Sample,
    Sampling,
    Sources,
    Suite,
    is_python,
    load_suite,
    model_sources,
    read_samples,
)
from validation.selection.checkpoints import left_out

PASS_AT = (1, 10, 100)  # if every task has that many samples
SEARCHED = 100_000  # characters of a text that are searched for loops: a sample may have millions
TOO_LONG = Verdict("prompt_too_long", "", 0.0)
KINDS = (*VERDICTS, TOO_LONG.kind)
_DEFAULT = Sampling()


def codebench(
    target: Path | None,
    suite: Suite,
    *,
    model_name: str = "best",
    samples: Path | None = None,
    data: Path | None = None,
    sampling: Sampling = _DEFAULT,
    out: Path | None = None,
    allow_code_execution: bool = False,
) -> dict[str, Any]:
    """Score a recipe's model, a model folder or a file of completions on a suite.

    `model_name` is `best`, `base`, `checkpoint-N` or, for the trend of a run, `all`. Writes
    `codebench-SUITE.json` and the generations of each model into `out` (a recipe's run folder, else
    a folder under outputs/codebench), and returns the first's content. Raises UserError without
    consent, or if an input cannot be used.
    """
    _check_possible(target, samples, model_name, sampling, allow_code_execution)
    tasks, origin = load_suite(suite, data)
    recipe = read_recipe(target) if target and _is_recipe(target) else None
    sources: Sources = (
        {samples.resolve().stem: partial(read_samples, samples)}
        if samples
        else model_sources(recipe, target or Path(), model_name, sampling)
    )
    known = trained_on(recipe, tasks) if recipe else []
    folder = out or (recipe.output_dir if recipe else Path("outputs/codebench") / min(sources))
    models: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for name, make in sources.items():
        made = make(tasks)
        section, lines = _score(name, made, tasks)
        models.append(section)
        results += lines
        write_jsonl(folder / f"codebench-{suite}-{name}.jsonl", map(_record, made, lines))
    result = {
        "suite": suite,
        "target": str(target or samples),
        "data": origin,
        "tasks": len(tasks),
        "sampling": None if samples else vars(sampling),
        "trained_on": known,
        "models": models,
        "left_out": left_out(recipe) if recipe and model_name == "all" else [],
        "results": results,
    }
    write_json(folder / f"codebench-{suite}.json", result)
    return result


def _check_possible(
    target: Path | None,
    samples: Path | None,
    model_name: str,
    sampling: Sampling,
    allow_code_execution: bool,
) -> None:
    """Raise UserError for what would fail only after an hour of generation."""
    if (target is None) == (samples is None):
        raise UserError("name one of the two: a recipe or model folder, or --samples FILE")
    if model_name != "best" and not (target and _is_recipe(target)):
        raise UserError(f"--model {model_name} names a model of a run: give the run's recipe")
    if not allow_code_execution:
        raise UserError(
            "codebench runs programs that a model has written, in a sandbox without network and "
            f"without your files, with limits on time and memory; if you agree, pass {CONSENT}"
        )
    if reason := unavailable():
        raise UserError(f"no program can be run here: {reason}")
    if sampling.samples > 1 and not sampling.temperature:
        raise UserError(
            f"-n {sampling.samples} at temperature 0 makes the same completion every time; give "
            "--temperature, such as 0.8, or one sample"
        )


def _is_recipe(target: Path) -> bool:
    return target.suffix in {".yml", ".yaml"} or target.is_file()


def _score(
    name: str, made: Sequence[Sample], tasks: Sequence[Task]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Try every sample; return the model's figures, and a line for each sample."""
    tried = [sample for sample in made if not sample.too_long]
    trials = [sample.task.trial(sample.completion) for sample in tried]
    found = iter(try_programs(trials, allow_code_execution=True))
    verdicts = [TOO_LONG if sample.too_long else next(found) for sample in made]
    passed: dict[str, list[bool]] = {task.id: [] for task in tasks}
    for sample, verdict in zip(made, verdicts, strict=True):
        passed[sample.task.id].append(verdict.passed)
    failures = Counter(verdict.kind for verdict in verdicts if not verdict.passed)
    section = {
        "name": name,
        "samples": len(made),
        "tasks_attempted": sum(map(bool, passed.values())),
        "tasks_passed": sum(map(any, passed.values())),
        "pass_at_k": pass_at_k(passed),
        "syntax_valid": sum(map(is_python, made)),
        "failures": {kind: failures[kind] for kind in KINDS if failures[kind]},
        "collapse": _collapse(tried),
    }
    lines = [
        {
            "model": name,
            "task_id": sample.task_id,
            "passed": verdict.passed,
            "result": verdict.kind,
            "detail": verdict.detail,
        }
        for sample, verdict in zip(made, verdicts, strict=True)
    ]
    return section, lines


def pass_at_k(passed: dict[str, list[bool]]) -> dict[str, float]:
    """Return pass@k for each k of `PASS_AT` that every task has samples for.

    `passed` has a bool for each sample of each task. If c of n samples pass, the unbiased estimate
    is 1 - C(n - c, k) / C(n, k) (Chen et al. 2021, equation 1). The result is its mean over tasks.
    """
    least = min(map(len, passed.values()), default=0)
    return {
        str(k): float(sum(_estimate(each, k) for each in passed.values()) / len(passed))
        for k in PASS_AT
        if k <= least
    }


def _estimate(passed: Sequence[bool], k: int) -> Fraction:
    failed = len(passed) - sum(passed)
    return 1 - Fraction(math.comb(failed, k), math.comb(len(passed), k))


def _collapse(made: Sequence[Sample]) -> dict[str, Any]:
    """Look for mode collapse in the generations."""
    texts = [replace(item.written, text=item.written.text[:SEARCHED]) for item in made]
    found = measure_collapse([item.task.prompt for item in made], texts)
    if any(item.generation is None for item in made):
        del found["length_limit"]  # unknown
    return found


def _record(sample: Sample, line: dict[str, Any]) -> dict[str, Any]:
    return {
        **line,
        "prompt": sample.task.prompt,
        "completion": _unicode(sample.completion),
        "generated": _unicode(sample.written.text),
        "loop": find_loop(_unicode(sample.written.text[:SEARCHED])),
    }


def _unicode(text: str) -> str:
    """Escape lone surrogates: JSON may have them, but UTF-8 cannot."""
    return text.encode("utf-8", "backslashreplace").decode()


def trained_on(recipe: Recipe, tasks: Sequence[Task]) -> list[str]:
    """Return the ids of the tasks with a near-duplicate in the recipe's training rows.

    Rows of another strategy, or that are not there any more, are not compared.
    """
    entries = recipe.values.get("datasets")
    strategy = declared_strategy(recipe, recipe.training) if entries else None
    if strategy is None or strategy.task != "code":
        return []
    path = Path(recipe.training["path"])
    if not path.is_file():
        return []
    known = {key for row in read_prepared_rows(path, strategy.columns) for key in _keys(row)}
    return [task.id for task in tasks if _keys(task.row) & known]


def _keys(row: dict[str, str]) -> frozenset[tuple[str, str]]:
    try:
        return near_duplicates.keys(row)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # it defines no function
        return frozenset({("row", row["prompt"] + row["solution"])})


def print_codebench(result: dict[str, Any], console: Console) -> None:
    """Print a line for each model, its failures, and what to know before reporting figures."""
    ks = [str(k) for k in PASS_AT if any(str(k) in m["pass_at_k"] for m in result["models"])]
    table = Table(title=f"{result['suite']}: {result['tasks']} tasks")
    table.add_column("model")
    for heading in ("solved", *(f"pass@{k}" for k in ks), "valid syntax", "loops", "same text"):
        table.add_column(heading, justify="right")
    for model in result["models"]:
        collapse = [model["collapse"][key] for key in ("loops", "identical")]
        table.add_row(
            model["name"],
            f"{model['tasks_passed']}/{result['tasks']}",
            *(f"{model['pass_at_k'][k]:.1%}" if k in model["pass_at_k"] else "" for k in ks),
            _share(model["syntax_valid"], model["samples"]),
            *(_share(item["count"], item["rows"]) for item in collapse),
        )
    console.print(table)
    for model in result["models"]:
        told = ", ".join(
            f"{count} {kind.replace('_', ' ')}" for kind, count in model["failures"].items()
        )
        console.print(f"{model['name']}: {told or 'no failures'}", markup=False, soft_wrap=True)
        if missing := result["tasks"] - model["tasks_attempted"]:
            console.print(
                f"{missing} of the {result['tasks']} tasks have no sample, so there is no pass@k.",
                soft_wrap=True,
            )
    for item in result["left_out"]:
        told = f"{item['name']} is left out: {item['status']}, {item['reason']}"
        console.print(told, markup=False, soft_wrap=True)
    if found := result["trained_on"]:
        console.print(
            f"{len(found)} of the tasks, or near-duplicates of them, are in the recipe's training "
            f"rows ({', '.join(found[:5])} ...): do not report this; `cogex prepare code "
            "--held-out` keeps them away",
            style="red",
            soft_wrap=True,
        )


def _share(count: int, of: int) -> str:
    return f"{count / of:.0%}" if of else ""
