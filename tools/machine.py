"""What a figure was measured on: processor, memory, GPUs."""

import os
import platform
import resource
import sys
from collections import Counter
from pathlib import Path

GIB = 2**30


def describe_machine() -> str:
    """Name processor, cores, memory and GPUs of this machine, in one line."""
    parts = [f"{_processor()}, {os.cpu_count()} cores, {memory() / GIB:.0f} GiB of memory"]
    parts += [f"{count} x {name}" for name, count in Counter(_gpus()).items()]
    return ", ".join(parts)


def memory() -> int:
    """Return the bytes of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def peak_memory() -> dict[str, float]:
    """Return the most GiB that this process has held: `memory_gib`, and `gpu_memory_gib`."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
    found = {"memory_gib": round(peak / GIB, 2)}
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        found["gpu_memory_gib"] = round(torch.cuda.max_memory_reserved() / GIB, 2)
    return found


def _processor() -> str:
    """Return the name of the processor, or its architecture if Linux does not tell the name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _gpus() -> list[str]:
    """Return the name of each GPU, where PyTorch is loaded already."""
    torch = sys.modules.get("torch")
    if not torch or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
