"""What a run was started with (`run.json` in its folder), and how a later launch differs from it.

{"recipe": {"learning_rate": "3e-4", ...},         the keys that the result depends on
 "files": {"data/cogex/train.jsonl": "9f86...", ...},  SHA-256 of data, local base, DeepSpeed file
 "facts": {"ranks": 2, "layout_version": 1, "tokenise_version": 2, ...},
 "versions": {"torch": "2.13.0", ...},             other versions do not stop a run
 "launches": [{"started": "2026-11-28T08:31:44Z", ...}],  when and on what it was trained
 "finished": true}                                 once the model is saved
"""

import importlib.metadata
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from pydantic import BaseModel

from prompt_strategies import tokenise
from prompt_strategies.base import find_strategy
from tools.errors import UserError
from tools.files import sha256, write_json
from tools.recipe import Recipe
from tools.same_value import plain

NAME = "run.json"

# Every other key counts: a key nobody thought of must stop a run, not change it silently.
HARMLESS = {
    "axolotl_config_path",
    "output_dir",
    "dataset_prepared_path",
    "dataset_num_proc",
    "dataset_processes",
    "dataloader_num_workers",
    "dataloader_pin_memory",
    "dataloader_prefetch_factor",
    "ddp_timeout",
    "eval_batch_size",  # changes no weight
    "logging_steps",
    "samples_per_save",
    "save_total_limit",
    "auto_resume_from_checkpoints",
    "use_comet",
    "use_mlflow",
    "use_tensorboard",
    "use_trackio",
    "use_wandb",
}
HARMLESS_PREFIXES = ("comet_", "hub_", "mlflow_", "trackio_", "wandb_")
BASE_FILES = ("config.json", "*.safetensors", "tokenizer*", "special_tokens_map.json")
PACKAGES = ("axolotl", "transformers", "peft", "accelerate", "torch", "deepspeed")


class Launched(BaseModel):
    """A launch of a run, as its first rank saw it; memory is the most that this rank held."""

    started: str  # UTC
    machine: str
    step: int  # that it went on from
    ended: str | None = None  # not known of a launch that was cut off
    memory_gib: float | None = None
    gpu_memory_gib: float | None = None


class Record(BaseModel):
    """The content of `run.json`."""

    recipe: dict[str, Any]
    files: dict[str, str]
    facts: dict[str, Any]
    versions: dict[str, str]
    launches: list[Launched] = []
    finished: bool = False


def describe(values: dict[str, Any], ranks: int) -> Record:
    """Describe a launch by the recipe's values, the command line's among them, and its ranks."""
    return Record(
        recipe=_values_that_count(values),
        files={str(path): sha256(path) for path in _files(values)},
        facts={"ranks": ranks, **_layout_versions(values), **_base_commit(values)},
        versions={package: importlib.metadata.version(package) for package in PACKAGES},
    )


def differences(before: Record, now: Record) -> list[str]:
    """List what would make the launch give another result than the run; empty if nothing would.

    Values are compared by what they mean, and files by the place that a path leads to.
    """
    values = [*_changed(before, now, "recipe"), *_changed(before, now, "facts")]
    return [
        *(f"`{key}` was {old}, is {new}" for key, old, new in values),
        *(f"{path} is not the file it was" for path, _, _ in _changed(before, now, "files")),
    ]


def other_versions(before: Record, now: Record) -> list[str]:
    """List the packages whose version has changed since the run was started."""
    return [f"{name} {old} -> {new}" for name, old, new in _changed(before, now, "versions")]


def read(run: Path) -> Record | None:
    """Read the record of a run folder; None where it is missing or malformed."""
    try:
        return Record.model_validate_json((run / NAME).read_bytes())
    except (OSError, ValueError):
        return None


def write(run: Path, record: Record) -> None:
    """Write the record of a run folder, whole."""
    write_json(run / NAME, record.model_dump(exclude_unset=True))


