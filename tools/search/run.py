"""`cogex search`: from a task card and a model to programs.json, with the baselines."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tools.backend import Backend, Served, Server, weights_hash
from tools.errors import UserError
from tools.files import sha256, write_json
from tools.intervals import paired
from tools.recipe import read_recipe
from tools.search import baselines
from tools.search.candidates import PLAN, PROGRAM
from tools.search.cotacs import search
from tools.search.data import Task, load_task
from tools.search.leaves import VARIANTS, of_leaves
from tools.search.scoring import Scorer, Settings
from tools.search.store import Store
from tools.search.sweep import swept
from tools.server_answer import by_reason

NAME = "programs.json"
# the ways to answer that a search tests, by their keys in programs.json
LABELS = {
    "cotacs": "CoTACS",
    "end_to_end": "end to end",
    "plan": "NL plans",
    "zero_shot": "base, 0-shot",
    "two_shot_bm25": "base, 2-shot BM25",
    "few_shot_bm25": "base, BM25, best on dev",
    "thoughts": "base, CoT, 0-shot",
    "thoughts_by_example": "base, CoT, few-shot",
    "own_prompt": "base, the card's prompt",
}


@dataclass(frozen=True)
class Target:
    """The model to search with, in this process or behind a server.

    Without an `endpoint`, `recipe` (its best/) or `model` (a folder) is loaded. With one, they only
    provide the tokenizer, so that prompts are sent as token ids; `served_model`, `served_base` and
    `served_plan` are the server's names of the model, its base, and the model that was trained on
    NL plans. With `unseeded` the server gets no seed.
    """

    recipe: Path | None = None
    model: Path | None = None
    endpoint: str | None = None
    served_model: str | None = None
    served_base: str | None = None
    served_plan: str | None = None
    concurrency: int = 16
    unseeded: bool = False

    def __post_init__(self) -> None:
        if self.recipe and self.model:
            raise UserError("--recipe and --model: name one of them")
        if not (self.recipe or self.model or self.endpoint):
            raise UserError("name the model: --recipe RECIPE, --model PATH or --endpoint URL")
        if (self.served_model or self.served_base or self.served_plan) and not self.endpoint:
            raise UserError(
                "--served-model, --served-base and --served-plan name models of an --endpoint"
            )

    @property
    def folder(self) -> Path:
        """The folder of the searches with this model."""
        run = read_recipe(self.recipe).output_dir if self.recipe else Path("outputs")
        return run / "search"

    def open(self) -> tuple[Backend, Backend | None]:
        """Return the model and its base as backends; None for an unknown base."""
        if self.endpoint is not None:
            base = self._served(self.served_base) if self.served_base else None
            return self._served(self.served_model), base
        from tools.in_process import base_of, load_in_process  # it takes seconds to import

        backend = load_in_process(self.recipe or self.model or Path())
        return backend, base_of(backend)

    def open_plan(self) -> Backend:
        """Return the model that was trained on NL plans. Raises UserError if there is none."""
        if self.endpoint is not None:
            if not self.served_plan:
                raise UserError("name the model that was trained on them by --served-plan")
            return self._served(self.served_plan)
        if self.plan_recipe is None:
            raise UserError("no recipe NAME-plan.yml beside --recipe was trained and selected")
        from tools.in_process import load_in_process

        return load_in_process(self.plan_recipe)

    @property
    def plan_recipe(self) -> Path | None:
        """The recipe that trains NL plans on the same base, if it was trained and selected."""
        if self.recipe is None or self.endpoint is not None:
            return None
        plan = self.recipe.with_name(f"{self.recipe.stem}-plan{self.recipe.suffix}")
        trained = plan.is_file() and (read_recipe(plan).output_dir / "best").is_dir()
        return plan if trained else None

    def _served(self, name: str | None) -> Served:
        server = Server(self.endpoint or "", name, self.concurrency, self.unseeded)
        return server.open(self.recipe or self.model)


def run_search(
    card: Path,
    target: Target,
    settings: Settings,
    out: Path | None = None,
    *,
    sweep: bool = False,
    leaves: bool = False,
    max_calls: int | None = None,
    tell: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """Search for a program for a task, test it beside the baselines, and write programs.json.

    An interrupted search resumes, and a finished one is read from its file; the same settings give
    the same bytes. With `sweep` every candidate is scored on every row, and sweep.json says what
    fewer candidates and rows would have found (`tools.search.sweep`). With `leaves` leaves.json
    says what the undefined functions do (`tools.search.leaves`). `tell` hears first how many calls
    it may take; no more than `max_calls` are made. Raises UserError if card, data or model cannot
    be used, if nothing usable is generated, or if the calls are used up.
    """
    if sweep:
        settings = replace(settings, strategy="exhaustive")
    task = load_task(card)
    folder = out or target.folder / task.name
    asked = _asked(card, task, target, settings)
    if not (sweep or leaves) and (known := _finished(folder / NAME, asked)):
        tell(f"Searched before: read from {folder / NAME}")
        return known | {"folder": str(folder)}
    backend, base = target.open()
    store = Store(folder, max_calls)
    store.plan = _plan(task, settings, base is not None, sweep, leaves)
    tell(_most_calls(task, store.plan))
    scorer = Scorer(task, PROGRAM, backend, store, settings)
    try:
        result = _search(scorer, base, card, target)
        result = {"asked": asked, **result}
        write_json(folder / NAME, result)
        if sweep:
            result["sweep"] = swept(scorer, result)
            write_json(folder / "sweep.json", result["sweep"])
        if leaves:
            result["leaves"] = of_leaves(scorer, result)
            write_json(folder / "leaves.json", result["leaves"])
    except KeyboardInterrupt:
        tell(f"Stopped. {store.path} keeps what was made; the same command goes on from there.")
        raise
    return result | {"folder": str(folder)}


def _search(scorer: Scorer, base: Backend | None, card: Path, target: Target) -> dict[str, Any]:
    store, plan = scorer.store, dict(scorer.store.plan)
    store.enter("train", plan["train"])
    try:
        found = search(scorer)
    except UserError as error:
        reasons = by_reason(store.without_text).items()
        told = "; ".join(f"{count} times: {reason}" for reason, count in reasons)
        raise UserError(f"{error} The server gave no text {told}" if told else f"{error}") from None
    store.enter("test", plan["test"])
    test = _test(scorer, found, "cotacs")
    test["end_to_end"] = baselines.end_to_end(scorer)
    left_out: list[str] = []
    if base is not None:
        made, left_out = _of_base(scorer, base, card)
        test |= made
    elif target.endpoint:
        left_out.append("what the base answers: name it by --served-base")
    else:
        left_out.append("what the base answers: this is a whole model, without an adapter")
    try:  # without a baseline the programs are still of use
        test |= _search_plans(scorer, target)
    except UserError as error:
        left_out.append(f"NL plans: {error}")
    _compare(test)
    result = {
        "task": _describe(scorer.task, card),
        "model": {"target": _named(target), **scorer.backend.identity},
        "settings": asdict(scorer.settings),
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
    return result


def _of_base(scorer: Scorer, base: Backend, card: Path) -> tuple[dict[str, Any], list[str]]:
    """Return what the base answers, by the way it is asked, and what cannot be asked."""
    test = {
        "zero_shot": baselines.prompted(scorer, base, 0),
        "two_shot_bm25": baselines.prompted(scorer, base, baselines.PAPER_SHOTS),
        "few_shot_bm25": baselines.best_prompted(scorer, base),
        "thoughts": baselines.chain_of_thought(scorer, base),
    }
    left_out = []
    if scorer.task.card.chains:
        test["thoughts_by_example"] = baselines.chain_of_thought_by_example(scorer, base)
    else:
        left_out.append(f"{LABELS['thoughts_by_example']}: {card} gives no `chains`")
    if scorer.task.card.prompt:
        test["own_prompt"] = baselines.engineered(scorer, base, card)
    else:
        left_out.append(f"{LABELS['own_prompt']}: {card} gives no `prompt`")
    return test, left_out


def _compare(test: dict[str, Any]) -> None:
    """Hold each way to answer against the kept programs, on the same rows."""
    kept = [key for key in test if key.startswith("cotacs")][-1]
    right = {key: [bit == "1" for bit in item["by_row"]] for key, item in test.items()}
    for key, item in test.items():
        if key != kept:
            item["against"] = {"of": kept, **paired(right[kept], right[key])}


def _asked(card: Path, task: Task, target: Target, settings: Settings) -> str:
    """The SHA-256 of all that a search depends on, as far as it can be told without the model."""
    folders = [] if target.endpoint or target.model is None else [target.model]
    if target.endpoint is None:
        recipes = filter(None, (target.recipe, target.plan_recipe))
        folders += [read_recipe(recipe).output_dir / "best" for recipe in recipes]
    weights = [weights_hash(folder) for folder in folders if folder.is_dir()]
    options = {key: str(value) for key, value in asdict(target).items()}
    decisive = [sha256(card), task.fingerprint, asdict(settings), options, weights]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _finished(path: Path, asked: str) -> dict[str, Any] | None:
    """Return the result of the same search; None if it is not there, or lacks texts of a server."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(known, dict) or known.get("asked") != asked:
        return None
    return None if known.get("server", {}).get("no_text") else known


