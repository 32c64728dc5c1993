"""What a recipe says its run will do: examples and tokens in a step, steps, learning rates."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tools.recipe import Recipe, number, whole
from tools.recipe_header import read_header
from tools.training import run_record
from tools.training.batch import accumulation
from validation.preflight.batches import padded
from validation.preflight.schedule import warmup_steps

# with one of these Axolotl makes another curve than cosine (core/trainers/mixins/scheduler.py)
OTHER_CURVES = (
    "cosine_min_lr_ratio", "cosine_constant_lr_ratio", "lr_quadratic_warmup",
    "jagged_restart_steps", "lr_scheduler_kwargs",
)  # fmt: skip

Schedule = Callable[[int], float]  # from a step, counted from 1, to the learning rate that makes it


@dataclass(frozen=True)
class ExpectedRun:
    """The figures of a recipe that a run is compared with."""

    recipe: Recipe
    examples: int  # in each optimizer step, over all ranks; with packing on average
    micro: int  # examples (or packs) in a micro batch
    accumulation: int  # micro batches that a rank adds up for one step
    rows: int | None  # of the training file; None where it is not here
    epochs: float
    most_steps: int | None  # the recipe's own limit
    most_tokens: int  # in one optimizer step, padding counted
    peak: float  # the highest learning rate
    max_grad_norm: float

    @property
    def packed(self) -> bool:
        """Whether several rows share a sequence."""
        return bool(self.recipe.values.get("sample_packing"))

    @property
    def other_curve(self) -> str | None:
        """The key of the recipe that asks for a learning rate other than warm-up and cosine."""
        values = self.recipe.values
        if (values.get("lr_scheduler") or "cosine") != "cosine":
            return f"lr_scheduler: {values['lr_scheduler']}"
        return next((key for key in OTHER_CURVES if values.get(key)), None)

    def schedule(self, steps: int) -> Schedule:
        """The learning rate of a run of `steps` steps, as the trainer makes it."""
        return cosine(self.peak, warmup_steps(self.recipe, steps), steps)


def expected_run(recipe: Recipe) -> ExpectedRun:
    """Work out the run of a recipe. Raises UserError where a key or the header cannot be used."""
    steps = whole(recipe, "max_steps", 0)
    ranks, micro = _ranks(recipe), whole(recipe, "micro_batch_size")
    accumulated = accumulation(recipe, ranks)
    sequences = micro * accumulated * ranks
    return ExpectedRun(
        recipe=recipe,
        examples=whole(recipe, "examples_per_step"),
        micro=micro,
        accumulation=accumulated,
        rows=_count_rows(Path(recipe.training["path"])),
        epochs=number(recipe, "num_epochs", 1),
        most_steps=steps or None,
        most_tokens=sequences * padded(recipe, recipe.sequence_len),
        peak=number(recipe, "learning_rate", 0),
        max_grad_norm=number(recipe, "max_grad_norm", 1),
    )


def cosine(peak: float, warmup: int, steps: int) -> Schedule:
    """Linear warm-up and half a cosine down to 0, by transformers' own scheduler.

    The trainer logs the rate before the scheduler moves on: step s is made, and logged, with what
    the scheduler gives for s - 1.
    """
    import tools.models  # noqa: F401, I001 (first: it keeps quiet what transformers imports)
    import torch
    from transformers import get_cosine_schedule_with_warmup

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    factor = get_cosine_schedule_with_warmup(optimizer, warmup, steps).lr_lambdas[0]
    return lambda step: peak * factor(step - 1)


def _ranks(recipe: Recipe) -> int:
    """The ranks that the run was started on; before it starts, those of the recipe's header."""
    record = run_record.read(recipe.output_dir)
    ranks = record.facts.get("ranks") if record else None
    return ranks or read_header(recipe.path).ranks


def _count_rows(path: Path) -> int | None:
    try:
        with path.open("rb") as file:
            return sum(1 for line in file if line.strip())
    except OSError:
        return None
