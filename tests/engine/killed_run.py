"""A small run of the tiny recipe, launched as users do, that can be killed at a given moment."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

from tools.prepare.cogex import prepare_cogex
from tools.recipe import Recipe, read_recipe
from tools.tiny.corpus import write_cogex_rows

ROOT = Path(__file__).parents[2]
ROWS, VALIDATION_ROWS = 160, 32  # four steps an epoch
CHANGES = {
    "num_epochs": 2,
    "evals_per_epoch": 2,  # after steps 2, 4, 6 and 8: within an epoch and at its end
    "saves_per_epoch": 2,
    "logging_steps": 1,
    "output_dir": "outputs",
    "plugins": ["tools.training.plugin.CogexPlugin", "tests.engine.killer.Killer"],
}
COMMAND = [
    *(sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--cpu"),
    *("--num_cpu_threads_per_process", "1", "-m", "axolotl.cli.train", "recipe.yml"),
]
ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",  # the same sums in the same order, and two runs at once
    "TOKENIZERS_PARALLELISM": "false",
    "AXOLOTL_DATASET_NUM_PROC": "0",
    "PYTHONPATH": str(ROOT),  # for tests.engine.killer
}


@dataclass(frozen=True)
class Launched:
    """How a launch ended, and what it printed."""

    code: int
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

    def launch(self, *options: str, kill: str = "") -> Launched:
        """Give the one command that starts and goes on."""
        done = subprocess.run(
            [*COMMAND, *options],
            cwd=self.folder,
            env=os.environ | ENVIRONMENT | {"KILL": kill},
            start_new_session=True,  # what is killed is this process group alone
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        return Launched(done.returncode, done.stdout)


def make_runs(folder: Path, names: list[str]) -> dict[str, Run]:
    """Make equal working folders."""
    first = folder / names[0]
    first.mkdir()
    (first / "models").symlink_to(ROOT / "models")
    write_cogex_rows(first / "data.json", ROWS, seed=1)
    prepare_cogex(first / "data.json", first / "data/tiny", val_size=VALIDATION_ROWS)
    text = (ROOT / "recipes/cogex-tiny.yml").read_text()
    header = text[: text.index("\n\n")]
    (first / "recipe.yml").write_text(
        f"{header}\n\n{yaml.safe_dump(yaml.safe_load(text) | CHANGES)}"
    )
    for name in names[1:]:
        shutil.copytree(first, folder / name, symlinks=True)
    return {name: Run(folder / name) for name in names}


def two_at_once[T](jobs: dict[str, Callable[[], T]]) -> dict[str, T]:
    """Do every job, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(jobs, pool.map(lambda job: job(), jobs.values()), strict=True))
