"""Asks the engine what only an import can tell; prints one JSON object a line.

`cogex doctor` runs it as a process of its own: an import that hangs or crashes ends only this, and
what was printed before still counts.
"""

import json
from collections.abc import Callable
from typing import Any


def ask_torch() -> dict[str, Any]:
    """Its build, and the GPUs it can use: name, memory in bytes, compute capability."""
    import torch

    cuda, nccl = torch.cuda.is_available(), torch.distributed.is_nccl_available()
    properties = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())]
    return {
        "cuda": torch.version.cuda,
        "nccl": ".".join(map(str, torch.cuda.nccl.version())) if nccl else None,
        "gpus": [[p.name, p.total_memory, [p.major, p.minor]] for p in properties] if cuda else [],
    }


def ask_attention() -> dict[str, Any]:
    """Which of transformers' attention backends can be used, nothing fetched from the hub."""
    from torch.nn import functional
    from transformers.utils import import_utils

    return {
        "sdpa": hasattr(functional, "scaled_dot_product_attention"),
        "flex": import_utils.is_torch_flex_attn_available(),
        "flash-attn": import_utils.is_flash_attn_2_available(),
    }


def ask_engine() -> dict[str, Any]:
    """Import everything that a training run imports; the answer is empty if that works."""
    import axolotl.core.builders
    import axolotl.train  # noqa: F401

    import prompt_strategies.cogex  # noqa: F401

    return {}


def ask_bitsandbytes() -> dict[str, Any]:
    """Whether it has its native code."""
    from bitsandbytes import cextension

    return {"native": not isinstance(cextension.lib, cextension.ErrorHandlerMockBNBNativeLibrary)}


ASKED: dict[str, Callable[[], dict[str, Any]]] = {
    "torch": ask_torch,
    "attention": ask_attention,
    "engine": ask_engine,
    "bitsandbytes": ask_bitsandbytes,
}


def main() -> None:
    """Print each answer; for one that raises, its `error`."""
    for name, ask in ASKED.items():
        try:
            said = ask()
        except Exception as error:
            said = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
        print(json.dumps({name: said}), flush=True)


if __name__ == "__main__":
    main()
