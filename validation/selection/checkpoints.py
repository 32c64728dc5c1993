"""Reads and checks the checkpoints of a run.

A checkpoint is an adapter where the recipe trains one, else a whole model, in one file or in
shards. Nothing here opens a pickle, such as `optimizer.pt` or `*.bin`.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from tools.errors import UserError
from tools.files import sha256
from tools.recipe import Recipe
from tools.run_folder import checkpoint_folders, to_train
from validation.selection.asked_adapter import AskedAdapter

STATE = "trainer_state.json"
ADAPTER_CONFIG, ADAPTER = "adapter_config.json", "adapter_model.safetensors"
MODEL_CONFIG, MODEL, MODEL_INDEX = (
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
)  # what is not zero before any training; of an embedding's factors it is B that is drawn
_STARTS_ANYHOW = re.compile(r"\.lora_(A|embedding_B|magnitude_vector)\b")


@dataclass(frozen=True)
class Checkpoint:
    """A `checkpoint-N` folder. `status` is ok, corrupt or incomplete, with the reason.

    `files` are the names of its config and weights, where it is ok.
    """

    path: Path
    step: int
    epoch: float | None
    logged_eval_loss: float | None
    status: str = "ok"
    reason: str = ""
    files: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name


def file_hashes(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of files, by name."""
    return {name: sha256(folder / name) for name in names}


def model_hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of config and weights of an adapter's or a model's folder, by file name.

    They identify a model, as the hashes of `Checkpoint.files` do for the kept scores.
    """
    config = ADAPTER_CONFIG if (folder / ADAPTER_CONFIG).is_file() else MODEL_CONFIG
    names = [config, *sorted(path.name for path in folder.glob("*.safetensors"))]
    return file_hashes(folder, filter(lambda name: (folder / name).is_file(), names))


def checkpoints(recipe: Recipe) -> list[Checkpoint]:
    """All checkpoints of a recipe's run by step, each one checked.

    Raises UserError if there is none.
    """
    run = recipe.output_dir
    if not run.is_dir():
        raise UserError(f"{run}: there is no such run folder; {to_train(recipe)}")
    folders = checkpoint_folders(run)
    if not folders:
        raise UserError(f"{run}: holds no checkpoint-N folder; {to_train(recipe)}")
    asked = AskedAdapter(recipe)
    return [_look_into(path, step, asked) for step, path in folders.items()]


def left_out(recipe: Recipe) -> list[dict[str, str]]:
    """Name, status and reason of each checkpoint that cannot be used."""
    return [
        {"name": item.name, "status": item.status, "reason": item.reason}
        for item in checkpoints(recipe)
        if item.status != "ok"
    ]


def _look_into(path: Path, step: int, asked: AskedAdapter) -> Checkpoint:
    epoch, loss = None, None
    try:
        epoch, loss = _logged(path / STATE, step)
        files = _check_adapter(path, asked) if asked.recipe.adapter else _check_model(path)
    except _Fault as fault:
        return Checkpoint(path, step, epoch, loss, fault.status, str(fault))
    return Checkpoint(path, step, epoch, loss, files=files)


class _Fault(Exception):
    """What is wrong with a checkpoint."""

    status = "corrupt"


class _Missing(_Fault):
    """A file that is not there: the checkpoint was half written."""

    status = "incomplete"

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path.name} is missing")


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise _Missing(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError):
        raise _Fault(f"{path.name} is not valid JSON") from None
    if not isinstance(value, dict):
        raise _Fault(f"{path.name} holds no JSON object")
    return value


def _logged(path: Path, step: int) -> tuple[float | None, float | None]:
    """Epoch and the trainer's own eval loss at this step, from `trainer_state.json`."""
    state = _read_json(path)
    history, epoch = state.get("log_history"), _finite(state.get("epoch"))
    if not isinstance(history, list) or epoch is None:
        raise _Fault(f"{path.name} holds no log_history or epoch")
    if state.get("global_step") != step:
        raise _Fault(f"{path.name} is of step {state.get('global_step')!r}")
    losses = [
        _finite(entry.get("eval_loss"))
        for entry in history
        if isinstance(entry, dict) and entry.get("step") == step and "eval_loss" in entry
    ]
    return epoch, losses[-1] if losses else None


def _finite(value: Any) -> float | None:
    """The number as a float; None for NaN, Inf, integers beyond floats, and other types."""
    try:
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
    except OverflowError:
        return None


def _check_adapter(path: Path, asked: AskedAdapter) -> tuple[str, ...]:
    """Return the names of an adapter's files."""
    if problem := asked.objection(path, _read_json(path / ADAPTER_CONFIG)):
        raise _Fault(f"{ADAPTER_CONFIG}{problem}")
    norms = {key: float(tensor.abs().max()) for key, tensor in _tensors(path / ADAPTER)}
    if not any(value for key, value in norms.items() if not _STARTS_ANYHOW.search(key)):
        raise _Fault(f"{ADAPTER}: every lora_B is zero, so the adapter does nothing")
    return ADAPTER_CONFIG, ADAPTER


def _check_model(path: Path) -> tuple[str, ...]:
    """Return the names of a whole model's files."""
    _read_json(path / MODEL_CONFIG)
    index = [MODEL_INDEX] if (path / MODEL_INDEX).exists() else []
    shards = _shards(path / MODEL_INDEX) if index else {MODEL: None}
    for name, wanted in shards.items():
        held = {key for key, _ in _tensors(path / name)}
        if lacking := sorted((wanted or set()) - held):
            raise _Fault(f"{name} lacks {len(lacking)} weights, as {lacking[0]}")
    return MODEL_CONFIG, *index, *shards


def _shards(index: Path) -> dict[str, set[str] | None]:
    """The weights that each shard must hold, by the shard's file name."""
    places = _read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise _Fault(f"{index.name} holds no weight_map")
    shards: dict[str, set[str] | None] = {}
    for key, name in sorted(places.items()):
        if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+\.safetensors", name):
            raise _Fault(f"{index.name} names {name!r}, which is no shard beside it")
        shards[name] = (shards.get(name) or set()) | {key}
    return shards


def _tensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield name and tensor, one at a time; each is finite."""
    if not path.is_file():
        raise _Missing(path)
    try:
        with safe_open(path, framework="pt") as weights:
            for key in weights.keys():  # noqa: SIM118  (safe_open is no mapping)
                tensor = weights.get_tensor(key)
                if not tensor.is_floating_point() or not tensor.numel():
                    raise _Fault(f"{path.name}: {key} holds no floating-point numbers")
                if not bool(torch.isfinite(tensor.float()).all()):
                    raise _Fault(f"{path.name}: {key} holds NaN or Inf")
                yield key, tensor
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise _Fault(f"{path.name} cannot be read: {error}") from None
