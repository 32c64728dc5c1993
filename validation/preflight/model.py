"""Does the recipe's model have the parameters and the adapter that it should?"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch

from tools.errors import UserError
from tools.models import load_base
from tools.recipe import Recipe
from validation.preflight.architecture import (
    Architecture,
    add_fresh_adapter,
    build,
    local_folder,
    published,
)
from validation.verdict import VerdictRow

# arXiv 2405.16337, section 3.1: query, key, value and output projections of all layers
PAPER_TARGETS = {"q_proj", "k_proj", "v_proj", "o_proj"}
PAPER_RECIPES = ("cogex-", "alpaca-")  # how the names of recipes start that follow the paper

ADDS_TOKENS = ("tokens", "resize_token_embeddings_to_32x")  # Axolotl's keys that add embedding rows

MAX_CPU_PARAMETERS = 2_000_000_000  # a larger model takes minutes to load and run without a GPU
PROBE_TOKENS = 16

_PEFT_PREFIX = "base_model.model."
_TRAINED_PART = re.compile(r"\.(lora_\w+|modules_to_save)\b.*|\.(weight|bias)$")


def check_model(recipe: Recipe) -> list[VerdictRow]:
    """Look at parameters, adapter and vocabulary, and at the weights where there are any.

    All but the last is done on the meta device, from the config alone. Raises UserError if the
    recipe's model cannot be built, or its weights cannot be loaded.
    """
    built = build(recipe)
    verdicts = [_parameters(recipe, built), _vocabulary(recipe, built)]
    if recipe.adapter is not None:
        verdicts += [_targets(recipe, built), _start(recipe, built.parameters)]
    return verdicts


def _parameters(recipe: Recipe, built: Architecture) -> VerdictRow:
    """Count parameters; the percentage is of the base's."""
    known = published(recipe.base_model)
    percent = 100 * built.trained / built.parameters
    figures = {"total": built.parameters, "trained": built.trained, "percent": percent}
    value = f"{built.parameters:,}, of which {built.trained:,} are trained"
    if recipe.adapter is not None:
        value = (
            f"{built.parameters:,}, and {built.trained:,} trained in the adapter ({percent:.3f}%)"
        )
    if known and known["parameters"] != built.parameters:
        return VerdictRow(
            "parameters",
            f"{value}; {known['parameters']:,} are published",
            "fail",
            f"the config.json in {local_folder(recipe.base_model)} is another model's: replace it",
            figures,
        )
    return VerdictRow("parameters", value, figures=figures)


def _vocabulary(recipe: Recipe, built: Architecture) -> VerdictRow:
    """The recipe adds no token, and the ids of the tokens that are known lie in the vocabulary."""
    rows = built.config.vocab_size
    figures = {"embedding_rows": rows}
    if adding := [key for key in ADDS_TOKENS if recipe.values.get(key)]:
        return VerdictRow(
            "vocabulary",
            f"`{adding[0]}` adds tokens to the {rows:,} of the base",
            "fail",
            f"remove `{adding[0]}`: an added token has an untrained embedding",
            figures,
        )
    tokens = [token for token in _known_tokens(recipe).values() if token]
    if beyond := [f"{name} ({index})" for name, index in tokens if index >= rows]:
        return VerdictRow(
            "vocabulary",
            f"{', '.join(beyond)} beyond the {rows:,} embedding rows",
            "fail",
            f"{recipe.base_model} is not the published model: download it again",
            figures,
        )
    return VerdictRow("vocabulary", f"{rows:,} embedding rows, none added", figures=figures)


def _known_tokens(recipe: Recipe) -> dict[str, Any]:
    return (published(recipe.base_model) or {}).get("tokens", {})


def _targets(recipe: Recipe, built: Architecture) -> VerdictRow:
    """Exactly the wanted modules carry the adapter, in every layer, and nothing else is trained."""
    adapter = built.model.peft_config["default"]
    paper = recipe.path.stem.startswith(PAPER_RECIPES)
    trained = trained_modules(built.model)
    missing, extra = _differences(
        built.model, PAPER_TARGETS if paper else adapter.target_modules, trained
    )
    kinds = dict.fromkeys(_last(name) for name in trained)
    value = f"r={adapter.r} on {', '.join(kinds)}: {len(trained)} modules"
    figures = {"r": adapter.r, "modules": trained, "missing": missing, "extra": extra}
    if not missing and not extra:
        value += f", {len(trained) / built.config.num_hidden_layers:g} in each layer"
        return VerdictRow("adapter", value, figures=figures)
    odd = [
        f"{what}: {_some(names)}"
        for what, names in (("missing", missing), ("extra", extra))
        if names
    ]
    return VerdictRow(
        "adapter",
        f"{value}; {'; '.join(odd)}",
        "fail",
        "correct lora_target_modules"
        + (" to [q_proj, k_proj, v_proj, o_proj], as the paper has it" if paper else "")
        + ", and set no key that leaves layers out or trains more",
        figures,
    )


