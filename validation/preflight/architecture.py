"""A recipe's model without its weights, built on the meta device from its config alone."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig
from transformers.pytorch_utils import Conv1D

import tools.models  # noqa: F401 - first, for PEFT and Axolotl import what goes to the network
from tools.errors import UserError
from tools.recipe import Recipe

ARCHITECTURES = Path(__file__).parents[2] / "models" / "architectures.yml"
INDEX = "model.safetensors.index.json"
_IN_A_LAYER = re.compile(r"\.\d+\.")  # a module's name


@dataclass(frozen=True)
class Widths:
    """How wide a layer's activations are, in numbers for each token: the mean over all layers."""

    norm: float  # what norms read
    attention: float  # all heads together
    mlp: float  # what goes back to the hidden size; of experts those that a token takes


@dataclass(frozen=True)
class Architecture:
    """A model on the meta device, with the recipe's adapter if it has one, and its counts."""

    config: PretrainedConfig  # of the language model
    model: Any
    parameters: int  # of the base
    linear: int  # of those, in the linear maps of all layers, the head left out
    experts: int  # of those, in the experts of a mixture, which are no linear maps
    active: int  # of both, what one token passes
    trained: int
    adapted_inputs: int  # the widths of what all adapted modules read, summed
    widths: Widths


def build(recipe: Recipe) -> Architecture:
    """Build the recipe's model without weights. Raises UserError if it cannot be built."""
    model = build_base(recipe.base_model)
    maps, experts = linear_maps(model), _experts(model)
    linear, mixed = (sum(item.numel() for item in items) for items in (
        [module.weight for module in maps.values()], experts.values()
    ))  # fmt: skip
    taken = _experts_taken(model, experts)
    parameters, widths = model.num_parameters(), _widths(model, maps, experts, taken)
    if recipe.adapter is not None:
        with torch.device("meta"):
            model = add_fresh_adapter(model, recipe)
    return Architecture(
        config=model.config.get_text_config(),
        model=model,
        parameters=parameters,
        linear=linear,
        experts=mixed,
        active=linear + round(mixed * taken),
        trained=sum(item.numel() for item in model.parameters() if item.requires_grad),
        adapted_inputs=sum(
            module.in_features for module in model.modules() if hasattr(module, "lora_A")
        ),
        widths=widths,
    )


def build_base(base_model: str) -> Any:
    """Build a base on the meta device. Raises UserError if it cannot be built."""
    config = load_config(base_model)
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config)
    except Exception as error:  # a config may say anything
        raise UserError(
            f"{base_model}: transformers builds no language model from its config.json "
            f"({config.model_type}); take a base that writes text: {_one_line(error)}"
        ) from None


def linear_maps(model: Any) -> dict[str, Any]:
    """Return the linear maps of a model by name, the head left out."""
    head = model.get_output_embeddings()
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not head
    }


def attention_targets(model: Any) -> list[str] | str:
    """Name all linear maps of the attentions, by whatever names, for `lora_target_modules`.

    By the shortest ends that fit no other map, as [q_proj, k_proj, v_proj, o_proj]; by a pattern
    where a vision tower has maps of the same name. A model without attention gets all its maps.
    """
    maps = linear_maps(model)
    decoder = model.get_decoder()
    ours = {id(module) for module in decoder.modules()}
    written = [name for name, module in maps.items() if id(module) in ours]
    wanted = [name for name in written if is_in_attention(name)] or written
    ends = dict.fromkeys(_shortest_end(name, wanted, maps) for name in wanted)
    if all(ends):
        return [*ends]
    place = next(name for name, module in model.named_modules() if module is decoder)
    kinds = dict.fromkeys(name.rsplit(".", 1)[-1] for name in wanted)
    return rf"{place}\..*\.({'|'.join(kinds)})"


def shown(targets: list[str] | str) -> str:
    """Return targets as a recipe has them."""
    return targets if isinstance(targets, str) else f"[{', '.join(targets)}]"


def _shortest_end(name: str, wanted: list[str], maps: dict[str, Any]) -> str:
    """The last part of a name, or the last two, if no other map ends so."""
    parts = name.split(".")
    for end in (parts[-1], ".".join(parts[-2:])):
        if all(other in wanted for other in maps if f".{other}".endswith(f".{end}")):
            return end
    return ""


def is_in_attention(name: str) -> bool:
    """Whether a module of that name is part of an attention."""
    return any("attn" in part or "attention" in part for part in name.split(".")[:-1])


def _experts(model: Any) -> dict[str, Any]:
    """Return the weights of experts: one tensor holds a map of all of them."""
    return {name: item for name, item in model.named_parameters() if ".experts." in name}


def _experts_taken(model: Any, experts: dict[str, Any]) -> float:
    """The share of the experts that a token passes."""
    text = model.config.get_text_config()
    keys = ("num_experts_per_tok", "top_k_experts", "moe_topk")
    taken = next((value for key in keys if (value := getattr(text, key, None))), 1)
    return taken / next((item.shape[0] for item in experts.values()), taken)


def _returns(module: Any, hidden: int) -> bool:
    """Whether a linear map leads back to the hidden size; Conv1D holds its weight turned over."""
    return module.weight.shape[1 if isinstance(module, Conv1D) else 0] == hidden


def _widths(model: Any, maps: dict[str, Any], experts: dict[str, Any], taken: float) -> Widths:
    text = model.config.get_text_config()
    layers, hidden = text.num_hidden_layers, text.hidden_size
    head = getattr(text, "head_dim", None) or hidden // text.num_attention_heads
    attention = text.num_attention_heads * head
    norms = [
        hidden if sum(item.numel() for item in module.parameters()) % hidden == 0 else attention
        for name, module in model.named_modules()
        if "norm" in type(module).__name__.lower() and _IN_A_LAYER.search(name)
    ]
    back = [  # the maps that lead back to the hidden size, as down_proj
        module.weight.numel() // hidden
        for name, module in maps.items()
        if not is_in_attention(name) and _returns(module, hidden)
    ]
    mixed = [
        item.numel() // hidden * taken
        for name, item in experts.items()
        if name.endswith(("down_proj", "w2"))
    ]
    return Widths(sum(norms) / layers, attention, sum(back + mixed) / layers)


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
    names = shown(attention_targets(base))
    try:
        values = DictDefault({"lora_dropout": 0.0} | recipe.values)  # Axolotl's default
        _, config = load_lora(base, values, config_only=True)
        if base.device.type == "meta" and isinstance(config.init_lora_weights, str):
            config.init_lora_weights = True  # there are no weights to start from
        return get_peft_model(base, config)
    # RuntimeError: a start that needs a GPU; re.error: a pattern that is none
    except (RuntimeError, TypeError, ValueError, re.error) as error:
        raise UserError(
            f"{recipe.path}: PEFT refuses the `lora_` keys; correct them (the attention's modules "
            f"are {names}): {_one_line(error)}"
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
