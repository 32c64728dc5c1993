"""Builds the tiny base: `python -m tools.tiny` trains it, `python -m tools.tiny random` does not.

The first writes corpora and skeleton, trains `recipes/tiny-base.yml`, then `-continued.yml` and
`-final.yml` by Axolotl, and puts the weights with their provenance and measured skills into
`models/tiny-base`. The second writes a base of the same shape with random weights, a control of the
demo.
"""

from tools.models import load_tokenizer  # first: it holds back what libraries say on import

# isort: split
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import typer
import yaml
from transformers import AutoConfig, LlamaForCausalLM
from transformers.utils import logging as transformers_logging

from tools.files import sha256, write_json
from tools.tiny.corpus import (
    base_documents,
    continued_documents,
    final_documents,
    write_documents,
)
from tools.tiny.skeleton import write_skeleton
from tools.tiny.skills import measure_skills

BASE, RANDOM = Path("models/tiny-base"), Path("data/tiny/random-base")
RANDOM_SEED = 42


@dataclass(frozen=True)
class Stage:
    """One run of the engine: its recipe, what writes its documents, how many, and the seed."""

    name: str
    documents: Callable[[int, int], Iterator[str]]
    count: int
    seed: int

    @property
    def recipe(self) -> Path:
        """The stage's recipe."""
        return Path(f"recipes/{self.name}.yml")

    @property
    def train(self) -> Path:
        """The stage's training documents."""
        return Path(f"data/{self.name}/train.jsonl")


STAGES = (
    Stage("tiny-base", base_documents, 300_000, 1),
    Stage("tiny-base-continued", continued_documents, 187_200, 11),
    Stage("tiny-base-final", final_documents, 75_600, 21),
)
VAL_DOCUMENTS = 500


def values_sha256(recipe: Path) -> str:
    """Hash the values of a recipe, without `plugins`, which name modules of this project."""
    values = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    values.pop("plugins", None)
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


app = typer.Typer(add_completion=False)


@app.callback(invoke_without_command=True)
def train(context: typer.Context) -> None:
    """Train the tiny base from nothing."""
    if context.invoked_subcommand:
        return
    write_skeleton(BASE)
    for stage in STAGES:
        write_documents(stage.train, stage.documents(stage.count, stage.seed))
        write_documents(
            stage.train.with_name("val.jsonl"), stage.documents(VAL_DOCUMENTS, stage.seed + 1)
        )
        shutil.rmtree(stage.train.with_name("prepared"), ignore_errors=True)  # keyed by recipe
        launch = ["-m", "accelerate.commands.accelerate_cli", "launch", "--cpu"]
        threads = ["--num_cpu_threads_per_process", str(os.cpu_count() or 1)]
        engine = ["-m", "axolotl.cli.train", str(stage.recipe)]
        subprocess.run([sys.executable, *launch, *threads, *engine], check=True)
    adopt()


@app.command()
def adopt() -> None:
    """Put the last stage's weights, their provenance and skills into models/tiny-base."""
    weights = BASE / "model.safetensors"
    shutil.copyfile(f"outputs/{STAGES[-1].name}/model.safetensors", weights)
    stages = [
        {
            "recipe": str(stage.recipe),
            "values_sha256": values_sha256(stage.recipe),
            "documents": stage.count,
            "seed": stage.seed,
            "corpus_sha256": sha256(stage.train),
        }
        for stage in STAGES
    ]
    provenance = {"stages": stages, "weights_sha256": sha256(weights)}
    write_json(BASE / "provenance.json", provenance | {"skills": measure_skills(BASE)})


@app.command()
def random() -> None:
    """Write a base of the same shape with random weights."""
    logging.disable(logging.WARNING)  # DeepSpeed misses a GPU
    transformers_logging.disable_progress_bar()
    torch.manual_seed(RANDOM_SEED)
    LlamaForCausalLM(AutoConfig.from_pretrained(BASE)).save_pretrained(RANDOM)
    load_tokenizer(BASE).save_pretrained(RANDOM)


if __name__ == "__main__":
    app()
