"""One short run of each kind of recipe, each in a working folder of its own with a tiny base."""

import json
import re
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.engine.cpu_overrides import overrides
from tests.engine.forked import ROOT, start, two_at_once, wait
from tests.engine.tiny_bases import write_base, write_base_in_4_bits, write_code_base
from tests.made_arxivdl import made_rows
from tools.code.tasks import SYNTHETIC, own_tasks
from tools.files import write_json, write_jsonl
from tools.prepare.alpaca import prepare_alpaca
from tools.prepare.arxivdl import prepare_arxivdl
from tools.prepare.arxivdl_source import open_stream
from tools.prepare.cogex import prepare_cogex
from tools.prepared_rows import read_prepared_rows
from tools.recipe import Recipe, read_recipe
from tools.recipe_header import read_header
from tools.tiny.corpus import (
    base_documents,
    continued_documents,
    final_documents,
    write_documents,
)

ARXIVDL = "arxivdl-llama3.1-8b-qlora-200"
NO_RECIPES = {"accelerate", "deepspeed"}
NOT_RUN = re.compile(
    r"cogex-tiny(-random)?"  # test_demo runs these whole
    r"|.*-smollm2-135m(-level\d)?"  # test_real_model trains the first on its own base
    r"|.*-13b(-qlora|-fsdp2)?|cogex-codellama-7b"  # as Llama-2's of 7b
    r"|code-(base|lora)-(tiny|52m|88m|105m)|tiny-base-continued"  # as 29m's, as -final
    r"|cogex-(llama3.1-8b-qlora|qwen3-4b-qlora|smollm3-3b)"  # their fellows stand for them
    rf"|(?!{ARXIVDL}$)arxivdl-.*"
)
ALL = {
    path.stem: read_recipe(path)
    for path in sorted((ROOT / "recipes").rglob("*.yml"))
    if path.parent.name not in NO_RECIPES
}
# what is not run differs from what is in size or data alone: tests/unit/repository
RECIPES = {name: recipe for name, recipe in ALL.items() if not NOT_RUN.fullmatch(name)}
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


@dataclass(frozen=True)
class DemoRun:
    """The folder in which the demo ran, what it wrote as JSON, and what it printed."""

    folder: Path
    result: dict[str, Any]
    printed: str


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
        return (self.folder / "engine.log").read_text(errors="replace")

    def train(self) -> None:
        recipe = str(self.recipe.path.relative_to(ROOT))
        on_cpu = "--cpu" in read_header(self.recipe.path).fields["Launch"]
        environment = {"ACCELERATE_USE_CPU": "true"} if on_cpu else {}  # as accelerate sets it
        wait(start(self.folder, "engine.log", "watched", recipe, self.overrides, **environment))

    @property
    def checkpoint(self) -> Path:
        return self.folder / self.recipe.output_dir / f"checkpoint-{self.overrides['max_steps']}"


def run_recipes(folder: Path) -> dict[str, RecipeRun]:
    """Run every recipe, and one without each of the overrides in NEEDED."""
    _write_data(folder / "data")
    runs = {name: (recipe, overrides(recipe)) for name, recipe in RECIPES.items()}
    for key, (name, _) in NEEDED.items():
        changes = {k: v for k, v in overrides(ALL[name]).items() if k != key}
        runs[f"without {key}"] = ALL[name], changes
    made = {
        name: RecipeRun(_working_folder(folder, name, recipe), recipe, changes)
        for name, (recipe, changes) in runs.items()
    }
    two_at_once({name: run.train for name, run in made.items()})
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
    rows_file = folder.with_name("rows.jsonl")
    write_jsonl(rows_file, list(made_rows(700)))
    prepare_arxivdl(
        open_stream(rows_file),
        folder / "arxivdl",
        sizes=[200],
        val_size=VALIDATION_ROWS,
        test_size=20,
    )
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
    elif name == RECIPES[ARXIVDL].base_model:
        write_base_in_4_bits("meta-llama/Llama-3.1-8B", folder)
    else:
        write_base(name, folder)
    return folder
