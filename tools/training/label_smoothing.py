"""Axolotl plugin: the key `label_smoothing_factor` in a recipe.

Axolotl has the key for DPO alone (`dpo_label_smoothing`). The trainer under it knows label
smoothing, and Axolotl's trainer leaves the loss to it (`AxolotlTrainer.compute_loss`), so the key
need only be passed on. The logged `eval_loss` is then smoothed too; `cogex select` scores without.
"""

from typing import Any

from axolotl.integrations.base import BasePlugin
from pydantic import BaseModel, Field


class LabelSmoothingArgs(BaseModel):
    """The key that recipes may then have."""

    label_smoothing_factor: float = Field(default=0.0, ge=0.0, lt=1.0)


class LabelSmoothingPlugin(BasePlugin):
    """Adds the key to Axolotl's schema, and its value to the trainer's arguments."""

    def get_input_args(self) -> str:
        """Name the keys' model."""
        return "tools.training.label_smoothing.LabelSmoothingArgs"

    def get_training_args(self, cfg: Any) -> dict[str, float]:
        """Return the trainer's argument."""
        return {"label_smoothing_factor": cfg.label_smoothing_factor or 0.0}
