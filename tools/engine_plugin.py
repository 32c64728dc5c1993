"""The one Axolotl plugin of this project, named in every recipe that trains an adapter.

Axolotl 0.19 seeds the order of the rows, and transformers' Trainer seeds itself when it is made;
the LoRA weights are drawn before that, unseeded, so that two runs of one recipe differ from the
first step on. The plugin seeds them, holds the batch to the header's, keeps the trainer's log, and
decides whether and from where a run goes on.
"""

from pathlib import Path
from typing import Any

from axolotl.integrations.base import BasePlugin
from peft import set_peft_model_state_dict
from safetensors.torch import load_file, save_file
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
        if preprocess:
            return
        checkpoint = resume.begin_or_resume(self.launch)
        resume.stop_unless_ranks_agree(self.launch, checkpoint)
        if checkpoint:
            cfg.resume_from_checkpoint = str(checkpoint)

    def post_train_unload(self, cfg: Any) -> None:
        """Note that the run is finished, its model saved."""
        if cfg.fsdp_config and self.launch.rank == 0:
            _name_as_peft_does(self.launch.run / "adapter_model.safetensors")
        resume.finish(self.launch)

    def pre_model_load(self, cfg: Any) -> None:
        """Seed before the model is made."""
        set_seed(cfg.seed)

    def pre_lora_load(self, cfg: Any, model: Any) -> None:
        """Seed before the adapter is made."""
        set_seed(cfg.seed)

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        """Let all ranks draw the order of the rows from rank 0's random state, in each pass.

        `group_by_length` draws it from PyTorch's own state, which ranks that draw anything else
        no longer share: of each epoch some rows then come twice and some never.
        """
        trainer.accelerator.rng_types = ["torch"]

    def post_lora_load(self, cfg: Any, model: Any) -> None:
        """Under FSDP, put a run's adapter back before it is sharded.

        accelerate 1.13 does so after it, and fills rank 0's part alone (mended later:
        huggingface/accelerate#4206). What it loads then is the same once more.
        """
        if cfg.fsdp_config and cfg.resume_from_checkpoint:
            weights = load_file(Path(cfg.resume_from_checkpoint) / "adapter_model.safetensors")
            set_peft_model_state_dict(model, weights)

    def add_callbacks_pre_trainer(self, cfg: Any, model: Any) -> list[TrainerCallback]:
        """Return what looks at the run: its batch, its log."""
        return [BatchCheck(Path(cfg.axolotl_config_path)), StateWriter()]


def _name_as_peft_does(adapter: Path) -> None:
    """Rename the weights of the last adapter of a run with FSDP's activation checkpointing.

    Axolotl 0.19 leaves the wrapper's name in them, and PEFT then loads none of them. The
    checkpoints are named right.
    """
    weights = load_file(adapter)
    plain = {name.replace("_checkpoint_wrapped_module.", ""): weights[name] for name in weights}
    if plain.keys() != weights.keys():
        fresh = adapter.with_name(f".{adapter.name}.next")
        save_file(plain, fresh, metadata={"format": "pt"})
        fresh.replace(adapter)
