"""One small run, spread in every way that the recipes know, with equal rows in equal order.

What changes between the spreads is the world size, the accumulation that follows from it, and the
spread's own keys. The
runs start from the tiny recipe, so 32 examples make a step; the shipped files say how to spread it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.engine.killed_run import ENVIRONMENT, ROOT, VALIDATION_ROWS, make_runs
from tools.files import write_json

FSDP2 = yaml.safe_load((ROOT / "recipes/cogex-llama2-13b-fsdp2.yml").read_text())
MICRO = 16
# what the recipes have; two ranks then differ from one although nothing is wrong (docs/scaling.md)
DIFFERENT = {"lora_dropout": 0.05, "group_by_length": True}
EQUAL = {"lora_dropout": 0.0, "group_by_length": False}
# ranks, and the keys of each way to spread a run
SPREADS: dict[str, tuple[int, dict[str, Any]]] = {
    "one": (1, {}),
    "ddp": (2, {}),
    "zero2": (2, {"deepspeed": "recipes/deepspeed/zero2.json"}),
    "zero3": (2, {"deepspeed": "recipes/deepspeed/zero3.json"}),
    "fsdp2": (2, {key: FSDP2[key] for key in ("fsdp_version", "fsdp_config")}),
    "shipped": (2, {"deepspeed": "recipes/deepspeed/zero2.json", **DIFFERENT}),
}
TWO_RANKS = ["ddp", "zero2", "zero3", "fsdp2"]  # to be compared with "one"
RESUMED = ["zero3", "fsdp2"]  # gone on with from half-way, as `zero3-resumed`
EPOCHS, STEPS_OF_AN_EPOCH = 3, 4
STEPS = EPOCHS * STEPS_OF_AN_EPOCH
PLUGINS = [
    "tools.training.plugin.CogexPlugin",
    "tests.engine.cpu_ranks.GlooRanksOnCpuForTests",
    "tests.engine.lost_rank.LostRank",
]


def make_folder(parent: Path) -> Path:
    """Make a working folder with data, base and a recipe for each spread, as `one.yml`."""
    folder = make_runs(parent, ["run"])["run"].folder
    (folder / "recipes").symlink_to(ROOT / "recipes")
    text = (folder / "recipe.yml").read_text()
    header = text[: text.index("\n\n")]
    for name, (ranks, keys) in SPREADS.items():
        values = yaml.safe_load(text)
        changes = {
            "num_epochs": EPOCHS,
            "evals_per_epoch": 1,
            "saves_per_epoch": 1,
            "micro_batch_size": MICRO,
            "eval_batch_size": VALIDATION_ROWS // ranks,  # one batch for all ranks, in each spread
            "plugins": PLUGINS,
            "output_dir": f"outputs/{name}",
        }
        values |= EQUAL | changes | keys
        (folder / f"{name}.yml").write_text(f"{header}\n\n{yaml.safe_dump(values)}")
        if name in RESUMED:
            values["output_dir"] += "-resumed"
            (folder / f"{name}-resumed.yml").write_text(f"{header}\n\n{yaml.safe_dump(values)}")
    return folder


def logged(folder: Path, name: str, key: str) -> list[float]:
    """What the trainer of a spread logged under a key, in order."""
    state = json.loads((folder / f"outputs/{name}/trainer_state.json").read_text())
    return [entry[key] for entry in state["log_history"] if key in entry]


def adapter(folder: Path, name: str) -> Path:
    """The adapter of a spread after its last step."""
    return folder / f"outputs/{name}/checkpoint-{STEPS}/adapter_model.safetensors"


def train_all(folder: Path) -> None:
    """Run every spread in a child that imports the engine once; `train_ranks` says what is left."""
    jobs = [{"folder": str(folder), "name": name, "ranks": SPREADS[name][0]} for name in SPREADS]
    jobs += [
        {"folder": str(folder), "name": f"{name}-resumed", "ranks": 2, "cut_from": name}
        for name in RESUMED
    ]
    write_json(folder / "jobs.json", jobs)
    child = [sys.executable, "-m", "tests.engine.train_ranks", str(folder / "jobs.json")]
    with (folder / "child.log").open("w") as log:
        subprocess.run(
            child, cwd=ROOT, env=os.environ | ENVIRONMENT, stdout=log, stderr=log, timeout=800
        )