def _plan(task: Task, settings: Settings, base: bool, sweep: bool, leaves: bool) -> dict[str, int]:
    """How many calls each part takes at most; the race and duplicates spare most of them."""
    train, dev, test = len(task.train), len(task.dev), len(task.test)
    tries = settings.tries * train
    shots = sum(number <= train for number in baselines.SHOTS)
    of_base = (
        9 * test + 2 * shots * dev + test * (bool(task.card.chains) + 2 * bool(task.card.prompt))
    )
    plan = {"train": tries + tries * train, "dev": train * dev}
    plan["test"] = test * (settings.top + 1) + base * of_base
    if sweep:
        plan["sweep"] = train * test
    if leaves:
        plan["leaves"] = test * settings.top * len(VARIANTS)
    return plan


def _most_calls(task: Task, plan: dict[str, int]) -> str:
    told = {
        "train": f"to write candidates and score them on {len(task.train):,} training rows",
        "dev": f"to score them on {len(task.dev):,} dev rows",
        "test": "for the test with its baselines",
        "sweep": "to score every candidate on the test rows",
        "leaves": "for programs with other leaves",
    }
    parts = ", ".join(f"{most:,} {told[part]}" for part, most in plan.items())
    return f"At most {sum(plan.values()):,} calls, without NL plans: {parts}"


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


def _search_plans(scorer: Scorer, target: Target) -> dict[str, Any]:
    backend = target.open_plan()
    plans = replace(scorer, form=PLAN, backend=backend)
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
        "lengths": [row.length for row in task.test] if task.card.length else None,
    }


def _named(target: Target) -> dict[str, Any]:
    """The options that named the model, from which `cogex apply` finds it again."""
    names = ("recipe", "model", "endpoint", "served_model")
    return {name: str(getattr(target, name)) for name in names if getattr(target, name)}
