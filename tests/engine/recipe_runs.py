"""One short run of every recipe, each in a working folder of its own with a tiny base."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.engine.cpu_overrides import overrides
from tests.engine.tiny_bases import write_base, write_code_base
from tools.code.tasks import SYNTHETIC, own_tasks
from tools.files import write_json, write_jsonl
from tools.prepare.alpaca import prepare_alpaca
from tools.prepare.cogex import prepare_cogex
from tools.prepared_rows import read_prepared_rows
from tools.recipe import Recipe, read_recipe
from tools.tiny.corpus import (
    base_documents,
    continued_documents,
    final_documents,
    write_documents,
)

ROOT = Path(__file__).parents[2]
NO_RECIPES = {"accelerate", "deepspeed"}
NOT_RUN = re.compile(
    r"cogex-tiny(-random)?"  # test_demo runs these whole
    r"|code-(base|lora)-(tiny|52m|88m|105m)"  # as 29m's, but in size: test_code_recipes
    r"|arxivdl-.*"  # test_arxivdl runs one of them, test_arxivdl_recipes compares the others
)
RECIPES = {
    path.stem: read_recipe(path)
    for path in sorted((ROOT / "recipes").rglob("*.yml"))
    if path.parent.name not in NO_RECIPES and not NOT_RUN.fullmatch(path.stem)
}
# overrides without which the engine stops: a recipe that shows it, and what it then says
NEEDED = {
    "bf16": ("cogex-llama2-7b", "bf16/gpu"),
    "tf32": ("cogex-llama2-7b", "--tf32 requires"),
    "deepspeed": ("cogex-llama2-7b", "distributed|nccl"),
    "fsdp_config": ("cogex-llama2-13b-fsdp2", "only works in distributed"),
    "lora_o_kernel": ("cogex-llama2-7b-qlora", "cuda|nvidia|getCurrentStream"),
}
VALIDATION_ROWS = 7  # no multiple of a batch, so that a dropped last batch shows
CORPORA = {
    "tiny-base": base_documents,
    "tiny-base-continued": continued_documents,
    "tiny-base-final": final_documents,
}
ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",  # there are as many runs at once as cores
    "TOKENIZERS_PARALLELISM": "false",
    "AXOLOTL_DATASET_NUM_PROC": "0",  # no new processes for so few rows
}


@dataclass(frozen=True)
class RecipeRun:
    """A run: its working folder, its recipe, and the overrides that it was run with."""

    folder: Path
    recipe: Recipe
    overrides: dict[str, Any]

    @cached_property
    def report(self) -> dict[str, Any]:
        """What `tests.engine.watched_run` saw, or `error`."""
        report = self.folder / "report.json"
        return json.loads(report.read_text()) if report.is_file() else {"error": "no report"}

    @property
    def log(self) -> str:
        """The engine's output, or that of a child which died before it started."""
        own = self.folder / "engine.log"
        path = own if own.is_file() else self.folder.parents[1] / "child.log"
        return path.read_text(errors="replace")

    @property
    def checkpoint(self) -> Path:
        return self.folder / self.recipe.output_dir / f"checkpoint-{self.overrides['max_steps']}"


def run_recipes(folder: Path) -> dict[str, RecipeRun]:
    """Run every recipe, and one without each of the overrides in NEEDED, all in one child."""
    _write_data(folder / "data")
    runs = {name: (recipe, overrides(recipe)) for name, recipe in RECIPES.items()}
    for key, (name, _) in NEEDED.items():
        recipe, changes = runs[name]
        runs[f"without {key}"] = recipe, {k: v for k, v in changes.items() if k != key}
    made = {
        name: RecipeRun(_working_folder(folder, name, recipe), recipe, changes)
        for name, (recipe, changes) in runs.items()
    }
    jobs = [
        {
            "folder": str(run.folder),
            "recipe": str(run.recipe.path.relative_to(ROOT)),
            "overrides": run.overrides,
        }
        for run in made.values()
    ]
    write_json(folder / "jobs.json", jobs)
    environment = os.environ | ENVIRONMENT | {"HF_HOME": str(folder / "huggingface")}
    child = [sys.executable, "-m", "tests.engine.train_recipes", str(folder / "jobs.json")]
    with (folder / "child.log").open("w") as log:
        subprocess.run(child, cwd=ROOT, env=environment, stdout=log, stderr=log)
    return made


def _write_data(folder: Path) -> None:
    """Prepare the data that recipes name from the sample of CoGEX, and the tiny base's corpora."""
    cogex = folder / "cogex"
    prepare_cogex(ROOT / "data/sample/data.json", cogex, val_size=VALIDATION_ROWS)
    rows = [row for name in ("train", "val") for row in read_prepared_rows(cogex / f"{name}.jsonl")]
    write_json(folder / "alpaca_data.json", rows)  # with the fields of Alpaca, and more
    prepare_alpaca(folder / "alpaca_data.json", folder / "alpaca", val_size=VALIDATION_ROWS)
    for name, documents in CORPORA.items():
        write_documents(folder / name / "train.jsonl", documents(len(rows), seed=1))
        write_documents(folder / name / "val.jsonl", documents(VALIDATION_ROWS, seed=2))
    tasks = [task.row for task in own_tasks(SYNTHETIC)[: len(rows)]]
    for name, part in (("val", tasks[:VALIDATION_ROWS]), ("train", tasks[VALIDATION_ROWS:])):
        write_jsonl(folder / "code" / f"{name}.jsonl", part)
        texts = (task["prompt"] + task["solution"] for task in part)
        write_documents(folder / "python-corpus" / f"{name}.jsonl", texts)


def _working_folder(shared: Path, name: str, recipe: Recipe) -> Path:
    """Make what a recipe finds in the repository's folder, its base under the base's own name."""
    folder = shared / "runs" / name
    shutil.copytree(shared / "data", folder / "data")
    for name in ("recipes", "models"):
        (folder / name).symlink_to(ROOT / name)
    base = folder / recipe.base_model
    if not base.exists():
        base.parent.mkdir(parents=True, exist_ok=True)
        base.symlink_to(_base(shared, recipe.base_model))
    return folder


def _base(shared: Path, name: str) -> Path:
    """Return the folder of a base: the tiny one stands for what an earlier stage would leave."""
    folder = shared / "bases" / name
    if folder.is_dir():
        return folder
    if "code-base" in name:
        write_code_base(folder, shared / "data/python-corpus/train.jsonl")
    elif name.startswith("outputs/"):
        return ROOT / "models/tiny-base"
    else:
        folder.mkdir(parents=True)
        write_base(name, folder)
    return folder
