"""Benchmarks generated code on HumanEval, MBPP, or the mini suite of twenty small functions.

A model continues each task's prompt, and the completion is cut as HumanEval cuts it. Prompt and
completion are then tried against the task's tests in two sandboxes (`tools.code.trial`). With
`--samples` the completions come from a file in HumanEval's format. The rules are those of the
reference evaluators; docs/code-track.md has what differs.

The score is that of the completions as they stand. Beside it stands the score with each program
taken out of its code fence and the prose around it.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tools.backend import Server
from tools.code import near_duplicates
from tools.code.tasks import Task
from tools.code.trial import SECONDS, Tried, limits_of, try_programs
from tools.errors import UserError
from tools.files import write_json, write_jsonl
from tools.prepared_rows import declared_strategy, read_prepared_rows
from tools.recipe import Recipe, is_recipe, read_recipe
from tools.sandbox import refuse_unless_possible
from validation.check.collapse import find_loop, measure_collapse
from validation.code.pass_at_k import PASS_AT, summarise
from validation.code.samples import (
    Sample,
    Sampling,
    Source,
    Suite,
    following,
    is_python,
    load_suite,
    model_sources,
    read_samples,
    reported,
    taken_out,
)
from validation.selection.checkpoints import left_out
from validation.verdict import VerdictRow, as_result, passed, print_verdicts

SEARCHED = 100_000  # characters of a text that are searched for loops: a sample may have millions
TOO_LONG = Tried("prompt_too_long")
# the plan's aim for the mini suite (docs/code-track.md): the least solved, the least share of valid
# syntax, and the most loops
SOLVED, VALID_SYNTAX, LOOPS = 5, 0.95, 0
MOST_SHOWN = 30  # tasks: of a larger suite the single tasks stand in the files alone
# the evaluators whose rules these are
EVALUATORS = {
    "humaneval": "openai/human-eval",
    "mbpp": "bigcode-project/bigcode-evaluation-harness, task mbpp",
}
OUT = Path("outputs/codebench")  # where there is no run folder
_DEFAULT = Sampling()


def codebench(
    target: Path | None,
    suite: Suite,
    *,
    model_name: str = "best",
    samples: Path | None = None,
    data: Path | None = None,
    sampling: Sampling = _DEFAULT,
    seconds: float = SECONDS,
    out: Path | None = None,
    allow_code_execution: bool = False,
    server: Server | None = None,
    follow: bool = False,
    tell: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """Score a recipe's model, a model folder or a file of completions on a suite.

    `model_name` is `best`, `base`, `checkpoint-N` or, for the trend of a run, `all`. With `follow`
    it is the base, and each checkpoint as training writes it, until the run has ended; `tell` hears
    of each. A program with its tests has `seconds` of the clock. Writes `codebench-SUITE.json` and
    the generations of each model into `out` (a recipe's run folder, else a folder under
    outputs/codebench), and returns the first's content; its `passed` says whether the suite's
    criteria are met. Raises UserError without consent, or if an input cannot be used.
    """
    _check_possible(target, samples, model_name, sampling, seconds, allow_code_execution)
    if follow and (server or not (target and is_recipe(target))):
        raise UserError("--follow waits for the checkpoints of a run: give its recipe alone")
    tasks, origin = load_suite(suite, data)
    recipe = read_recipe(target) if target and is_recipe(target) else None
    unknown: list[str] = []
    sources: Iterable[Source]
    if samples:
        read, unknown = read_samples(samples, tasks)
        name = _name(samples)
        sources = [(name, lambda _: read)]
    elif follow and recipe:
        name, sources = "", following(recipe, sampling)
    else:
        sources = model_sources(recipe, target or Path(), model_name, sampling, server)
        name = sources[0][0]
    folder = out or (recipe.output_dir if recipe else OUT / name)
    models: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for name, make in sources:
        made = make(tasks)
        section, lines = _score(name, made, tasks, seconds)
        models.append(section)
        results += lines
        write_jsonl(folder / f"codebench-{suite}-{name}.jsonl", map(_record, made, lines))
        tell(f"{name}: {section['tasks_passed']} of {len(tasks)} solved")
    result = {
        "suite": suite,
        "target": str(target or samples),
        "data": origin,
        "tasks": len(tasks),
        "pass_at_k_tasks": len(reported(tasks)),
        "seconds": seconds,
        "reference": EVALUATORS.get(suite),
        "sampling": None if samples else vars(sampling),
        "trained_on": trained_on(recipe, tasks) if recipe else [],
        "left_out": left_out(recipe) if recipe and (model_name == "all" or follow) else [],
        "unknown_tasks": unknown,
        "models": models,
        **as_result(_criteria(models) if suite == "mini" else []),
        "results": results,
    }
    write_json(folder / f"codebench-{suite}.json", result)
    return result


def _name(samples: Path) -> str:
    return samples.resolve().name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".json")


def _check_possible(
    target: Path | None,
    samples: Path | None,
    model_name: str,
    sampling: Sampling,
    seconds: float,
    allow_code_execution: bool,
) -> None:
    """Raise UserError for what would fail only after an hour of generation."""
    if (target is None) == (samples is None):
        raise UserError("name one of the two: a recipe or model folder, or --samples FILE")
    if model_name != "best" and not (target and is_recipe(target)):
        raise UserError(f"--model {model_name} names a model of a run: give the run's recipe")
    refuse_unless_possible(allow_code_execution)
    if not 0 < seconds < math.inf:
        raise UserError(f"--timeout {seconds:g}: must be a number of seconds above 0")
    if sampling.samples > 1 and not sampling.temperature:
        raise UserError(
            f"-n {sampling.samples} at temperature 0 makes the same completion every time; give "
            "--temperature, such as 0.8, or one sample"
        )


def _score(
    name: str, made: Sequence[Sample], tasks: Sequence[Task], seconds: float
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Try every sample; return the model's figures, and a line for each sample."""
    tried = [sample for sample in made if not sample.too_long]
    others = list(map(taken_out, made))
    programs = [(sample.task, sample.program) for sample in tried]
    programs += [(s.task, other) for s, other in zip(made, others, strict=True) if other]
    trials = [task.trial(program) for task, program in programs]
    found = iter(try_programs(trials, allow_code_execution=True, limits=limits_of(seconds)))
    verdicts = [TOO_LONG if sample.too_long else next(found) for sample in made]
    again = [next(found).kind if other else None for other in others]
    section = summarise(
        name,
        [task.id for task in tasks],
        [(sample.task.id, v.kind, a) for sample, v, a in zip(made, verdicts, again, strict=True)],
        valid=sum(map(is_python, made)),
        ks=PASS_AT,
        reported={task.id for task in reported(tasks)},
    )
    section["collapse"] = _collapse(tried)
    section["categories"] = _by_category(tasks, made, verdicts)
    lines = [
        {
            "model": name,
            "task_id": sample.task.task_id,
            "category": sample.task.category,
            "passed": verdict.passed,
            "result": verdict.kind,
            "detail": verdict.detail,
            "taken_out": taken,
        }
        for sample, verdict, taken in zip(made, verdicts, again, strict=True)
    ]
    return section, lines


