"""A recipe with `lora_model_dir` goes on from another recipe's adapter, as a curriculum does."""

import json
import math
from pathlib import Path

import pytest

from tests.engine.forked import ROOT
from tests.engine.small_run import Run, make_runs
from tools.recipe import read_recipe


def evaluations(run: Run, output: str) -> list[float]:
    """The trainer's validation losses, in the order of the steps."""
    state = run.folder / output / "checkpoint-4" / "trainer_state.json"
    log = json.loads(state.read_text())["log_history"]
    return [entry["eval_loss"] for entry in log if "eval_loss" in entry]


def test_training_goes_on_from_the_adapter_of_the_level_before(
    engine: Path, tmp_path: Path
) -> None:
    run = make_runs(tmp_path, ["run"])["run"]
    once = {"num_epochs": 1, "learning_rate": 1e-2,
            "plugins": ["tools.training.plugin.CogexPlugin"]}  # fmt: skip
    run.change(once | {"output_dir": "one"})
    assert run.launch().code == 0
    run.change(once | {"output_dir": "two", "lora_model_dir": "one/checkpoint-4"})
    assert run.launch().code == 0
    one, two = evaluations(run, "one"), evaluations(run, "two")
    assert one[-1] != pytest.approx(one[0], rel=1e-2)  # so that the next line says something
    assert two[0] == pytest.approx(one[-1], rel=1e-4)  # before its first step
    assert math.isfinite(two[-1]) and two[-1] != two[0]


def test_each_level_goes_on_from_the_one_before() -> None:
    levels = [read_recipe(ROOT / f"recipes/code-lora-smollm2-135m-level{n}.yml") for n in (1, 2, 3)]
    starts = [recipe.values.get("lora_model_dir") for recipe in levels]
    assert starts == [None, *(f"{recipe.output_dir}/best" for recipe in levels[:2])]