def of_run(recipe: Recipe, run: Path) -> Recipe:
    """Return the recipe as another run of it was started: its folder, and what its launch set.

    That is what `run.json` there says. Raises UserError if there is no such run.
    """
    record = read(run)
    if record is None:
        raise UserError(f"{run}: holds no {NAME}; name the folder of a run of {recipe.path}")
    return Recipe(recipe.path, recipe.values | record.recipe | {"output_dir": str(run)})


def changed_data(recipe: Recipe) -> dict[str, str]:
    """The training and validation files that are not what the run was started with.

    By path, the SHA-256 that `run.json` has. Empty where no usable `run.json` says.
    """
    if not (record := read(recipe.output_dir)):
        return {}
    then = {os.path.realpath(path): known for path, known in record.files.items()}
    return {
        str(path): known
        for path in map(Path, _data(recipe.values))
        if (known := then.get(os.path.realpath(path)))
        and not (path.is_file() and sha256(path) == known)
    }


def told(changed: dict[str, str]) -> list[str]:
    """One sentence for each file of `changed_data`."""
    return [
        f"{path} is not the file that the run was trained with ({NAME}: SHA-256 {known[:12]}...). "
        "Its rows may be others, and held-out ones may have been trained on. Prepare it as it was, "
        "or train again."
        for path, known in changed.items()
    ]


def _changed(before: Record, now: Record, part: str) -> Iterator[tuple[str, Any, Any]]:
    old, new = (_by_meaning(getattr(record, part), part) for record in (before, now))
    for key in sorted(old | new):
        (was, first), (is_, second) = old.get(key, (None, None)), new.get(key, (None, None))
        if first != second:
            yield key, was, is_


def _by_meaning(values: dict[str, Any], part: str) -> dict[str, tuple[Any, Any]]:
    """Each value as it was written, and in the one spelling of its meaning."""
    if part == "files":
        return {os.path.relpath(os.path.realpath(path)): (known, known)
                for path, known in values.items()}  # fmt: skip
    if part == "recipe":
        return {key: (value, plain(value, key)) for key, value in values.items()}
    return {key: (value, value) for key, value in values.items()}


def _values_that_count(values: dict[str, Any]) -> dict[str, Any]:
    """As JSON holds them; a key without a value does not count."""
    kept = {
        key: value
        for key, value in values.items()
        if value is not None and key not in HARMLESS and not key.startswith(HARMLESS_PREFIXES)
    }
    return json.loads(json.dumps(kept, default=str))


def _files(values: dict[str, Any]) -> Iterator[Path]:
    """The local files that a run reads; a base on the hub has a commit instead (`_base_commit`)."""
    named = map(Path, filter(None, [*_data(values), values.get("deepspeed")]))
    yield from (path for path in named if path.is_file())
    base = Path(values["base_model"])
    for pattern in BASE_FILES:
        yield from sorted(base.glob(pattern))


def _data(values: dict[str, Any]) -> list[str]:
    """What the entries of training and validation data name."""
    entries = [*(values.get("datasets") or []), *(values.get("test_datasets") or [])]
    return [str(entry["path"]) for entry in entries if entry.get("path")]


def _layout_versions(values: dict[str, Any]) -> dict[str, int]:
    """The versions of the text that the strategy makes of a row, and of what becomes of the text.

    There are none for Axolotl's own types.
    """
    strategy = find_strategy(values["datasets"][0].get("type"))
    if strategy is None:
        return {}
    return {"layout_version": strategy.layout_version, "tokenise_version": tokenise.VERSION}


def _base_commit(values: dict[str, Any]) -> dict[str, str]:
    """The commit of a base from the hub, whose config Axolotl has fetched by now."""
    name = values["base_model"]
    if Path(name).is_dir():
        return {}
    config = try_to_load_from_cache(name, "config.json", revision=values.get("revision_of_model"))
    return {"base_model's commit": Path(config).parent.name} if isinstance(config, str) else {}