def _by_category(
    tasks: Sequence[Task], made: Sequence[Sample], verdicts: Sequence[Tried]
) -> dict[str, dict[str, int]]:
    """Count the solved tasks of each category; nothing for a suite without categories."""
    solved = {s.task.id for s, verdict in zip(made, verdicts, strict=True) if verdict.passed}
    found: dict[str, dict[str, int]] = {}
    for task in tasks:
        counts = found.setdefault(task.category, {"solved": 0, "tasks": 0})
        counts["solved"] += task.id in solved
        counts["tasks"] += 1
    return {} if "" in found else found


def _criteria(models: Sequence[dict[str, Any]]) -> list[VerdictRow]:
    """Hold to the plan's aim the model that meets it, else the one that solves most."""

    def rows(model: dict[str, Any]) -> list[VerdictRow]:
        name, solved = model["name"], model["tasks_passed"]
        valid = model["syntax_valid"] / (model["samples"] or 1)
        loops = model["collapse"]["loops"]["count"]
        held = (
            ("tasks solved", str(solved), f"{SOLVED} or more", solved >= SOLVED),
            ("valid syntax", f"{valid:.0%}", f"{VALID_SYNTAX:.0%} or more", valid >= VALID_SYNTAX),
            ("loops", str(loops), str(LOOPS), loops <= LOOPS),
        )
        return [
            VerdictRow(what, found, "ok" if met else "fail", expected=expected, section=name)
            for what, found, expected, met in held
        ]

    return max(map(rows, models), key=lambda found: (passed(found), int(found[0].found)))


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
    known = {
        key
        for row in read_prepared_rows(path, strategy.columns)
        for key in near_duplicates.keys(row)
    }
    return [task.id for task in tasks if near_duplicates.keys(task.row) & known]


