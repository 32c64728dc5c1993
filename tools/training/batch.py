"""Trainer callback: a run starts only with the batch that the recipe's header declares.

A recipe written for two GPUs and launched on four trains on twice as many examples in each
optimizer step, without a word: the learning rate then no longer fits, and the paper's 32 is 64.
"""

from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tools.recipe_header import Header, read_header


class BatchCheck(TrainerCallback):
    """Compares micro batch x accumulation x ranks with the header, before the first step."""

    def __init__(self, recipe: Path) -> None:
        """Hold the recipe's path; its header is read when training begins."""
        self.recipe = recipe

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Raise SystemExit with one message where the product differs."""
        header = read_header(self.recipe)
        mine = (args.per_device_train_batch_size, args.gradient_accumulation_steps, args.world_size)
        if problem := disagreement(header, *mine):
            raise SystemExit(f"{self.recipe}: {problem}")


def disagreement(header: Header, micro: int, accumulation: int, ranks: int) -> str | None:
    """Say in what the batch differs from the declared one, and what to set; None if it agrees."""
    declared = header.micro * header.accumulation * header.ranks
    if micro * accumulation * ranks == declared:
        return None
    per_step = micro * ranks
    cure = (
        f"set gradient_accumulation_steps to {declared // per_step}"
        if declared % per_step == 0
        else "no whole gradient_accumulation_steps keeps it; change micro_batch_size too"
    )
    return (
        f"on {ranks} ranks each optimizer step takes {micro} (micro) x {accumulation} "
        f"(accumulation) x {ranks} = {micro * accumulation * ranks}, the header declares "
        f"{declared}: {cure}, or launch on {header.ranks}"
    )
