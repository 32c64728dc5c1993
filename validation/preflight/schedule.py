"""Steps and warm-up of a run, counted as Axolotl and transformers 5 do."""

import math
from dataclasses import dataclass

from tools.recipe import Recipe, number, whole
from validation.preflight.batches import Batches


@dataclass(frozen=True)
class Schedule:
    """Optimizer steps of a run."""

    steps_per_epoch: int
    steps: int
    warmup: int

    @property
    def epochs(self) -> float:
        """Passes over the data; the last may end early, because Axolotl caps the steps."""
        return self.steps / self.steps_per_epoch


def schedule(recipe: Recipe, batches: Batches, gpus: int) -> Schedule:
    """Count the steps of a run on `gpus` ranks. Raises UserError where a key is malformed."""
    steps = total_steps(recipe, batches, gpus)
    return Schedule(
        steps_per_epoch(recipe, batches, gpus), steps, warmup=warmup_steps(recipe, steps)
    )


def steps_per_epoch(recipe: Recipe, batches: Batches, gpus: int) -> int:
    """The trainer's own count: micro batches of a rank, the last step of an epoch may be short.

    Accelerate deals the batches out; one that is missing at the end is filled up from the first,
    unless batches are dropped (`BatchSamplerShard`), as they always are with packing.
    """
    drops = recipe.values.get("sample_packing") or recipe.values.get("dataloader_drop_last")
    of_a_rank = batches.count // gpus if drops else math.ceil(batches.count / gpus)
    return max(math.ceil(of_a_rank / whole(recipe, "gradient_accumulation_steps")), 1)


def total_steps(recipe: Recipe, batches: Batches, gpus: int) -> int:
    """Axolotl's `calculate_total_num_steps`, which the trainer takes as its limit."""
    accumulated = whole(recipe, "gradient_accumulation_steps") * gpus
    epochs = number(recipe, "num_epochs", 1)
    if recipe.values.get("sample_packing"):
        steps = math.floor(max(1, batches.count // accumulated) * epochs)
        if recipe.values.get("dataloader_drop_last"):
            steps -= math.ceil(epochs)
    else:
        size = whole(recipe, "micro_batch_size") * accumulated
        steps = math.ceil(batches.rows * epochs / size)
    return min(steps, whole(recipe, "max_steps", steps))


def warmup_steps(recipe: Recipe, steps: int) -> int:
    """Axolotl rounds the ratio down, and makes two of one step (core/builders/base.py)."""
    given = recipe.values.get("warmup_steps")
    if given is not None:
        warmup = int(number(recipe, "warmup_steps", 0))
    elif recipe.values.get("warmup_ratio") is not None:
        warmup = int(min(number(recipe, "warmup_ratio", 0), 1.0) * steps)
    else:
        warmup = min(int(0.03 * steps), 100)
    return 2 if warmup == 1 else warmup
