"""What `benchmarks.gpu` does on the GPU itself besides training, in a process of its own.

    python -m benchmarks.gpu_parts card RESULT           what card it is, and how fast
    python -m benchmarks.gpu_parts base CONFIG FOLDER    draw a Llama's weights, write them

Without a GPU both are done on the CPU.
"""

import importlib.metadata
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.meter import GIB
from tools.files import write_json

SIDE, SIDE_CPU = 8192, 1024  # of the square matrices that are multiplied
PRODUCTS = 20
PACKAGES = ("torch", "transformers", "peft", "axolotl", "trl")


def card() -> dict[str, Any]:
    """Return the card's name, memory in GiB, measured rate in TFLOP/s, and the versions."""
    gpu = torch.cuda.is_available()
    memory = torch.cuda.get_device_properties(0).total_memory / GIB if gpu else None
    return {
        "card": torch.cuda.get_device_name(0) if gpu else platform.machine(),
        "memory_gib": memory,
        "matrix_tflops": matrix_rate() / 1e12,
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def matrix_rate() -> float:
    """Operations a second of square matrix products: bf16 on a GPU, fp32 on a CPU."""
    gpu = torch.cuda.is_available()
    side, dtype = (SIDE, torch.bfloat16) if gpu else (SIDE_CPU, torch.float32)
    left, right = (torch.randn(side, side, device=device()).to(dtype) for _ in range(2))
    for _ in range(3):
        left @ right
    wait()
    start = time.perf_counter()
    for _ in range(PRODUCTS):
        left @ right
    wait()
    return PRODUCTS * 2 * side**3 / (time.perf_counter() - start)


def base(config: dict[str, Any], folder: Path) -> None:
    """Draw the weights as transformers initialises them, and write them as a hub model has them."""
    from transformers import AutoConfig, AutoModelForCausalLM, set_seed

    set_seed(42)
    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    with device():
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), dtype=dtype)
    model.save_pretrained(folder, max_shard_size="5GB")
    (folder / "done").touch()


def device() -> torch.device:
    """The first GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait() -> None:
    """Wait until the GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["card", result]:
            write_json(Path(result), card())
        case ["base", config, folder]:
            base(json.loads(config), Path(folder))
