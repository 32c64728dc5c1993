"""A sweep by Axolotl's own `--sweep`: each of its runs is selected from, and they are compared."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.forked import ENVIRONMENT, start, wait
from tests.engine.small_run import make_runs

RATES = [1e-3, 1e-2]
RUNS = ["outputs/sweep0001", "outputs/sweep0002"]
AXOLOTL = Path(sys.executable).with_name("axolotl")


def cogex(folder: Path, *words: str) -> str:
    [code] = wait(start(folder, "sweep.log", "module", "cogex", *words))
    said = (folder / "sweep.log").read_text(errors="replace")
    assert code == 0, said[-3000:]
    return said


def test_a_sweep_makes_runs_of_one_recipe(engine: Path, tmp_path: Path) -> None:
    run = make_runs(tmp_path, ["run"])["run"]
    run.change({"num_epochs": 1, "plugins": ["tools.training.plugin.CogexPlugin"]})
    (run.folder / "sweep.yml").write_text(f"learning_rate: {RATES}\n")
    done = subprocess.run(
        [AXOLOTL, "train", "recipe.yml", "--sweep", "sweep.yml", "--launcher", "python"],
        cwd=run.folder,
        env=os.environ | ENVIRONMENT | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = {}  # by rate, in an order that Axolotl chooses
    for folder in RUNS:
        output = run.folder / folder
        rate = json.loads((output / "run.json").read_text())["recipe"]["learning_rate"]
        cogex(run.folder, "select", "recipe.yml", "--run", folder)
        selection = json.loads((output / "selection.json").read_text())
        found[rate] = [item["perplexity"] for item in selection["checkpoints"]]
    assert sorted(found) == RATES
    assert found[RATES[0]] != pytest.approx(found[RATES[1]], rel=1e-3)
    said = cogex(run.folder, "compare", *RUNS)
    assert "learning_rate" in said and "sweep0002" in said
