"""Times `cogex select` beside the two other ways to score the checkpoints of a run.

    python -m benchmarks.selecting [--rows 6] [--checkpoints 5] [--hidden 768] [--layers 12]
                                   [--json FILE]

In a temporary folder it makes a Llama of random weights (110 M parameters unless told otherwise)
with a real SentencePiece vocabulary of 32,000, COGEX rows of the published length
(`benchmarks.made_cogex`), and adapters of random weights. Then, one after the other:

- `cogex select`: the base and every checkpoint are scored, the winner a second time in best/
- `axolotl evaluate`, one process for each checkpoint. It also scores the training rows, so it gets
  a single one here, which makes it look faster
- `Trainer.evaluate` of transformers in one process, the base loaded once

All on the CPU with the same rows. Prints seconds, ratios, and the losses side by side.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.child import ROOT, measure
from benchmarks.made_cogex import cogex_rows, write_array
from benchmarks.made_llama import make_llama, write_checkpoint
from tools.files import write_json
from tools.prepare.cogex import prepare_cogex
from tools.recipe import Recipe, read_recipe
from tools.run_folder import checkpoint_folders

RECIPE = Path("recipe.yml")
BATCH = 4  # of evaluation, as in the paper's recipes


def main(
    rows: Annotated[int, typer.Option(help="Validation rows.")] = 6,
    checkpoints: Annotated[int, typer.Option(help="Adapters to choose from.")] = 5,
    hidden: Annotated[int, typer.Option(help="Width of the model.")] = 768,
    layers: Annotated[int, typer.Option(help="Layers of the model.")] = 12,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures here.")
    ] = None,
) -> None:
    """Make everything, time the three, print the table."""
    out = json_path.resolve() if json_path else None
    with tempfile.TemporaryDirectory() as name, chdir(name):
        recipe = make_run(rows, checkpoints, hidden, layers)
        seconds, losses = {}, {}
        for contestant, run in (
            ("cogex select", select),
            ("axolotl evaluate, each", axolotl_evaluate),
            ("Trainer.evaluate, one process", trainer_evaluate),
        ):
            losses[contestant], seconds[contestant] = timed(run, recipe)
    show(seconds, losses)
    if out:
        runs = {
            name: {"seconds": value, "loss of the first checkpoint": losses[name][0]}
            for name, value in seconds.items()
        }
        write_json(out, {"figures": runs})


def make_run(rows: int, checkpoints: int, hidden: int, layers: int) -> Recipe:
    """Make base, data, recipe and checkpoints as a training run would leave them."""
    make_llama(Path("base"), hidden, layers)
    write_array(Path("data.json"), cogex_rows(rows * 4))
    prepare_cogex(Path("data.json"), Path("data"), val_size=rows)
    first = Path("data/train.jsonl").read_text().split("\n", 1)[0]
    Path("data/one.jsonl").write_text(first + "\n")
    recipe = _write_recipe()
    for number in range(1, checkpoints + 1):
        folder = recipe.output_dir / f"checkpoint-{number}"
        write_checkpoint(folder, "./base", recipe.values, number)
    return recipe


def _write_recipe() -> Recipe:
    """The paper's recipe on the base made here, on the CPU."""
    values = yaml.safe_load((ROOT / "recipes" / "cogex-llama2-7b.yml").read_text())
    for key in ("deepspeed", "special_tokens", "tf32", "auto_resume_from_checkpoints"):
        values.pop(key)
    values["datasets"][0]["path"] = "data/one.jsonl"
    values["test_datasets"][0]["path"] = "data/val.jsonl"
    values |= {
        "base_model": "./base", "bf16": False, "gradient_checkpointing": False,
        "lora_qkv_kernel": False, "lora_o_kernel": False, "lora_mlp_kernel": False,
        "dataset_prepared_path": "prepared", "output_dir": "run", "eval_batch_size": BATCH,
        "micro_batch_size": 1, "gradient_accumulation_steps": 1, "plugins": [],
    }  # fmt: skip
    RECIPE.write_text(yaml.safe_dump(values))
    return read_recipe(RECIPE)


def timed(run: Callable[[Recipe], list[float]], recipe: Recipe) -> tuple[list[float], float]:
    """What a contestant found, and its seconds."""
    start = time.perf_counter()
    found = run(recipe)
    return found, time.perf_counter() - start


def select(recipe: Recipe) -> list[float]:
    """Run `cogex select`; return the exact mean NLL of each checkpoint."""
    measure([sys.executable, "-m", "cogex", "select", str(recipe.path)])
    found = json.loads((recipe.output_dir / "selection.json").read_text())["checkpoints"]
    return [item["nll_sum"] / item["tokens"] for item in found]


def axolotl_evaluate(recipe: Recipe) -> list[float]:
    """Run Axolotl's own evaluation once for each checkpoint; return its losses."""
    losses = []
    for folder in checkpoint_folders(recipe.output_dir).values():
        measure(
            [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--cpu",
             "--num_cpu_threads_per_process", str(os.cpu_count()), "-m", "axolotl.cli.evaluate",
             str(recipe.path), f"--lora_model_dir={folder}", f"--output_dir={folder}-evaluated"]
        )  # fmt: skip
        summary = Path(f"{folder}-evaluated/eval_summary.csv").read_text().splitlines()
        [line] = [line for line in summary if line.startswith("loss,")]
        losses.append(float(line.split(",")[2]))
    return losses


def trainer_evaluate(recipe: Recipe) -> list[float]:
    """Do the same in a process of its own with transformers' Trainer; return its losses."""
    measure([sys.executable, "-m", "benchmarks.selecting_by_trainer", str(recipe.path)])
    return json.loads(Path("trainer.json").read_text())


def show(seconds: dict[str, float], losses: dict[str, list[float]]) -> None:
    """Print seconds and ratios, then what each found."""
    console = Console()
    ours = seconds["cogex select"]
    table = Table("", "seconds", "times select", "loss of the first checkpoint")
    for name, value in seconds.items():
        table.add_row(name, f"{value:.1f}", f"{value / ours:.2f}", f"{losses[name][0]:.6f}")
    console.print(table)
    orders = {
        name: sorted(range(len(found)), key=found.__getitem__) for name, found in losses.items()
    }
    console.print(f"the order of the checkpoints by each: {orders}")


if __name__ == "__main__":
    typer.run(main)
