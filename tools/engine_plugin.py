"""The one Axolotl plugin of this project, named in every recipe that trains an adapter.

Axolotl 0.19 seeds the order of the rows, and transformers' Trainer seeds itself when it is made;
the LoRA weights are drawn before that, unseeded, so that two runs of one recipe differ from the
first step on. The plugin seeds them, holds the batch to the header's, and keeps the trainer's log.
"""

from pathlib import Path
from typing import Any

from axolotl.integrations.base import BasePlugin
from transformers import TrainerCallback, set_seed

from tools.declared_batch import BatchCheck
from tools.training_log import StateWriter


class CogexPlugin(BasePlugin):
    """Seeds the adapter's start, and adds this project's callbacks to the trainer."""

    def pre_model_load(self, cfg: Any) -> None:
        """Seed before the model is made."""
        set_seed(cfg.seed)

    def pre_lora_load(self, cfg: Any, model: Any) -> None:
        """Seed before the adapter is made."""
        set_seed(cfg.seed)

    def add_callbacks_pre_trainer(self, cfg: Any, model: Any) -> list[TrainerCallback]:
        """Return what looks at the run: its batch, its log."""
        return [BatchCheck(Path(cfg.axolotl_config_path)), StateWriter()]
