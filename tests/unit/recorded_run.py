"""A run of the engine as it logged itself, in a folder of its own, to plant faults into.

fixtures/trainer_state.json is what a run on 328 rows for 5 epochs left, its batch of 32 in two
micro batches; memory and run times are left out of it.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.recipe import Recipe, read_recipe
from validation.curves.curves import curves

STATE = Path(__file__).parent / "fixtures" / "trainer_state.json"
ROWS = 328

RECIPE = """# The recipe of the recorded run, without what the curves do not ask for.
#
# Needs:    the recorded state
# Launch:   accelerate launch --cpu -m axolotl.cli.train recipe.yml
# Hardware: two CPU cores
# Time:     two minutes

datasets:
  - path: train.jsonl
    type: prompt_strategies.cogex
sequence_len: 512
examples_per_step: 32
micro_batch_size: 16
num_epochs: 5
learning_rate: 2e-3
lr_scheduler: cosine
warmup_ratio: 0.1
max_grad_norm: 1.0
output_dir: run
"""

Log = dict[str, Any]


class RecordedRun:
    """The recorded state, its logs by kind, and what the curves say of it after a change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state: dict[str, Any] = json.loads(STATE.read_text())
        self.recipe_text = RECIPE
        self.rows = ROWS

    @property
    def history(self) -> list[Log]:
        return self.state["log_history"]

    @property
    def training(self) -> list[Log]:
        return [log for log in self.history if "loss" in log]

    @property
    def evaluations(self) -> list[Log]:
        return [log for log in self.history if "eval_loss" in log]

    def change(self, key: str, value: Callable[[Log], Any]) -> None:
        """Set a key of every training log."""
        for log in self.training:
            log[key] = value(log)

    def set_evaluations(self, *losses: float) -> None:
        for log, loss in zip(self.evaluations, losses, strict=True):
            log["eval_loss"] = loss

    def at(self, step: int) -> Log:
        """The training log of a step."""
        [log] = [log for log in self.training if log["step"] == step]
        return log

    def stop(self, step: int) -> None:
        """Let the state be the one that was written at this step."""
        self.state["global_step"] = step
        self.state["log_history"] = [
            log for log in self.history if log["step"] <= step and "train_runtime" not in log
        ]

    def write(self) -> Recipe:
        """Write recipe, rows and state; the working folder must be the run's."""
        (self.folder / "run").mkdir(exist_ok=True)
        (self.folder / "train.jsonl").write_text("{}\n" * self.rows)
        (self.folder / "recipe.yml").write_text(self.recipe_text)
        (self.folder / "run" / "trainer_state.json").write_text(json.dumps(self.state))
        return read_recipe(Path("recipe.yml"))

    def judge(self) -> dict[str, dict[str, str]]:
        """Return the verdicts by name."""
        return {row["name"]: row for row in curves(self.write())["verdicts"]}

    def failing(self) -> set[str]:
        return {name for name, check in self.judge().items() if check["verdict"] == "fail"}