def print_codebench(result: dict[str, Any], console: Console) -> None:
    """Print a line for each model, its failures, and what to know before reporting figures."""
    models, tasks = result["models"], result["tasks"]
    ks = sorted({int(k) for model in models for k in model["pass_at_k"]})
    table = Table(title=f"{result['suite']}: {tasks} tasks")
    table.add_column("model")
    for heading in ("solved", *(f"pass@{k}" for k in ks), "valid syntax", "loops", "same text"):
        table.add_column(heading, justify="right")
    for model in models:
        rows = [(model["name"], model)]
        if model["taken_out"]["samples"]:
            rows.append(("  taken out", model["taken_out"]))
            table.caption = (
                "as it stands; below, with the program taken out of code fence and prose"
            )
        for label, found in rows:
            collapse = found.get("collapse", {})
            table.add_row(
                label,
                f"{found['tasks_passed']}/{tasks}",
                *(_percent(found["pass_at_k"].get(str(k))) for k in ks),
                _share(found["syntax_valid"], model["samples"]),
                *(
                    _share(collapse[key]["count"], collapse[key]["rows"]) if collapse else ""
                    for key in ("loops", "identical")
                ),
            )
    console.print(table)
    if tasks <= MOST_SHOWN:
        console.print(_task_table(result))
    for line in _remarks(result):
        console.print(line, markup=False, soft_wrap=True)
    if result["verdicts"]:
        print_verdicts(result["verdicts"], console)
        console.print(decision(max(model["tasks_passed"] for model in models)), soft_wrap=True)


def _task_table(result: dict[str, Any]) -> Table:
    """What became of each task, by model; below, the solved ones by category."""
    models = result["models"]
    table = Table("task", "category", *(model["name"] for model in models))
    tasks = {line["task_id"]: line["category"] for line in result["results"]}
    found = {(line["model"], line["task_id"]): line for line in result["results"] if line["passed"]}
    for line in result["results"]:
        found.setdefault((line["model"], line["task_id"]), line)
    for task, category in tasks.items():
        lines = [found.get((model["name"], task)) for model in models]
        told = [line["result"].replace("_", " ") if line else "no sample" for line in lines]
        table.add_row(str(task), category, *told)
    table.add_section()
    for category in models[0]["categories"]:
        counts = [model["categories"][category] for model in models]
        table.add_row("solved", category, *(f"{each['solved']}/{each['tasks']}" for each in counts))
    return table


def decision(solved: int) -> str:
    """Say what the plan of this track does next, by how many of the twenty are solved."""
    if solved >= SOLVED:
        return f"The plan's decision at {solved} of 20: reached; go on to the whole of HumanEval."
    if solved:
        return (
            f"The plan's decision at {solved} of 20: in part; train on 1,000 rows, or take a "
            "larger base."
        )
    return "The plan's decision at 0 of 20: the rows are not what is missing; take a larger base."


def _remarks(result: dict[str, Any]) -> Iterator[str]:
    """Yield what to know before reporting the figures."""
    about = result["pass_at_k_tasks"]
    for model in result["models"]:
        name, failed = model["name"], model["failures"]
        told = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in failed.items())
        yield f"{name}: {told or 'no failures'}"
        if taken := model["taken_out"]["samples"]:
            yield (
                f"{name}: {taken} of the {model['samples']} samples hold their program in a code "
                "fence or among prose, and fail as they stand, which is the figure to report; "
                "ask the model for code alone"
            )
        elif failed.get("syntax", 0) > model["samples"] / 2:
            yield f"{name}: most samples are no Python; look at the generations"
        if not model["pass_at_k"]:
            missing = result["tasks"] - model["tasks_attempted"]
            yield f"{missing} of the {result['tasks']} tasks have no sample, so there is no pass@k."
    if about < result["tasks"]:
        yield f"pass@k is about the {about} tasks of MBPP's test split, 11 to 510"
    if found := result["trained_on"]:
        yield (
            f"{len(found)} of the tasks, or near-duplicates of them, are in the recipe's training "
            f"rows ({', '.join(found[:5])} ...): do not report this; `cogex prepare code "
            "--held-out` keeps them away"
        )
    if unknown := result["unknown_tasks"]:
        yield (
            f"{len(unknown)} samples are left out: the suite has no task of theirs "
            f"({', '.join(sorted({*unknown})[:5])})"
        )
    for item in result["left_out"]:
        yield f"{item['name']} is left out: {item['status']}, {item['reason']}"
    rules = f"A program with its tests has {result['seconds']:g} s of the clock"
    if result["reference"]:
        rules += f"; rules of {result['reference']}, docs/code-track.md names the differences"
    yield rules


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _share(count: int, of: int) -> str:
    return f"{count / of:.0%}" if of else ""
