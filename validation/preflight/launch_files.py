"""Do accelerate and DeepSpeed accept the files that spread a run over GPUs?"""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from pydantic import ValidationError

from tools.errors import remedy


def accelerate_problems(path: Path, ranks: int) -> Iterator[str]:
    """Yield what is wrong with an accelerate file, read by accelerate's own loader.

    `ranks` is the number of GPUs in the recipe's header.
    """
    from accelerate.commands.config.config_args import (
        load_config_from_file,
    )

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
        DeepSpeedConfig(fill_auto(config, values))
    except Exception as error:  # pydantic's, DeepSpeed's own, assertions
        yield f"{path}: {readable(error)}"


def fill_auto(config: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return a DeepSpeed config with a recipe's value for each "auto", filled by transformers.

    For one rank: DeepSpeed counts the ranks of the process that asks, and here that is one.
    """
    from transformers.integrations.deepspeed import HfTrainerDeepSpeedConfig

    arguments = SimpleNamespace(
        world_size=1,
        per_device_train_batch_size=values.get("micro_batch_size"),
        gradient_accumulation_steps=1,  # any number does: it follows from the number of ranks
        max_grad_norm=values.get("max_grad_norm", 1.0),
        learning_rate=float(values.get("learning_rate", 0)),  # YAML reads 3e-4 as text
        adam_beta1=values.get("adam_beta1", 0.9),
        adam_beta2=values.get("adam_beta2", 0.999),
        adam_epsilon=values.get("adam_epsilon", 1e-8),
        weight_decay=values.get("weight_decay", 0.0),
        save_on_each_node=False,
        fp16=bool(values.get("fp16")),
        fp16_full_eval=False,
        bf16=bool(values.get("bf16")),
        bf16_full_eval=False,
        get_warmup_steps=lambda steps: 0,
    )
    model = SimpleNamespace(config=SimpleNamespace(hidden_size=4096))  # for bucket sizes alone
    filled = HfTrainerDeepSpeedConfig(config)
    filled.trainer_config_process(arguments)
    filled.trainer_config_finalize(arguments, model, num_training_steps=1)
    return filled.config


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
