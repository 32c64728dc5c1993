"""The one Axolotl plugin of this project, named in every recipe that trains an adapter.

Axolotl 0.19 seeds the order of the rows, and transformers' Trainer seeds itself when it is made;
the LoRA weights are drawn before that, unseeded, so that two runs of one recipe differ from the
first step on. The plugin seeds them, holds the batch to the header's, keeps the trainer's log, and
decides whether and from where a run goes on.
"""

from pathlib import Path
from typing import Any

from axolotl.integrations.base import BasePlugin
from transformers import TrainerCallback, set_seed

from tools import resume
from tools.declared_batch import BatchCheck
from tools.training_log import StateWriter


class CogexPlugin(BasePlugin):
    """Seeds the adapter's start, says where a run goes on, and adds callbacks to the trainer."""

    def register(self, cfg: Any) -> None:
        """Keep the recipe as it is written, for validation fills in what depends on the machine."""
        self.launch = resume.this_launch(cfg.to_dict())

    def load_datasets(self, cfg: Any, preprocess: bool = False) -> None:
        """Before `axolotl train` loads anything, and in no other command: where it goes on from.

        Set here and not left to Axolotl's `auto_resume_from_checkpoints`, which decides after the
        callbacks are made: the count of tokens would then start again.
        """
        if not preprocess and (checkpoint := resume.begin_or_resume(self.launch)):
            cfg.resume_from_checkpoint = str(checkpoint)

    def post_train_unload(self, cfg: Any) -> None:
        """Note that the run is finished, its model saved."""
        resume.finish(self.launch)

    def pre_model_load(self, cfg: Any) -> None:
        """Seed before the model is made."""
        set_seed(cfg.seed)

    def pre_lora_load(self, cfg: Any, model: Any) -> None:
        """Seed before the adapter is made."""
        set_seed(cfg.seed)

    def add_callbacks_pre_trainer(self, cfg: Any, model: Any) -> list[TrainerCallback]:
        """Return what looks at the run: its batch, its log."""
        return [BatchCheck(Path(cfg.axolotl_config_path)), StateWriter()]
