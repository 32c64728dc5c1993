"""Is a checkpoint's adapter the one that the recipe asks for, however both are spelled?

PEFT saves what a recipe's shorthand stands for (`all-linear`, a pattern), and the base by whatever
path the run named it. So spellings that differ are compared by what they mean in the model.
"""

import filecmp
from functools import cached_property
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from peft import get_peft_model
from peft.tuners.lora import LoraLayer

from tools.errors import UserError
from tools.models import explained, load_shape, read_adapter_config
from tools.recipe import Recipe
from tools.same_value import plain
from validation.preflight.architecture import add_fresh_adapter

# keys of adapter_config.json that decide which modules carry what, and those of the recipe
NEEDED = {"r": "lora_r", "lora_alpha": "lora_alpha", "target_modules": "lora_target_modules"}
DECIDED = NEEDED | {
    "exclude_modules": "lora_exclude_modules",
    "target_parameters": "lora_target_parameters",
    "modules_to_save": "lora_modules_to_save",
    "rank_pattern": "lora_rank_pattern",
    "alpha_pattern": "lora_alpha_pattern",
    "layers_to_transform": "peft_layers_to_transform",
    "layers_pattern": "peft_layers_pattern",
    "layer_replication": "peft_layer_replication",
    "trainable_token_indices": "peft_trainable_token_indices",
    "use_dora": "peft_use_dora",
    "use_rslora": "peft_use_rslora",
}

Parts = set[tuple[str, Any]]  # of an adapter: names with shapes, modules with scales


class AskedAdapter:
    """The adapter that a recipe asks for."""

    def __init__(self, recipe: Recipe) -> None:
        """Load nothing: most adapters are spelled as the recipe is."""
        self.recipe = recipe
        self._bases: dict[Any, bool] = {}
        self._held: dict[str, Parts] = {}

    def objection(self, folder: Path, config: dict[str, Any]) -> str | None:
        """Say what makes the adapter of a checkpoint another one; None if nothing does."""
        base, ours = config.get("base_model_name_or_path"), self.recipe.base_model
        if not self._is_base(base, config.get("revision")):
            return f" is for the base {base!r}, the recipe's is {ours!r}"
        key = self._other_spelling(config)
        if key is None:
            return None
        told = f": {key} is {config.get(key)!r}, not {self._asked(key)!r}"
        try:
            held = self._parts(folder, str({name: config.get(name) for name in DECIDED}))
            other = sorted(held ^ self.parts, key=str)
        except UserError as error:
            return f"{told}, and they cannot be compared: {error}"
        return f"{told}; {other[0][0]} differs" if other else None

    def _is_base(self, name: Any, revision: Any) -> bool:
        """Whether a name means the recipe's base; looked up once a name."""
        ours = (self.recipe.base_model, self.recipe.values.get("revision_of_model"))
        if name == ours[0] or not isinstance(name, str):
            return name == ours[0]
        if (place := (name, str(revision))) not in self._bases:
            first, second = _folder(name, revision), _folder(*ours)
            self._bases[place] = bool(first and second and _same_files(first, second))
        return self._bases[place]

    def _asked(self, key: str) -> Any:
        if key == "target_modules" and self.recipe.values.get("lora_target_linear"):
            return "lora_target_linear"
        return self.recipe.values.get(DECIDED[key])

    def _other_spelling(self, config: dict[str, Any]) -> str | None:
        """The first key that is spelled otherwise in the recipe."""
        for key, ours in DECIDED.items():
            asked = plain(self._asked(key), ours) or None
            if asked is None and key in NEEDED:  # Axolotl would not train it
                continue
            if asked != (plain(config.get(key), ours) or None):
                return key
        return None

    @cached_property
    def parts(self) -> Parts:
        """What the recipe's adapter has in the model, as Axolotl would set it up."""
        return _parts(add_fresh_adapter(load_shape(self.recipe.base_model), self.recipe))

    def _parts(self, folder: Path, known: str) -> Parts:
        """What a checkpoint's adapter has in the model; made once for all that are alike."""
        if known not in self._held:
            with explained("it does not fit the base"):
                config = read_adapter_config(folder)
                config.init_lora_weights = False  # there are no weights to start from
                model = get_peft_model(load_shape(self.recipe.base_model), config)
            self._held[known] = _parts(model)
        return self._held[known]


def _parts(model: Any) -> Parts:
    """Name and shape of each of an adapter's weights, and the scale of each module."""
    weights = {
        (name, tuple(weight.shape))
        for name, weight in model.named_parameters()
        if "default" in name.split(".")
    }
    scales = {
        (name, module.scaling["default"])
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer) and "default" in module.scaling
    }
    return weights | scales


def _folder(name: Any, revision: Any) -> Path | None:
    """The folder that a base's name means here: a local one, or one of the hub's cache."""
    try:
        if Path(name).is_dir():
            return Path(name)
        cached = try_to_load_from_cache(name, "config.json", revision=revision)
        return Path(cached).parent if isinstance(cached, str) else None
    except (HFValidationError, OSError, TypeError, ValueError):  # no path, and no id of the hub
        return None


def _same_files(first: Path, second: Path) -> bool:
    """Whether two folders are one, or hold the same config and weights, byte for byte."""
    if first.samefile(second):
        return True
    names = [{path.name for path in folder.glob("*.safetensors")} for folder in (first, second)]
    return names[0] == names[1] != set() and all(
        (first / name).is_file()
        and (second / name).is_file()
        and filecmp.cmp(first / name, second / name, shallow=False)
        for name in ("config.json", *names[0])
    )
