"""Does the recipe's model have the parameters and the adapter that it should?"""

import re
from collections import Counter
from collections.abc import Iterable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch

from tools.models import load_base
from tools.recipe import Recipe
from validation.preflight.architecture import (
    Architecture,
    add_fresh_adapter,
    attention_targets,
    build,
    build_base,
    local_folder,
    missing_weights,
    published,
    shown,
)
from validation.verdict import VerdictRow

# how the names of recipes start that follow the paper, arXiv 2405.16337, section 3.1: LoRA is on
# query, key, value and output projections of all layers
PAPER_RECIPES = ("cogex-", "alpaca-")

MAX_CPU_PARAMETERS = 2_000_000_000  # a larger model takes minutes to load and run without a GPU
PROBE_TOKENS = 16
SMALL_START = 0.05  # of the largest logit: what rounding may move where PiSSA splits the weights

_PEFT_PREFIX = "base_model.model."
_TRAINED_PART = re.compile(r"\.(lora_\w+|modules_to_save)\b.*|\.(weight|bias)$")


def check_model(recipe: Recipe) -> list[VerdictRow]:
    """Check parameters and adapter, and the weights where there are any.

    All but the last needs the config alone, on the meta device. Raises UserError if the
    recipe's model cannot be built, or its weights cannot be loaded.
    """
    built = build(recipe)
    verdicts = [_parameters(recipe, built)]
    if recipe.adapter is not None:
        verdicts += [_targets(recipe, built), _start(recipe, built.parameters)]
    return verdicts


def _parameters(recipe: Recipe, built: Architecture) -> VerdictRow:
    """Count parameters; the percentage is of the base's."""
    total, trained, known = built.parameters, built.trained, published(recipe.base_model)
    percent = 100 * trained / total
    figures = {"total": total, "trained": trained, "percent": percent}
    found = f"{total:,}, of which {trained:,} are trained"
    if recipe.adapter is not None:
        found = f"{total:,}, and {trained:,} trained in the adapter ({percent:.3f}%)"
    if known is None or known["parameters"] == total:
        return VerdictRow("parameters", found, figures=figures)
    folder = local_folder(recipe.base_model)
    todo = f"the config.json in {folder} is another model's: replace it"
    found = f"{found}; {known['parameters']:,} are published"
    return VerdictRow("parameters", found, "fail", todo, figures)


def _targets(recipe: Recipe, built: Architecture) -> VerdictRow:
    """Exactly the wanted modules carry the adapter, in every layer, and nothing else is trained."""
    adapter = built.model.peft_config["default"]
    paper = recipe.path.stem.startswith(PAPER_RECIPES)
    trained = trained_modules(built.model)
    attention = attention_targets(build_base(recipe.base_model))
    wanted = attention if paper else adapter.target_modules
    missing, extra = _differences(built.model, wanted, trained, paper)
    kinds = dict.fromkeys(_kind(name) for name in trained)
    found = f"r={adapter.r} on {', '.join(kinds)}: {len(trained)} modules"
    figures = {"r": adapter.r, "modules": trained, "missing": missing, "extra": extra}
    if not missing and not extra:
        found += f", {len(trained) / built.config.num_hidden_layers:g} in each layer"
        return VerdictRow("adapter", found, figures=figures)
    for what, names in (("missing", missing), ("extra", extra)):
        if names:
            counts = Counter(map(_kind, names)).items()
            counted = ", ".join(f"{kind} x {count}" for kind, count in counts)
            found += f"; {what}: {counted} (as {names[0]})"
    todo = "correct lora_target_modules"
    if paper:
        todo += f" to {shown(attention)}, as in the paper"
    todo += ", and set no key that leaves layers out or trains more"
    return VerdictRow("adapter", found, "fail", todo, figures)


def trained_modules(model: Any) -> list[str]:
    """Return the names, in the base model, of the modules that hold a trainable parameter."""
    names = (name for name, item in model.named_parameters() if item.requires_grad)
    parts = (_TRAINED_PART.sub("", name.removeprefix(_PEFT_PREFIX)) for name in names)
    return list(dict.fromkeys(parts))


def _differences(
    model: Any, wanted: Iterable[str] | str, trained: list[str], paper: bool
) -> tuple[list[str], list[str]]:
    """Return which wanted modules are not trained, and which are trained besides them.

    As in the paper, that is all of the wanted; elsewhere what the recipe's keys pick, where each
    name must be some module's.
    """
    if isinstance(wanted, str):  # a pattern: what it matches is what was asked for
        return [], []
    names = [name.removeprefix(_PEFT_PREFIX) for name, _ in model.named_modules()]
    meant = {end: [name for name in names if f".{name}".endswith(f".{end}")] for end in wanted}
    unknown = sorted(end for end in meant if not meant[end])
    if not paper:
        return unknown, []
    expected = list(chain.from_iterable(meant.values()))
    missing = [name for name in expected if name not in trained]
    return missing + unknown, [name for name in trained if name not in expected]


def _kind(name: str) -> str:
    """The last part of a module's name, as q_proj."""
    return name.rsplit(".", 1)[-1]


def _start(recipe: Recipe, parameters: int) -> VerdictRow:
    """With the weights: a new adapter changes nothing, and a filled lora_B does."""
    row, folder = partial(VerdictRow, "adapter's start"), local_folder(recipe.base_model)
    if folder is None or missing_weights(folder):
        return row("not checked: no weights here", "note")
    if reason := _too_large(parameters):
        return row(f"not checked: {reason}", "note")
    logits, fresh, changed, zero = _probe(recipe, folder)
    row = partial(
        row,
        figures={
            "lora_b_zero": zero,
            "start_difference": (fresh - logits).abs().max().item(),
            "changed_difference": (changed - logits).abs().max().item(),
        },
    )
    start, moved = recipe.values.get("peft_init_lora_weights"), (fresh - logits).abs().max().item()
    if isinstance(start, str) and moved <= SMALL_START * logits.abs().max().item():
        found = f"{start} starts from the base's weights and moves the logits by {moved:.1g}"
        if start.startswith("pissa_niter"):
            found += "; only the same `seed` and kind of device score its checkpoints, unlike pissa"
        return row(found)
    if not zero or not torch.equal(fresh, logits):
        todo = "remove `peft_init_lora_weights`: PEFT's default starts lora_B at zero"
        return row("a new adapter already changes the base", "fail", todo)
    if torch.equal(changed, logits):
        todo = "the adapter is not applied: look at lora_alpha and lora_target_modules"
        return row("a filled lora_B leaves the logits as they were", "fail", todo)
    return row("lora_B is zero and the logits are the base's; a filled lora_B changes them")


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
