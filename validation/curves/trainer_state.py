"""Reads the trainer's state: what it logged, and how far the run is.

transformers writes `trainer_state.json` with each checkpoint; `tools.training.training_log` keeps
one in the run folder while training runs. Losses are the trainer's: nats per trained token,
averaged over batches, which is not the exact perplexity of `validation.selection.perplexity`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from tools.errors import UserError
from tools.results import validated
from tools.run_folder import checkpoint_folders, checkpoint_step

NAME = "trainer_state.json"
CURE = "is it what the trainer wrote? Train again or delete it"

Count = Annotated[int, Field(ge=0, le=2**53)]
Positive = Annotated[int, Field(ge=1, le=2**53)]
Epoch = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, populate_by_name=True)


class TrainingLog(_Strict):
    """One log of training. Losses and norms may be NaN or Inf: the checks report that."""

    step: Count
    epoch: Epoch
    loss: float  # mean of the steps since the last log
    grad_norm: float | None = None  # of this step, before clipping
    learning_rate: float | None = None  # with which this step was made
    tokens: Count | None = Field(None, alias="tokens/total")  # since the start, with padding
    trained_tokens: Count | None = Field(None, alias="tokens/trainable")


class Evaluation(_Strict):
    """One evaluation on the validation rows."""

    step: Count
    epoch: Epoch
    loss: float = Field(alias="eval_loss")


class _File(_Strict):
    global_step: Count
    max_steps: Positive
    logging_steps: Positive
    train_batch_size: Positive | None = None
    log_history: list[dict[str, Any]]


@dataclass(frozen=True)
class TrainerState:
    """A run as the trainer logged it; of two evaluations at one step the later one counts."""

    path: Path
    global_step: int
    max_steps: int
    logging_steps: int
    train_batch_size: int | None  # examples in a micro batch
    training: list[TrainingLog]
    evaluations: list[Evaluation]
    ended: bool  # the trainer is done and logs no more
    seconds: float | None  # of the last launch that came to its end, evaluations included

    @property
    def base(self) -> Evaluation | None:
        """The evaluation before the first step: the base model, because an adapter starts at
        zero."""
        first = self.evaluations[0] if self.evaluations else None
        return first if first and first.step == 0 else None


def read_run(run: Path) -> TrainerState:
    """Read the state of a run: the run folder's own, else that of its last checkpoint.

    Raises UserError if there is none, or if it is not what the trainer writes.
    """
    if (run / NAME).is_file():
        return read_state(run / NAME)
    states = [folder / NAME for folder in checkpoint_folders(run).values()]
    states = [path for path in states if path.is_file()]
    if not states:
        raise UserError(f"{run}: holds no {NAME}, nor a checkpoint with one; train the recipe")
    return read_state(states[-1])


def read_state(path: Path) -> TrainerState:
    """Read one `trainer_state.json`. Raises UserError naming the entry and key that are wrong."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: cannot be read as JSON ({error}); if it is half-written, "
            "delete it or its checkpoint folder"
        ) from None
    file = validated(_File, content, str(path), CURE)
    training, evaluations = [], {}
    for number, entry in enumerate(file.log_history):
        where = f"{path}: log_history, entry {number}"
        if "loss" in entry:
            training.append(validated(TrainingLog, entry, where, CURE))
        elif "eval_loss" in entry:
            evaluation = validated(Evaluation, entry, where, CURE)
            evaluations[evaluation.step] = evaluation  # a resumed run evaluates again
    seconds = [entry["train_runtime"] for entry in file.log_history if "train_runtime" in entry]
    # a checkpoint is written before the closing entry, so the last one cannot hold it
    last = checkpoint_step(path.parent) is not None and file.global_step >= file.max_steps
    return TrainerState(
        path=path,
        global_step=file.global_step,
        max_steps=file.max_steps,
        logging_steps=file.logging_steps,
        train_batch_size=file.train_batch_size,
        training=training,
        evaluations=sorted(evaluations.values(), key=lambda evaluation: evaluation.step),
        ended=bool(seconds) or last,
        seconds=seconds[-1] if seconds and isinstance(seconds[-1], float) else None,
    )
