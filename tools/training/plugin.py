"""The Axolotl plugin that every recipe of this project names.

It adds keys to a recipe, keeps the number of examples in each optimizer step, decides whether and
from where a run continues, makes several ranks train as one does, and keeps the trainer's log.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

from accelerate.utils import parse_flag_from_env
from axolotl.integrations.base import BasePlugin
from pydantic import BaseModel, Field
from transformers import TrainerCallback
from transformers.integrations import is_deepspeed_zero3_enabled

from tools.errors import UserError
from tools.recipe import Recipe
from tools.training import resume
from tools.training.batch import accumulation
from tools.training.gradients import StopAtNaN, keep_gradients_finite
from tools.training.samples import SampleWriter, validation_prompts
from tools.training.training_log import StateWriter

Count = Annotated[int, Field(strict=True, gt=0)]


class CogexArgs(BaseModel):
    """The keys that this plugin adds to Axolotl's."""

    examples_per_step: Count | None = None  # in each optimizer step, over all ranks
    packs_per_step: Count | None = None  # the same where rows are packed, in packs
    validation_rows: Count | None = None  # what `cogex preflight` expects to find
    samples_per_save: Count | None = None  # rows that the model answers at each checkpoint
    label_smoothing_factor: float = Field(default=0.0, ge=0.0, lt=1.0)  # Axolotl has it for DPO


class CogexPlugin(BasePlugin):
    """Says where a run continues, makes ranks train as one does, adds callbacks to the trainer."""

    def get_input_args(self) -> str:
        """Name the keys' model."""
        return "tools.training.plugin.CogexArgs"

    def register(self, cfg: Any) -> None:
        """Set the accumulation for this number of ranks, before Axolotl looks at the recipe.

        The recipe is kept as it is written, for validation fills in what depends on the machine.
        """
        recipe = Recipe(Path(cfg.axolotl_config_path), cfg.to_dict())
        self.launch = resume.this_launch(recipe.values)
        try:
            cfg.gradient_accumulation_steps = accumulation(recipe, self.launch.ranks)
        except UserError as error:
            self.launch.stop(str(error))

    def load_datasets(self, cfg: Any, preprocess: bool = False) -> None:
        """Before `axolotl train` loads anything, and in no other command: where it continues.

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
        """Pass the trainer's own keys on, and let each trained token of a step weigh the same.

        Axolotl 0.21 has each rank average over its own tokens (core/builders/base.py). Where labels
        are smoothed the logged `eval_loss` is too; `cogex select` scores without. transformers
        refuses `bf16: true` without a GPU, unless `use_cpu` says that it is meant: launched by
        `accelerate launch --cpu` it is.
        """
        return {
            "average_tokens_across_devices": True,
            "label_smoothing_factor": cfg.label_smoothing_factor or 0.0,
            "use_cpu": parse_flag_from_env("ACCELERATE_USE_CPU"),
        }

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        """Let all ranks draw the order of the rows from rank 0's random state, in each pass.

        `group_by_length` draws it from PyTorch's own state, which ranks that draw anything else
        no longer share: of each epoch some rows then come twice and some never.
        """
        trainer.accelerator.rng_types = ["torch"]
        keep_gradients_finite(trainer)

    def add_callbacks_pre_trainer(self, cfg: Any, model: Any) -> list[TrainerCallback]:
        """Return what writes the run's log, and what ends a run that is lost."""
        return [StateWriter(), StopAtNaN(self.launch.stop)]

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[TrainerCallback]:
        """Return what writes samples, where the recipe asks for them."""
        if not cfg.samples_per_save:
            return []
        if trainer.is_fsdp_enabled or is_deepspeed_zero3_enabled():
            # the first rank would wait for the others' shards for ever
            self.launch.say("samples_per_save: no samples where ranks hold shards of the weights")
            return []
        recipe = Recipe(Path(cfg.axolotl_config_path), cfg.to_dict())
        prompts = validation_prompts(recipe, cfg.samples_per_save)
        return [SampleWriter(prompts, trainer.processing_class, recipe.sequence_len)]
