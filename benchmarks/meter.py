"""Measures a run of transformers' Trainer or a subclass: tokens, seconds, loss, memory.

Tokens are counted in the batches that the model receives, in the same way for Axolotl and for TRL.
Useful tokens are those of the rows, without padding. The seconds of a step run from the end of the
step before it, so they include loading, optimizer and logging.
"""

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from transformers import TrainerCallback

GIB = 2**30


@dataclass(frozen=True)
class Step:
    """One optimizer step. Loss and gradient norm are as the trainer logged them."""

    seconds: float
    cpu_seconds: float  # of all threads of the process, independent of other programs
    examples: int  # rows; a pack holds several
    tokens: int  # without padding
    computed: int  # tokens, padding included
    pairs: int  # of tokens in attention: the sum of squared lengths
    largest: int  # tokens of the largest micro batch, padding included
    loss: float
    grad_norm: float


class Meter(TrainerCallback):
    """Counts what a trainer computes. `attach` it before training, `report` after it."""

    def __init__(self, pad: int) -> None:
        """Hold the pad token."""
        self.pad = pad
        self.micro: list[torch.Tensor] = []  # of the current step
        self.steps: list[torch.Tensor] = []  # (micro batches, 4) each
        self.ends: list[tuple[float, float]] = []  # seconds by the clock and of the CPU

    def attach(self, trainer: Any) -> None:
        """Count in every call of the trainer's `compute_loss`."""
        self.trainer = trainer
        self.compute_loss = trainer.compute_loss
        trainer.compute_loss = self._note
        trainer.add_callback(self)

    def _note(self, model: Any, batch: dict[str, torch.Tensor], *args: Any, **named: Any) -> Any:
        self.micro.append(count(batch, self.pad))
        return self.compute_loss(model, batch, *args, **named)

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self.ends.append((time.perf_counter(), time.process_time()))

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note the end of the step; wait for the GPU to finish it."""
        self.steps.append(torch.stack(self.micro).cpu())
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append((time.perf_counter(), time.process_time()))
        self.micro = []

    def report(self) -> dict[str, Any]:
        """Return the steps and the GPU's memory."""
        self.trainer.compute_loss = self.compute_loss
        logged = [entry for entry in self.trainer.state.log_history if "loss" in entry]
        return {
            "steps": [asdict(self._step(number, entry)) for number, entry in enumerate(logged)],
            "memory": memory(),
        }

    def _step(self, number: int, logged: dict[str, Any]) -> Step:
        examples, tokens, computed, pairs = self.steps[number].unbind(1)
        (start, cpu_start), (end, cpu_end) = self.ends[number : number + 2]
        return Step(
            seconds=end - start,
            cpu_seconds=cpu_end - cpu_start,
            examples=int(examples.sum()),
            tokens=int(tokens.sum()),
            computed=int(computed.sum()),
            pairs=int(pairs.sum()),
            largest=int(computed.max()),
            loss=logged["loss"],
            grad_norm=logged["grad_norm"],
        )


def useful(batch: dict[str, torch.Tensor], pad: int) -> torch.Tensor:
    """Return a mask of the tokens that are not padding, of the batch's shape (rows, width).

    The attention mask of a pack holds the number of each token's document, or is missing. Without
    it, padding is last, and no row ends with the pad token.
    """
    if batch.get("attention_mask") is not None:
        return batch["attention_mask"] != 0
    return (batch["input_ids"] != pad).flip(-1).cumsum(-1).flip(-1) > 0


def count(batch: dict[str, torch.Tensor], pad: int) -> torch.Tensor:
    """Return examples, tokens, tokens with padding and pairs of a micro batch.

    All of it stays on the GPU, so that counting does not wait for the GPU.
    """
    ids, real = batch["input_ids"], useful(batch, pad)

    def scalar(value: int) -> torch.Tensor:
        return torch.full((), value, device=ids.device)

    if "position_ids" in batch:
        positions = batch["position_ids"]  # they start again at each document
        examples = ((positions == 0) & real).sum()
        pairs = ((2 * positions + 1) * real).sum()  # 1 + 3 + ... + (2n - 1) = n squared
    else:
        examples = scalar(ids.shape[0])
        pairs = scalar(ids.shape[0] * ids.shape[1] ** 2)
    return torch.stack([examples, real.sum(), scalar(ids.numel()), pairs])


def memory() -> dict[str, float]:
    """Return the peaks of training, in GiB of the GPU."""
    if not torch.cuda.is_available():
        return {}
    return {
        "allocated": torch.cuda.max_memory_allocated() / GIB,
        "reserved": torch.cuda.max_memory_reserved() / GIB,
    }


@dataclass(frozen=True)
class Rates:
    """The rates of a run without its first steps."""

    tokens_per_second: float  # useful ones
    tokens_per_cpu_second: float
    seconds_per_step: float
    padding: float  # share of the tokens that are computed
    examples_per_step: float


def rates(steps: list[dict[str, Any]], skipped: int) -> Rates:
    """Compute the rates of all steps after the first `skipped`; at least one must remain."""
    timed = steps[skipped:]
    total = {key: sum(step[key] for step in timed) for key in timed[0]}
    return Rates(
        tokens_per_second=total["tokens"] / total["seconds"],
        tokens_per_cpu_second=total["tokens"] / total["cpu_seconds"],
        seconds_per_step=total["seconds"] / len(timed),
        padding=1 - total["tokens"] / total["computed"],
        examples_per_step=total["examples"] / len(timed),
    )
