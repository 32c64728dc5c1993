"""A recipe's model without its weights, built on the meta device from its config alone."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

import tools.models  # noqa: F401 - first, for PEFT and Axolotl import what goes to the network
from tools.errors import UserError
from tools.recipe import Recipe

ARCHITECTURES = Path(__file__).parents[2] / "models" / "architectures.yml"
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Architecture:
    """A model on the meta device, with the recipe's adapter if it has one, and its counts."""

    config: PretrainedConfig
    model: Any
    parameters: int  # of the base
    linear: int  # of those, in the linear maps of all layers, the head left out
    trained: int
    adapted_inputs: int  # the widths of what all adapted modules read, summed


def build(recipe: Recipe) -> Architecture:
    """Build the recipe's model without weights. Raises UserError if it cannot be built."""
    config = load_config(recipe.base_model)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
        head = model.get_output_embeddings()
        linear = [
            module.weight.numel()
            for module in model.modules()
            if isinstance(module, torch.nn.Linear) and module is not head
        ]
        parameters = model.num_parameters()
        if recipe.adapter is not None:
            model = add_fresh_adapter(model, recipe)
    return Architecture(
        config=config,
        model=model,
        parameters=parameters,
        linear=sum(linear),
        trained=sum(item.numel() for item in model.parameters() if item.requires_grad),
        adapted_inputs=sum(
            module.in_features for module in model.modules() if hasattr(module, "lora_A")
        ),
    )


def add_fresh_adapter(base: Any, recipe: Recipe) -> Any:
    """Put a new adapter on a base model, in place, as Axolotl does; return the PEFT model.

    Axolotl itself builds PEFT's LoraConfig from the recipe. Raises UserError if it cannot.
    """
    from axolotl.loaders.adapter import load_lora
    from axolotl.utils.dict import DictDefault
    from peft import get_peft_model

    if recipe.adapter not in ("lora", "qlora"):
        raise UserError(
            f"{recipe.path}: `adapter: {recipe.adapter}` is not known here; use lora or qlora"
        )
    try:
        _, config = load_lora(base, DictDefault(recipe.values), config_only=True)
        return get_peft_model(base, config)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{recipe.path}: PEFT refuses the `lora_` keys; correct them: {_one_line(error)}"
        ) from None


def load_config(base_model: str) -> PretrainedConfig:
    """Return the config of a local folder, else of the hub cache, else the published one.

    Never uses the network. Raises UserError if none of the three knows the model.
    """
    if folder := local_folder(base_model):
        try:
            return AutoConfig.from_pretrained(str(folder), local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{folder}: its config.json cannot be used; is it whole? {_one_line(error)}"
            ) from None
    if known := published(base_model):
        return AutoConfig.for_model(**known["config"])
    raise UserError(
        f"{base_model}: is not a folder here, not in the hub cache and not in "
        "models/architectures.yml; make the folder, or for a hub model run "
        "`hf download OWNER/MODEL config.json`"
    )


def local_folder(base_model: str) -> Path | None:
    """Return the local folder of a base model: its own, or one of the hub cache."""
    if Path(base_model).is_dir():
        return Path(base_model)
    try:
        cached = try_to_load_from_cache(base_model, "config.json")
    except HFValidationError:  # a path, and no id of the hub
        return None
    return Path(cached).parent if isinstance(cached, str) else None


def published(base_model: str) -> dict[str, Any] | None:
    """Return the entry of a hub model in models/architectures.yml; None where there is none."""
    return yaml.safe_load(ARCHITECTURES.read_text(encoding="utf-8")).get(base_model)


def missing_weights(folder: Path) -> list[str]:
    """Name the safetensors files that a model folder lacks.

    Raises UserError if the folder has an index of them that cannot be read.
    """
    names, index = ["model.safetensors"], folder / INDEX
    if index.is_file():
        try:
            weights = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            names = sorted(set(weights.values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise UserError(
                f"{index}: is not an index of weights; download the model again"
            ) from None
    return [name for name in names if not (folder / name).is_file()]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
