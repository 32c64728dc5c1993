"""Short runs of a recipe, to be measured: data, a shortened recipe, and a process for each run.

A short run takes a few steps in place of epochs, logs each step, and neither evaluates nor writes
checkpoints. Its rows are a sample: `group_by_length` sorts blocks of fifty steps, longest rows
first, so the first steps would not represent a run. Instead, the rows are sorted beforehand, steps
are taken at equal distances from a block of fifty, and the run reads their rows in that order
(`curriculum_sampling`).
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers.trainer_pt_utils import LengthGroupedSampler

from benchmarks import child
from benchmarks.child import ROOT
from benchmarks.made_cogex import cogex_rows, write_array
from tools.files import write_jsonl
from tools.models import load_recipe_tokenizer
from tools.prepare.cogex import prepare_cogex
from tools.prepared_rows import encode_entry, load_strategy, read_prepared_rows
from tools.recipe import Recipe, read_recipe
from tools.training.batch import accumulation

RECIPES = ROOT / "recipes"
PACKED = RECIPES / "cogex-llama2-7b-packed.yml"
# both give the same result: kept activations cost memory, recomputed ones cost time
KEPT, AGAIN = {"gradient_checkpointing": False}, {"gradient_checkpointing": True}
STEP_ROWS = 32  # examples in an optimizer step
BLOCK = 50  # steps that `group_by_length` sorts at once, where there are four times as many
UNUSED = 4  # validation rows, which a recipe must have
# for so few rows, worker processes take longer to start than to work
ENVIRONMENT = child.ENVIRONMENT | {"AXOLOTL_DATASET_NUM_PROC": "0"}


class RunFailed(Exception):
    """A run gave no result; the message is its last line, or that it took too long."""


def make_rows(folder: Path) -> Path:
    """Write prepared training rows of the published lengths; return their file."""
    write_array(folder / "data.json", cogex_rows(4 * BLOCK * STEP_ROWS + UNUSED))
    prepare_cogex(folder / "data.json", folder / "data", val_size=UNUSED)
    return folder / "data" / "train.jsonl"


def sample_steps(recipe: Recipe, steps: int, path: Path) -> float:
    """Write the rows of some steps of the recipe's rows to `path`, in the order of a run.

    Rows that training would drop as too long are left out. Returns the mean tokens of all rows.
    """
    entry = recipe.training
    tokenizer = load_recipe_tokenizer(recipe)
    rows = read_prepared_rows(Path(entry["path"]), load_strategy(recipe, entry, tokenizer).columns)
    lengths = [len(ids) for ids, _ in encode_entry(recipe, entry, tokenizer)]
    kept = [index for index, length in enumerate(lengths) if length <= recipe.sequence_len]
    seeded = torch.Generator().manual_seed(recipe.values["seed"])
    sampler = LengthGroupedSampler(STEP_ROWS, lengths=[lengths[i] for i in kept], generator=seeded)
    block = [kept[index] for index in sampler][: BLOCK * STEP_ROWS]
    whole = len(block) // STEP_ROWS
    starts = [int((step + 0.5) * whole / steps) * STEP_ROWS for step in range(steps)]
    chosen = [index for start in starts for index in block[start : start + STEP_ROWS]]
    write_jsonl(path, (rows[index] for index in chosen))
    return sum(lengths) / len(lengths)


def write_recipe(path: Path, source: Recipe, data: Path, changes: dict[str, Any]) -> Recipe:
    """Write a recipe shortened to a few steps, with its header; None removes a key."""
    values = source.values | {
        "datasets": [source.training | {"path": str(data)}],
        "test_datasets": None,
        "evals_per_epoch": None,
        "saves_per_epoch": None,
        "save_total_limit": None,
        "eval_strategy": "no",
        "save_strategy": "no",
        "num_epochs": None,
        "logging_steps": 1,
        "group_by_length": None,
        "curriculum_sampling": True,
        "warmup_ratio": None,  # of so few steps Axolotl and transformers make other numbers
        "warmup_steps": 2,
        "dataset_prepared_path": str(path.with_suffix("") / "prepared"),
        "output_dir": str(path.with_suffix("") / "run"),
        **changes,
    }
    kept = {key: value for key, value in values.items() if value is not None}
    header = re.match(r"(#.*\n)*", source.path.read_text(encoding="utf-8"))
    path.write_text((header[0] if header else "") + yaml.safe_dump(kept), encoding="utf-8")
    return read_recipe(path)


def packed() -> dict[str, Any]:
    """What the packed recipe sets otherwise than the recipe that it departs from.

    A pack is as long for every model: as many make a step of about 32 examples.
    """
    other = read_recipe(PACKED)
    faithful = read_recipe(PACKED.with_name("cogex-llama2-7b.yml")).values
    own = {key: value for key, value in other.values.items() if key not in faithful}
    return own | {
        "gradient_checkpointing": other.values["gradient_checkpointing"],
        "curriculum_sampling": None,  # it shuffles, and has no order by length
        "micro_batch_size": other.values["micro_batch_size"],
        "gradient_accumulation_steps": accumulation(other, 1),
    }


def run(contestant: str, recipe: Recipe, *more: str, timeout: float) -> dict[str, Any]:
    """Train by `benchmarks.training_run` in its own process; return its report.

    The output goes to a log beside the recipe. `timeout` is in seconds. Raises RunFailed.
    """
    result = recipe.path.with_suffix(".json")
    command = ["benchmarks.training_run", contestant, str(recipe.path), str(result), *more]
    run_module(command, recipe.path.with_suffix(".log"), result, timeout)
    return json.loads(result.read_text())


def run_module(command: list[str], log: Path, result: Path, timeout: float) -> None:
    """Run a module, which writes the file `result`, within so many seconds. Raises RunFailed."""
    result.unlink(missing_ok=True)
    with log.open("w") as out:
        try:
            command = [sys.executable, "-m", *command]
            subprocess.run(command, env=ENVIRONMENT, stdout=out, stderr=out, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise RunFailed(f"not done within {timeout:.0f} s") from None
    if not result.is_file():
        raise RunFailed(last_words(log.read_text(errors="replace")))


def last_words(log: str) -> str:
    """Return the line of a log that names the error, or its last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Exit)\b.*:", line)]
    return (errors or lines or ["it said nothing"])[-1][:300]
