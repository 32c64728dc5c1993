"""Axolotl plugin: train in bf16 mixed precision on the CPU.

transformers refuses `bf16: true` without a GPU unless `use_cpu` is set, and Axolotl has no key for
it. Only the recipes of the tiny base name this plugin.
"""

from typing import Any

from axolotl.integrations.base import BasePlugin


class CpuBf16Plugin(BasePlugin):
    """Sets the trainer's `use_cpu`."""

    def get_training_args(self, cfg: Any) -> dict[str, Any]:
        """Return the trainer arguments that this plugin adds."""
        return {"use_cpu": True}
