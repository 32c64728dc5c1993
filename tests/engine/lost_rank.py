"""A plugin by which a rank, or a machine with all its ranks, is lost in the middle of a run.

It stands in every recipe of `rank_runs`; `LOSE` in the environment, `rank` or `machine`, says
whether it acts. The machine's last rank then leaves the time in LOST_AT and kills itself, before
that its launcher if the machine is to be lost.
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

from axolotl.integrations.base import BasePlugin
from transformers import TrainerCallback

STEP = 6  # steps are made and two of them not kept
LOST_AT = "lost-at"


class LostRank(BasePlugin):
    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        last = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) - 1
        if os.environ.get("LOSE") and int(os.environ["LOCAL_RANK"]) == last:
            trainer.add_callback(_Lose())


class _Lose(TrainerCallback):
    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step != STEP:
            return
        Path(LOST_AT).write_text(str(time.time()))
        if os.environ["LOSE"] == "machine":
            os.kill(os.getppid(), signal.SIGKILL)  # the launcher
        os.kill(os.getpid(), signal.SIGKILL)
