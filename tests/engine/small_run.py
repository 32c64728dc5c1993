"""A small run of the tiny recipe in a folder of its own, launched as users do."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.engine.forked import ROOT, start, wait
from tools.prepare.cogex import prepare_cogex
from tools.recipe import Recipe, read_recipe
from tools.tiny.corpus import write_cogex_rows

STEP_ROWS, VALIDATION_ROWS = 8, 8  # examples in each optimizer step
STEPS_OF_AN_EPOCH = 4
CHANGES = {
    "examples_per_step": STEP_ROWS,
    "micro_batch_size": STEP_ROWS,
    "eval_batch_size": VALIDATION_ROWS,
    "validation_rows": VALIDATION_ROWS,
    "num_epochs": 2,
    "evals_per_epoch": 2,  # after steps 2, 4, 6 and 8: within an epoch and at its end
    "saves_per_epoch": 2,
    "logging_steps": 1,
    "output_dir": "outputs",
    "plugins": ["tools.training.plugin.CogexPlugin", "tests.engine.faults.Faults"],
}


@dataclass(frozen=True)
class Launched:
    """How a launch ended, and what it printed."""

    code: int | None
    printed: str


@dataclass(frozen=True)
class Run:
    """A working folder with recipe, data and base, as a user has them."""

    folder: Path

    @property
    def recipe(self) -> Recipe:
        return read_recipe(self.folder / "recipe.yml")

    @property
    def output(self) -> Path:
        return self.folder / "outputs"

    @property
    def checkpoints(self) -> list[str]:
        return sorted(path.name for path in self.output.glob("*checkpoint-*"))

    def change(self, values: dict[str, Any], name: str = "recipe") -> None:
        """Write the recipe with some keys changed, under this or another name."""
        text = (self.folder / "recipe.yml").read_text()
        header, _, body = text.partition("\n\n")
        changed = yaml.safe_dump(yaml.safe_load(body) | values)
        (self.folder / f"{name}.yml").write_text(f"{header}\n\n{changed}")

    def launch(self, *options: str, fault: str = "") -> Launched:
        """Give the one command that starts and goes on; the home folder is the run's own."""
        places = {"HOME": self.folder / "home", "TRACKIO_DIR": "trackio"}
        process = start(self.folder, "engine.log", "command", *options, FAULT=fault, **places)
        [code] = wait(process)
        return Launched(code, (self.folder / "engine.log").read_text(errors="replace"))


def make_runs(folder: Path, names: Iterable[str]) -> dict[str, Run]:
    """Make equal working folders."""
    first = Run(folder / "first")
    first.folder.mkdir()
    for name in ("models", "recipes"):
        (first.folder / name).symlink_to(ROOT / name)
    rows = STEP_ROWS * STEPS_OF_AN_EPOCH + VALIDATION_ROWS
    write_cogex_rows(first.folder / "data.json", rows, seed=1)
    prepare_cogex(first.folder / "data.json", first.folder / "data/tiny", val_size=VALIDATION_ROWS)
    shutil.copyfile(ROOT / "recipes/cogex-tiny.yml", first.folder / "recipe.yml")
    first.change(CHANGES)
    runs = {name: Run(folder / name) for name in names}
    for run in runs.values():
        shutil.copytree(first.folder, run.folder, symlinks=True)
    return runs
