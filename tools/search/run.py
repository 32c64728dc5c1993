"""`cogex search`: from a task card and a model to programs.json, with the baselines."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table

from tools.backend import Backend, Served, Server, base_of, load_in_process
from tools.errors import UserError
from tools.files import write_json
from tools.recipe import read_recipe
from tools.search import baselines
from tools.search.candidates import PLAN, PROGRAM
from tools.search.cotacs import search
from tools.search.data import Task, load_task
from tools.search.scoring import Scorer, Settings
from tools.search.store import Store
from tools.server_answer import by_reason

LABELS = {
    "end_to_end": "end to end: a program for each row",
    "zero_shot": "the base, 0-shot",
    "two_shot_bm25": "the base, 2-shot BM25",
    "cotacs": "CoTACS",
    "plan": "NL plans",
}


@dataclass(frozen=True)
class Target:
    """The model to search with, in this process or behind a server.

    Without an `endpoint`, `recipe` (its best/) or `model` (a folder) is loaded. With one, they only
    provide the tokenizer, so that prompts are sent as token ids; `served_model` and `served_base`
    are the server's names of the model and its base. With `unseeded` the server gets no seed.
    """

    recipe: Path | None = None
    model: Path | None = None
    endpoint: str | None = None
    served_model: str | None = None
    served_base: str | None = None
    concurrency: int = 16
    unseeded: bool = False

    def __post_init__(self) -> None:
        if self.recipe and self.model:
            raise UserError("--recipe and --model: name one of them")
        if not (self.recipe or self.model or self.endpoint):
            raise UserError("name the model: --recipe RECIPE, --model PATH or --endpoint URL")
        if (self.served_model or self.served_base) and not self.endpoint:
            raise UserError("--served-model and --served-base name models of an --endpoint")

    @property
    def folder(self) -> Path:
        """The folder of the searches with this model."""
        run = read_recipe(self.recipe).output_dir if self.recipe else Path("outputs")
        return run / "search"

    def open(self) -> tuple[Backend, Backend | None]:
        """Return the model and its base as backends; None for an unknown base."""
        if self.endpoint is not None:
            return self._open_endpoint(self.endpoint)
        backend = load_in_process(self.recipe or self.model or Path())
        return backend, base_of(backend)

    def _open_endpoint(self, url: str) -> tuple[Backend, Backend | None]:
        def served(name: str | None) -> Served:
            server = Server(url, name, self.concurrency, self.unseeded)
            return server.open(self.recipe or self.model)

        return served(self.served_model), served(self.served_base) if self.served_base else None


def run_search(
    card: Path,
    target: Target,
    settings: Settings,
    out: Path | None = None,
    *,
    max_calls: int | None = None,
    tell: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """Search for a program for a task, test it beside the baselines, and write programs.json.

    An interrupted search resumes; the same settings give the same bytes. `tell` hears first how
    many calls it may take; no more than `max_calls` are made. Raises UserError if card, data or
    model cannot be used, if nothing usable is generated, or if the calls are used up.
    """
    task = load_task(card)
    folder = out or target.folder / task.name
    backend, base = target.open()
    store = Store(folder, max_calls)
    tell(_most_calls(task, settings, base is not None))
    scorer = Scorer(task, PROGRAM, backend, store, settings)
    try:
        found = search(scorer)
    except UserError as error:
        reasons = by_reason(store.without_text).items()
        told = "; ".join(f"{count} times: {reason}" for reason, count in reasons)
        raise UserError(f"{error} The server gave no text {told}" if told else f"{error}") from None
    test = _test(scorer, found, "cotacs")
    test["end_to_end"] = baselines.end_to_end(scorer)
    left_out = []
    if base is not None:
        test["zero_shot"] = baselines.prompted(scorer, base, 0)
        test["two_shot_bm25"] = baselines.prompted(scorer, base, baselines.SHOTS)
    elif target.endpoint:
        left_out.append("the base, 0-shot and 2-shot: name it by --served-base")
    else:
        left_out.append("the base, 0-shot and 2-shot: this is a whole model, without an adapter")
    if plan := _plan_recipe(target):
        try:
            test |= _search_plans(scorer, plan)
        except UserError as error:  # without a baseline the programs are still of use
            left_out.append(f"NL plans: {error}")
    result = {
        "task": _describe(task, card),
        "model": {"target": _named(target), **backend.identity},
        "settings": asdict(settings),
        **found,
        "calls": store.calls,
        "test": test,
        "baselines_left_out": left_out,
    }
    if target.endpoint:
        result["server"] = {
            "requests_without": store.not_taken,
            "no_text": by_reason(store.without_text),
        }
    write_json(folder / "programs.json", result)
    return result | {"folder": str(folder)}


def _most_calls(task: Task, settings: Settings, base: bool) -> str:
    """Say how many calls a search may take; the race and duplicates spare most of them."""
    train, dev, test = len(task.train), len(task.dev), len(task.test)
    tries = settings.tries * train
    parts = {
        f"{tries:,} to write candidates": tries,
        f"{tries * train:,} to score them on {train:,} training rows": tries * train,
        f"{train * dev:,} on {dev:,} dev rows": train * dev,
    }
    tests = test * (settings.top + 1 + 2 * base)
    parts[f"{tests:,} for the test with its baselines"] = tests
    return f"At most {sum(parts.values()):,} calls, without NL plans: {', '.join(parts)}"


def _test(scorer: Scorer, found: dict[str, Any], name: str) -> dict[str, Any]:
    """Test the best program alone, and the majority of all kept programs."""
    rows = scorer.task.test
    programs = [item["program"] for item in found["programs"]]
    answers = scorer.emulate(programs, rows, "testing programs")
    tested = {}
    for k in dict.fromkeys((1, len(programs))):
        voted = scorer.majority(answers[:k], rows)
        accuracy = scorer.accuracy([item.answer for item in voted], rows)
        tested[f"{name}_k{k}"] = accuracy | {"ties": sum(item.tie for item in voted)}
    return tested


def _plan_recipe(target: Target) -> Path | None:
    """The recipe that trains NL plans instead of programs on the same base, if it was trained."""
    if target.recipe is None or target.endpoint is not None:
        return None
    sibling = target.recipe.with_name(f"{target.recipe.stem}-plan{target.recipe.suffix}")
    if not sibling.is_file() or not (read_recipe(sibling).output_dir / "best").is_dir():
        return None
    return sibling


def _search_plans(scorer: Scorer, recipe: Path) -> dict[str, Any]:
    backend = load_in_process(recipe)
    plans = Scorer(scorer.task, PLAN, backend, scorer.store, scorer.settings)
    return _test(plans, search(plans), "plan")


def _describe(task: Task, card: Path) -> dict[str, Any]:
    return {
        "name": task.name,
        "card": str(card),
        "version": task.card.version,
        "fingerprint": task.fingerprint,
        "instruction": task.card.instruction,
        "metric": task.card.metric,
        "tolerance": task.card.tolerance,
        "rows": {"train": len(task.train), "dev": len(task.dev), "test": len(task.test)},
        "duplicate_inputs_left_out": task.duplicates,
    }


def _named(target: Target) -> dict[str, Any]:
    """The options that named the model, from which `cogex apply` finds it again."""
    names = ("recipe", "model", "endpoint", "served_model")
    return {name: str(getattr(target, name)) for name in names if getattr(target, name)}


def print_search(result: dict[str, Any], console: Console) -> None:
    """Show the best program, the cost of the search, and the accuracies on the test rows."""
    task, counts, evaluations = result["task"], result["counts"], result["evaluations"]
    console.print(Syntax(result["programs"][0]["program"], "python", word_wrap=True))
    console.print(
        f"{counts['generated']} programs generated: {counts['unparseable']} without a usable "
        f"function; {counts['candidates']} different candidates, {counts['duplicates']} of the "
        f"rest the same as another; {counts['rows_below_alpha']} rows stayed below alpha"
    )
    console.print(
        f"{result['calls']:,} generations in all; {evaluations['dev']:,} of "
        f"{evaluations['dev_exhaustive']:,} pairs of candidate and dev row scored"
    )
    table = Table("on the test rows", "right", "share", "95% interval", title=task["name"])
    for key, item in result["test"].items():
        low, high = item["interval_95"]
        table.add_row(
            label(key),
            f"{item['right']}/{item['rows']}",
            f"{item['share']:.1%}",
            f"{low:.1%} to {high:.1%}",
        )
    console.print(table)
    for key, item in result["test"].items():
        if count := item.get("ties"):
            console.print(
                f"{label(key)}: {count} of {item['rows']} answers are ties between programs, "
                f"decided at random (seed {result['settings']['seed']})"
            )
    if count := result["ties"]["not_kept"]:
        console.print(
            f"{count} programs that were not kept are as good on the dev rows as the last that was "
            "kept: the order in which they were written decided"
        )
    if count := result["ties"]["rounds"]:
        console.print(
            f"{count} candidates left the race although equal to one that stayed in it, by the "
            "order in which they were written"
        )
    for reason in result["baselines_left_out"]:
        console.print(f"left out: {reason}", markup=False)
    server = result.get("server", {})
    if server.get("requests_without"):
        names = ", ".join(server["requests_without"])
        console.print(f"the server does not take {names}: it was asked without", markup=False)
    for reason, count in server.get("no_text", {}).items():
        console.print(f"no text for {count:,} requests: {reason}", markup=False)
    console.print(f"{result['folder']}/programs.json: use it by `cogex apply`", markup=False)


def label(key: str) -> str:
    """Return a way to answer in words, by its key under `test`."""
    name, _, k = key.partition("_k")
    return f"{LABELS[name]}, k = {k}" if k else LABELS[name]
