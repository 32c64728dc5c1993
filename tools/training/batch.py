"""The batch of a recipe: the same number of examples in each optimizer step on any number of ranks.

A recipe says `examples_per_step` and `micro_batch_size`. How often a rank accumulates gradients
follows from them and from the number of ranks, so nobody edits a recipe for another machine. Where
rows are packed, `packs_per_step` is what can be kept exactly, and `examples_per_step` an average.
"""

from dataclasses import replace

from tools.errors import UserError
from tools.recipe import Recipe, whole


def accumulation(recipe: Recipe, ranks: int) -> int:
    """Return the micro batches that each of `ranks` ranks adds up for one optimizer step.

    Raises UserError where no whole number keeps the batch, or the recipe sets another one.
    """
    key = "packs_per_step" if recipe.values.get("sample_packing") else "examples_per_step"
    batch, micro = whole(recipe, key, 0), whole(recipe, "micro_batch_size")
    if not batch:
        raise UserError(f"{recipe.path}: the key `{key}` is missing; add it to the recipe")
    share, rest = divmod(batch, ranks)
    if rest:
        raise UserError(
            f"{recipe.path}: {ranks} ranks cannot share `{key}: {batch}` evenly; launch a number "
            f"of ranks that divides {batch}"
        )
    if share % micro:
        fitting = next(size for size in range(min(micro, share), 0, -1) if share % size == 0)
        raise UserError(
            f"{recipe.path}: `{key}: {batch}` on {ranks} ranks is {share} for each, which is no "
            f"multiple of `micro_batch_size: {micro}`; set micro_batch_size to {fitting}"
        )
    steps = share // micro
    given = whole(recipe, "gradient_accumulation_steps", steps)
    if given != steps:
        raise UserError(
            f"{recipe.path}: `gradient_accumulation_steps: {given}` contradicts `{key}: {batch}`, "
            f"which needs {steps} on {ranks} ranks; leave gradient_accumulation_steps out"
        )
    return steps


def on_ranks(recipe: Recipe, ranks: int) -> Recipe:
    """Return a recipe as it is trained on `ranks` ranks. Raises UserError as `accumulation`."""
    steps = accumulation(recipe, ranks)
    return replace(recipe, values=recipe.values | {"gradient_accumulation_steps": steps})
