"""Mutates rows, recipes, trainer states and checkpoints: no traceback, no wrong "ok".

    python -m tests.fuzz [COUNT] [SEED]

A quarter of COUNT (20,000 unless given) goes to each. What fails is printed with what was done to
it; exit 1. Not part of `make test`: the same seed gives the same mutations, so a finding becomes a
unit test.
"""

import copy
import json
import math
import os
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import yaml

from tests.unit.recorded_run import RecordedRun
from tools.errors import UserError
from tools.models import load_base
from tools.prepare import prepare_cogex
from tools.recipe import Recipe, read_recipe
from tools.recipe_header import read_header
from tools.rows import read_rows
from validation.curves import curves
from validation.preflight.cards import card_of
from validation.preflight.finding import look
from validation.preflight.plan import check_plan
from validation.preflight.recipe import check_recipe
from validation.runs import ADAPTER, ADAPTER_CONFIG, STATE, checkpoints

ROOT = Path(__file__).parents[1]
ODD = [
    None, True, False, 0, -1, 1, 2, 0.5, 5, 1e-320, 1e308, -1e308, 10**20, 10**400, math.nan,
    math.inf, "NaN", "", "x", "\0", "\ud800", "</s>", "### Code\n", ">>> f(1)", [], {}, [[]],
    {"a": None}, "9" * 5000,
]  # fmt: skip
ROWS_AT_ONCE = 50


