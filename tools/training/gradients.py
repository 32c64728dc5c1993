"""Keeps gradients finite where the cause is known, and ends a run whose gradients are not."""

import math
from collections.abc import Callable
from typing import Any

import torch
from transformers import TrainerCallback

SOUND_CUDNN = 92_600  # version 9.26.0
PATIENCE = 10  # steps; fp16's loss scaling may skip several at the start


def keep_gradients_finite(trainer: Any) -> None:
    """Keep padded batches away from the attention of older cuDNN, whose gradients may be NaN.

    Before 9.26 they are NaN where a masked batch is an odd multiple of 64 wide and a token attends
    to almost nothing (pytorch/pytorch#196678). Axolotl pads to multiples of 64. Padding on the
    left, the default of Llama's tokenizer class, adds tokens that attend to nothing at all.
    """
    trainer.processing_class.padding_side = "right"
    if (torch.backends.cudnn.version() or SOUND_CUDNN) < SOUND_CUDNN:
        torch.backends.cuda.enable_cudnn_sdp(False)


class StopAtNaN(TrainerCallback):
    """Ends a run when the gradient's norm was NaN or infinite at each of `PATIENCE` logs.

    Without it the run goes on to its end: the trainer logs a loss of 0 in place of NaN.
    """

    def __init__(self, stop: Callable[[str], Any]) -> None:
        """Take what ends the process with a message."""
        self.stop = stop
        self.bad = 0  # logs in a row

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Count, and stop."""
        norm = (logs or {}).get("grad_norm")
        if norm is None:
            return
        self.bad = 0 if math.isfinite(float(norm)) else self.bad + 1
        if self.bad == PATIENCE:
            self.stop(
                f"step {state.global_step}: the gradient's norm was NaN or infinite at the last "
                f"{PATIENCE} logs, so the weights no longer learn. Lower `learning_rate`, or try "
                "`attn_implementation: eager`; then train into a new `output_dir`"
            )
