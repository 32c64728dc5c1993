"""The one place where faults are planted into runs of the engine: a plugin of their recipes.

`FAULT` in the environment says what happens and at which step, as in `evaluation 4`, so that recipe
and command stay the same. Where it is not set, nothing happens.

- evaluation, end: the whole process group is killed at that moment (MOMENTS)
- checkpoint: it is killed when weights and optimizer are written, and the rest is not
- rank: the machine's last rank kills itself, and leaves the time in LOST_AT
- machine: the same, and before that it kills its launcher
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

from axolotl.integrations.base import BasePlugin
from transformers import TrainerCallback

MOMENTS = {
    "evaluation": "on_prediction_step",
    "end": "on_train_end",  # every step is made and kept, the model itself is not saved yet
    "rank": "on_step_begin",
    "machine": "on_step_begin",
}
LOST_AT = "lost-at"


class Faults(BasePlugin):
    """Makes the fault that `FAULT` names happen."""

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        fault, _, step = os.environ.get("FAULT", "").partition(" ")
        if fault in MOMENTS:
            trainer.add_callback(_At(fault, int(step)))
        elif fault == "checkpoint":
            save = trainer._save_rng_state
            trainer._save_rng_state = lambda folder: (
                _kill_group() if folder.endswith(f"checkpoint-{step}") else save(folder)
            )


class _At(TrainerCallback):
    def __init__(self, fault: str, step: int) -> None:
        self.fault, self.step = fault, step
        setattr(self, MOMENTS[fault], self.look)

    def look(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            _kill_group() if self.fault not in ("rank", "machine") else _lose(self.fault)


def _kill_group() -> None:
    os.killpg(0, signal.SIGKILL)


def _lose(what: str) -> None:
    if int(os.environ["LOCAL_RANK"]) != int(os.environ["LOCAL_WORLD_SIZE"]) - 1:
        return
    Path(LOST_AT).write_text(str(time.time()))
    if what == "machine":
        os.kill(os.getppid(), signal.SIGKILL)  # the launcher
    os.kill(os.getpid(), signal.SIGKILL)
