"""All that changes when a recipe is run here: on the CPU, in one process, for a few steps."""

from typing import Any

from tools.recipe import Recipe
from tools.recipe_header import read_header

STEPS = 2


def overrides(recipe: Recipe) -> dict[str, Any]:
    """Return the keys to set; None takes a key out of the recipe."""
    short = {
        "max_steps": STEPS,  # a whole run takes hours
        "logging_steps": 1,  # the recipes log every tenth step
    }
    if "warmup_steps" in recipe.values:
        short["warmup_steps"] = 0  # of hundreds the first two hardly change a weight
    return short | (_without_gpu(recipe) if read_header(recipe.path).card_gb else {})


def _without_gpu(recipe: Recipe) -> dict[str, Any]:
    changes = {
        "bf16": False,  # transformers refuses it without a GPU
        "tf32": False,  # so it does this
        "deepspeed": None,  # starts NCCL, which needs GPUs
        "fsdp_config": None,  # transformers refuses it in a single process
    }
    changes = {key: value for key, value in changes.items() if key in recipe.values}
    if recipe.adapter == "qlora":
        changes["lora_o_kernel"] = False  # Axolotl turns its kernels on, which unpack on a GPU
    return changes


def keep_quantised_weights() -> None:
    """Stop bitsandbytes from laying 4-bit weights out anew at the first evaluation.

    It does so for good where a CPU has AVX512-BF16, for faster inference, and from then on the
    layer passes no gradient back, without a word. A GPU has no such layout.
    """
    import bitsandbytes.nn.modules

    bitsandbytes.nn.modules.has_avx512bf16 = lambda: False