class Findings:
    """What came of the mutations, by kind; the first of each kind of failure is shown."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.failed = False

    @contextmanager
    def attempt(self, kind: str, what: Any, times: int = 1) -> Iterator[None]:
        """Count a mutation; a UserError is an answer, another exception a failure."""
        try:
            yield
            self.counts[f"{kind}: answered"] += times
        except UserError:
            self.counts[f"{kind}: refused"] += times
        except Exception as error:
            self.failed = True
            key = f"{kind}: FAILED, {type(error).__name__}"
            if key not in self.counts:
                traceback.print_exc()
                print(key, str(what)[:2000], file=sys.stderr)
            self.counts[key] += times


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key) of everything inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        yield value, key
        if isinstance(inner, dict | list):
            yield from places(inner)


def mutate(rng: random.Random, value: Any) -> Any:
    """Return a copy with one to five places deleted, doubled, scaled or replaced."""
    changed = copy.deepcopy(value)
    for _ in range(rng.choice([1, 1, 2, 5])):
        if not (found := list(places(changed))):
            return changed
        container, key = rng.choice(found)
        act = rng.random()
        if act < 0.15:
            del container[key]
        elif act < 0.25 and isinstance(container, list):
            container.insert(key, copy.deepcopy(container[key]))
        elif act < 0.4 and type(container[key]) in (int, float):
            container[key] *= rng.choice([-1, 0.5, 2, 10, 1.00001])
        else:
            container[key] = copy.deepcopy(rng.choice(ODD))
    return changed


def spoil(rng: random.Random, data: bytes) -> bytes:
    """Return bytes cut short, or with some of them changed."""
    if not data or rng.random() < 0.4:
        return data[: rng.randrange(len(data) + 1)]
    changed = bytearray(data)
    for _ in range(rng.choice([1, 3, 100])):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def fuzz_rows(rng: random.Random, count: int, findings: Findings) -> None:
    """Every row is kept as strings or rejected with a reason; none disappears."""
    sample = json.loads((ROOT / "data/sample/data.json").read_text())
    source, out = Path("rows/data.json"), Path("rows/out")
    source.parent.mkdir()
    for _ in range(0, count, ROWS_AT_ONCE):
        rows = [mutate(rng, rng.choice(sample)) for _ in range(ROWS_AT_ONCE)]
        text = json.dumps(rows).encode()
        source.write_bytes(spoil(rng, text) if rng.random() < 0.1 else text)
        with findings.attempt("row", rows, ROWS_AT_ONCE):
            summary = prepare_cogex(source, out, val_size=2)
            kept = sum(len(read_rows(out / name)) for name in ("train.jsonl", "val.jsonl"))
            rejected = (out / "rejected.jsonl").read_text().count("\n")
            assert summary.read == kept + rejected


def fuzz_recipes(rng: random.Random, count: int, findings: Findings) -> None:
    """A recipe whose learning matters changed is not called sound."""
    recipes = sorted(Path("recipes").glob("*.yml"))
    values = {path: yaml.safe_load(path.read_text()) for path in recipes}
    heads = {path: path.read_text().split("\n\n", 1)[0] for path in recipes}
    for number in range(count):
        path = rng.choice(recipes)
        changed = mutate(rng, values[path])
        target = Path("recipes/fuzzed") / path.name
        target.parent.mkdir(exist_ok=True)
        body = yaml.safe_dump(changed)
        cut = number % len(body) if number % 10 == 0 else len(body)
        target.write_text(f"{heads[path]}\n\n{body[:cut]}")
        with findings.attempt("recipe", changed):
            recipe = read_recipe(target)
            header = read_header(target)
            card = card_of(header.card_gb)
            found = check_recipe(recipe, header, card=card, gpus=header.ranks)
            plan = partial(check_plan, card=card, gpus=header.ranks)
            found += look("plan", "plan", partial(plan, recipe, header, None))
            failed = {item.check for item in found if item.verdict == "fail"}
            if failed <= {"launch line", "output folder"}:  # of the copy
                assert isinstance(recipe.values["seed"], int)
                if recipe.values.get("saves_per_epoch"):  # else it hangs on data, not made here
                    assert recipe.values["save_total_limit"] >= 5


def fuzz_states(rng: random.Random, count: int, findings: Findings) -> None:
    """A state with a loss that is no number, or another learning rate, is not called healthy."""
    Path("state").mkdir()
    os.chdir("state")
    run = RecordedRun(Path())
    recipe = run.write()
    state = recipe.output_dir / STATE
    for _ in range(count):
        changed = mutate(rng, run.state)
        text = json.dumps(changed).encode()
        state.write_bytes(spoil(rng, text) if rng.random() < 0.1 else text)
        with findings.attempt("state", changed):
            result = curves(recipe)
            json.dumps(result, allow_nan=False)
            if result["passed"]:
                logs = json.loads(state.read_text())["log_history"]
                losses = [log["loss"] for log in logs if "loss" in log]
                assert losses and all(0 < loss < math.inf for loss in losses)
    os.chdir("..")


def fuzz_checkpoints(rng: random.Random, count: int, findings: Findings) -> None:
    """A checkpoint is ok only with the bytes of its weights whole, and its own config and state."""
    recipe = _checkpoint_recipe()
    [whole] = recipe.output_dir.glob("checkpoint-*")
    files = {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file()}
    for _ in range(count):
        name = rng.choice([ADAPTER, ADAPTER_CONFIG, STATE])
        if name == ADAPTER or rng.random() < 0.3:
            data = spoil(rng, files[name])
        else:
            data = json.dumps(mutate(rng, json.loads(files[name]))).encode()
        (whole / name).write_bytes(data)
        with findings.attempt("checkpoint", (name, data[:300])):
            [found] = checkpoints(recipe)
            assert found.status in {"ok", "corrupt", "incomplete"}
            assert found.status == "ok" or found.reason
            if found.status == "ok" and name == ADAPTER:
                assert len(data) == len(files[name])  # never one that was cut short
        (whole / name).write_bytes(files[name])


def _checkpoint_recipe() -> Recipe:
    from peft import LoraConfig, get_peft_model

    values = yaml.safe_load(Path("recipes/cogex-tiny.yml").read_text())
    folder = Path(values["output_dir"]) / "checkpoint-24"
    config = LoraConfig(
        r=16,
        lora_alpha=32,
        target_modules=values["lora_target_modules"],
        task_type="CAUSAL_LM",
        init_lora_weights=False,
    )
    get_peft_model(load_base("models/tiny-base"), config).save_pretrained(folder)
    history = [{"step": 24, "epoch": 1.0, "eval_loss": 1.0}]
    state = {"global_step": 24, "epoch": 1.0, "log_history": history}
    (folder / STATE).write_text(json.dumps(state))
    return Recipe(Path("recipes/cogex-tiny.yml"), values)


TARGETS: list[Callable[[random.Random, int, Findings], None]] = [
    fuzz_rows,
    fuzz_recipes,
    fuzz_states,
    fuzz_checkpoints,
]


def main(count: int = 20_000, seed: int = 1) -> int:
    """Run every target in a temporary folder; return the exit status."""
    findings = Findings()
    with tempfile.TemporaryDirectory() as name:
        shutil.copytree(ROOT / "recipes", Path(name) / "recipes")
        (Path(name) / "models").symlink_to(ROOT / "models")
        os.chdir(name)
        for target in TARGETS:
            target(random.Random(f"{seed} {target.__name__}"), count // len(TARGETS), findings)
        os.chdir(ROOT)
    for kind, times in sorted(findings.counts.items()):
        print(f"{times:7,} {kind}")
    return 1 if findings.failed else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
