"""The one Axolotl plugin of this project, named in every recipe that trains an adapter.

It holds the batch to the header's, keeps the trainer's log, decides whether and from where a run
goes on, and makes several ranks train as one does.
"""

import sys
from pathlib import Path
from typing import Any

from axolotl.integrations.base import BasePlugin
from transformers import TrainerCallback

from tools.training import resume
from tools.training.batch import BatchCheck
from tools.training.training_log import StateWriter


class CogexPlugin(BasePlugin):
    """Says where a run goes on, makes ranks train as one does, adds callbacks to the trainer."""

    def register(self, cfg: Any) -> None:
        """Keep the recipe as it is written, for validation fills in what depends on the machine."""
        self.launch = resume.this_launch(cfg.to_dict())

    def load_datasets(self, cfg: Any, preprocess: bool = False) -> None:
        """Before `axolotl train` loads anything, and in no other command: where it goes on from.

        Set here and not left to Axolotl's `auto_resume_from_checkpoints`, which decides after the
        callbacks are made: the count of tokens would then start again.
        """
        if preprocess:
            return
        checkpoint = resume.begin_or_resume(self.launch)
        resume.stop_unless_ranks_agree(self.launch, checkpoint)
        if checkpoint:
            cfg.resume_from_checkpoint = str(checkpoint)

    def post_train_unload(self, cfg: Any) -> None:
        """Note that the run is finished, its model saved.

        Axolotl 0.21 comes here after an error too, which is then on its way up.
        """
        if sys.exception() is None:
            resume.finish(self.launch)

    def get_training_args(self, cfg: Any) -> dict[str, Any]:
        """Let each trained token of a step weigh the same, whichever rank has it.

        Axolotl 0.21 has each rank average over its own tokens (core/builders/base.py).
        """
        return {"average_tokens_across_devices": True}

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        """Let all ranks draw the order of the rows from rank 0's random state, in each pass.

        `group_by_length` draws it from PyTorch's own state, which ranks that draw anything else
        no longer share: of each epoch some rows then come twice and some never.
        """
        trainer.accelerator.rng_types = ["torch"]

    def add_callbacks_pre_trainer(self, cfg: Any, model: Any) -> list[TrainerCallback]:
        """Return what looks at the run: its batch, its log."""
        return [BatchCheck(Path(cfg.axolotl_config_path)), StateWriter()]
