"""One small run, spread in every way that the recipes know, with equal rows in equal order.

What changes between the spreads is the number of ranks and the spread's own keys. The runs start
from the tiny recipe; the shipped files say how to spread it.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.engine.forked import ROOT, start, wait
from tests.engine.launched import free_port
from tests.engine.small_run import STEP_ROWS, STEPS_OF_AN_EPOCH, VALIDATION_ROWS, make_runs

FSDP2 = yaml.safe_load((ROOT / "recipes/cogex-llama2-13b-fsdp2.yml").read_text())
MICRO = STEP_ROWS // 2
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
RESUMED = ["zero3", "fsdp2"]  # gone on with from before the last epoch, as `zero3-resumed`
EPOCHS = 3
STEPS = EPOCHS * STEPS_OF_AN_EPOCH
PLUGINS = [
    "tools.training.plugin.CogexPlugin",
    "tests.engine.cpu_ranks.GlooRanksOnCpuForTests",
    "tests.engine.faults.Faults",
]


def make_folder(parent: Path) -> Path:
    """Make a working folder with data, base and a recipe for each spread, as `one.yml`."""
    run = make_runs(parent, ["run"])["run"]
    for name, (ranks, keys) in SPREADS.items():
        changes = {
            "num_epochs": EPOCHS,
            "evals_per_epoch": 1,
            "saves_per_epoch": 1,
            "micro_batch_size": MICRO,
            "eval_batch_size": VALIDATION_ROWS // ranks,  # one batch for all ranks, in each spread
            "plugins": PLUGINS,
        }
        for copy in (name, f"{name}-resumed"):
            run.change(EQUAL | changes | keys | {"output_dir": f"outputs/{copy}"}, copy)
    return run.folder


def logged(folder: Path, name: str, key: str) -> list[float]:
    """What the trainer of a spread logged under a key, in order."""
    state = json.loads((folder / f"outputs/{name}/trainer_state.json").read_text())
    return [entry[key] for entry in state["log_history"] if key in entry]


def adapter(folder: Path, name: str) -> Path:
    """The adapter of a spread after its last step."""
    return folder / f"outputs/{name}/checkpoint-{STEPS}/adapter_model.safetensors"


def train_all(folder: Path) -> None:
    """Run every spread, and those of RESUMED again as if they had been cut off near the end."""
    for name, (ranks, _) in SPREADS.items():
        train(name, [folder] * ranks)
    for name in RESUMED:
        resumed = folder / f"outputs/{name}-resumed"
        shutil.copytree(folder / "outputs" / name, resumed)
        cut_off(resumed, STEPS)
        train(f"{name}-resumed", [folder] * 2)


def train(name: str, folders: Sequence[Path]) -> list[str]:
    """Train NAME.yml with a rank in each of `folders`; return what each rank printed.

    Each rank leaves NAME-RANK.log and, if it ends well, NAME-RANK.json. Its environment is what
    torchrun would give it.
    """
    ranks, port = len(folders), free_port()
    world = {"WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks, "MASTER_ADDR": "127.0.0.1"}
    processes = []
    for rank, folder in enumerate(folders):
        place = {"RANK": rank, "LOCAL_RANK": rank, "MASTER_PORT": port} | world if ranks > 1 else {}
        processes.append(start(folder, f"{name}-{rank}.log", "rank", name, rank, **place))
    wait(*processes)
    return [
        (folder / f"{name}-{rank}.log").read_text(errors="replace")
        for rank, folder in enumerate(folders)
    ]


def cut_off(run: Path, step: int) -> None:
    """Take the last checkpoint of a finished run away, and what was written after it."""
    shutil.rmtree(run / f"checkpoint-{step}")
    (run / "adapter_model.safetensors").unlink()
    record = json.loads((run / "run.json").read_text())
    del record["finished"]
    (run / "run.json").write_text(json.dumps(record))
