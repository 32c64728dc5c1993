"""Do accelerate and DeepSpeed accept the files that spread a run over GPUs?"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tools.errors import remedy


def accelerate_problems(path: Path, ranks: int) -> Iterator[str]:
    """Yield what is wrong with an accelerate file, read by accelerate's own loader.

    `ranks` is the number of GPUs in the recipe's header.
    """
    from accelerate.commands.config.config_args import load_config_from_file

    try:
        config = load_config_from_file(str(path))
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        yield f"{path}: cannot be used: {' '.join(str(error).split())}"
        return
    if config.num_processes != ranks:
        yield f"{path} starts {config.num_processes} processes, the header has {ranks} GPUs"
    if config.distributed_type in ("DEEPSPEED", "FSDP"):  # Axolotl sets both, from the recipe
        yield f"{path}: distributed_type {config.distributed_type.value} brings its own settings"


def deepspeed_problems(path: Path, values: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the DeepSpeed file of a recipe, by DeepSpeed's own config class."""
    from deepspeed.runtime.config import DeepSpeedConfig  # type: ignore[import-untyped]

    if values.get("fsdp_config"):
        yield "`deepspeed` and `fsdp_config` exclude each other"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        yield f"{path}: there is no such file; {remedy(path, 'correct the path')}"
        return
    except ValueError as error:
        yield f"{path}: is not JSON: {error}"
        return
    try:
        DeepSpeedConfig(without_auto(config) | {"train_micro_batch_size_per_gpu": 1})
    except Exception as error:  # pydantic's, DeepSpeed's own, assertions
        yield f"{path}: {readable(error)}"


def without_auto(value: Any) -> Any:
    """Return a DeepSpeed config without the "auto" that transformers fills from the recipe."""
    if not isinstance(value, dict):
        return value
    return {key: without_auto(inner) for key, inner in value.items() if inner != "auto"}


def zero_stage(path: Any) -> int | None:
    """Return the ZeRO stage that a DeepSpeed file asks for; None where it cannot be read."""
    try:
        return json.loads(Path(str(path)).read_text(encoding="utf-8"))["zero_optimization"]["stage"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def readable(error: Exception) -> str:
    """Return in one sentence the first thing that a schema found wrong, with key and value."""
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"the key `{key}` is missing"
    return f"`{key}: {first['input']}`: {message}"
