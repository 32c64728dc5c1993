"""An Axolotl plugin that lets ranks train together on CPUs, through gloo.

Only the recipes that tests write name it. Axolotl, accelerate and DeepSpeed take several ranks for
several GPUs; what the plugin replaces is that and nothing else: where the model lies, and what
carries the messages.
"""

import os
from typing import Any

import torch
from accelerate import DistributedType, PartialState
from accelerate.utils import ParallelismConfig
from axolotl.integrations.base import BasePlugin


class GlooRanksOnCpuForTests(BasePlugin):
    """Puts each rank on the CPU; stops where a GPU is in sight."""

    def register(self, cfg: Any) -> None:
        """Before anything asks for a device."""
        if torch.cuda.is_available():
            raise SystemExit(f"{type(self).__name__} is for tests on CPUs, and here is a GPU")
        os.environ |= {"DS_ACCELERATOR": "cpu", "ACCELERATE_TORCH_DEVICE": "cpu"}
        # Axolotl asks for it on every rank; without a driver the CUDA build raises RuntimeError
        torch.cuda.can_device_access_peer = lambda *_: True
        PartialState._prepare_backend = _gloo_where_there_is_none
        ParallelismConfig.build_device_mesh = lambda self, _: _build_device_mesh(self, "cpu")
        if cfg.deepspeed:
            import deepspeed

            # its own messages between CPUs would first be compiled, for half a minute
            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False

    def load_datasets(self, cfg: Any, preprocess: bool = False) -> None:
        """Axolotl has set device LOCAL_RANK by now."""
        cfg.device_map = {"": "cpu"}


_prepare_backend = PartialState._prepare_backend
_build_device_mesh = ParallelismConfig.build_device_mesh  # Axolotl asks it for "cuda"


def _gloo_where_there_is_none(self: PartialState, *args: Any) -> tuple[str, DistributedType]:
    """MULTI_CPU would be right, but accelerate has FSDP for GPUs alone."""
    backend, kind = _prepare_backend(self, *args)
    if backend is None and "LOCAL_RANK" in os.environ:
        fsdp = os.environ.get("ACCELERATE_USE_FSDP") == "true"
        return "gloo", DistributedType.MULTI_GPU if fsdp else DistributedType.MULTI_CPU
    return backend, kind
