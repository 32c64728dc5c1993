"""A plugin that stands in the recipe of every run of `killed_run`, killed or not.

`KILL` in the environment says when it acts, as in `evaluation 4`, so that recipe and command stay
the same.
"""

import os
import signal
from typing import Any

from axolotl.integrations.base import BasePlugin
from transformers import TrainerCallback

CALLBACKS = {
    "step": "on_pre_optimizer_step",  # the gradient is there, the weights are not changed yet
    "evaluation": "on_prediction_step",
    "end": "on_train_end",  # every step is made and kept, the model itself is not saved yet
}


class Killer(BasePlugin):
    """Kills its whole process group at one moment of one step."""

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        moment, _, step = os.environ.get("KILL", "").partition(" ")
        if moment in CALLBACKS:
            trainer.add_callback(_KillAt(CALLBACKS[moment], int(step)))
        elif moment == "checkpoint":  # weights and optimizer are written, the rest is not
            save = trainer._save_rng_state
            trainer._save_rng_state = lambda folder: (
                _kill() if folder.endswith(f"checkpoint-{step}") else save(folder)
            )


class _KillAt(TrainerCallback):
    def __init__(self, event: str, step: int) -> None:
        self.step = step
        setattr(self, event, self.look)

    def look(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            _kill()


def _kill() -> None:
    os.killpg(0, signal.SIGKILL)