def trained_modules(model: Any) -> list[str]:
    """Return the names, in the base model, of the modules that hold a trainable parameter."""
    names = (name for name, item in model.named_parameters() if item.requires_grad)
    return list(dict.fromkeys(_TRAINED_PART.sub("", _base_name(name)) for name in names))


def _differences(
    model: Any, wanted: set[str] | str, trained: list[str]
) -> tuple[list[str], list[str]]:
    """Return which wanted modules are not trained, and which are trained besides them."""
    if isinstance(wanted, str):  # a pattern: what it matches is what was asked for
        return [], []
    names = [_base_name(name) for name, _ in model.named_modules()]
    expected = [name for name in names if _last(name) in wanted]
    unknown = sorted(wanted - {_last(name) for name in expected})
    missing = [name for name in expected if name not in trained]
    return missing + unknown, [name for name in trained if name not in expected]


def _base_name(name: str) -> str:
    return name.removeprefix(_PEFT_PREFIX)


def _last(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _some(names: list[str]) -> str:
    """Count modules by kind, as `k_proj x 32`, and name the first."""
    kinds = Counter(_last(name) for name in names)
    return ", ".join(f"{kind} x {count}" for kind, count in kinds.items()) + f" (as {names[0]})"


def _start(recipe: Recipe, parameters: int) -> VerdictRow:
    """With the weights: a new adapter changes nothing, and one with another lora_B does."""
    folder = local_folder(recipe.base_model)
    if folder is None or not has_weights(folder):
        return VerdictRow("adapter's start", "not looked at: no weights here", "note")
    if reason := _too_large(parameters):
        return VerdictRow("adapter's start", f"not looked at: {reason}", "note")
    logits, fresh, changed, zero = _probe(recipe, folder)
    figures = {
        "lora_b_zero": zero,
        "start_difference": (fresh - logits).abs().max().item(),
        "changed_difference": (changed - logits).abs().max().item(),
    }
    if not zero or not torch.equal(fresh, logits):
        return VerdictRow(
            "adapter's start",
            "a new adapter already changes the base",
            "fail",
            "remove `peft_init_lora_weights`: PEFT's default starts lora_B at zero",
            figures,
        )
    if torch.equal(changed, logits):
        return VerdictRow(
            "adapter's start",
            "a filled lora_B leaves the logits as they were",
            "fail",
            "the adapter is not applied: look at lora_alpha and lora_target_modules",
            figures,
        )
    value = "lora_B is zero and the logits are the base's; a filled lora_B changes them"
    return VerdictRow("adapter's start", value, figures=figures)


def has_weights(folder: Path) -> bool:
    """Whether a model folder holds all of its safetensors files.

    Raises UserError if their index cannot be read.
    """
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return (folder / "model.safetensors").is_file()
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{index}: is no index of weights; download the model again") from None
    return all((folder / name).is_file() for name in names)


def _too_large(parameters: int) -> str:
    """Why the model is not loaded here, or nothing: fp32 on the CPU, bf16 on a GPU."""
    if torch.cuda.is_available():
        need, free = 2 * parameters, torch.cuda.mem_get_info()[0]
    elif parameters > MAX_CPU_PARAMETERS:
        return f"more than {MAX_CPU_PARAMETERS:,} parameters, and no GPU here"
    else:
        need, free = 4 * parameters, psutil.virtual_memory().available
    if need < free:
        return ""
    return f"the weights need {need / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free"


@torch.inference_mode()
def _probe(recipe: Recipe, folder: Path) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, bool]:
    """Return the logits of base, new adapter and filled adapter, and whether lora_B began at zero.

    All on the same `PROBE_TOKENS` random tokens; each of shape (1, PROBE_TOKENS, vocabulary).
    """
    base = load_base(folder)
    seeded = torch.Generator().manual_seed(0)
    ids = torch.randint(base.config.vocab_size, (1, PROBE_TOKENS), generator=seeded)
    ids = ids.to(base.device)
    logits = base(ids).logits
    model = add_fresh_adapter(base, recipe).eval()
    lora_b = [item for name, item in model.named_parameters() if ".lora_B." in name]
    zero = not any(item.any().item() for item in lora_b)
    fresh = model(ids).logits
    for item in lora_b:
        item.copy_(torch.randn(item.shape, generator=seeded) * 0.01)
    return logits, fresh, model(ids).logits, zero
