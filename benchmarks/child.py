"""Runs a command in its own process, and measures time and memory.

    python -m benchmarks.child RESULT COMMAND …

is what `measure` calls. Linux counts the memory of the parent process as the child's own, so a
small process must start the command.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {
    "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "true", "PYTHONPATH": str(ROOT),
}  # fmt: skip


class Took(NamedTuple):
    """Wall time, CPU time, and the peak memory of the process or of one of its children."""

    seconds: float
    cpu_seconds: float  # of all its threads and children
    peak_mib: float


def measure(command: Sequence[str]) -> Took:
    """Run a command silently. Raises SystemExit with the end of its output if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.child", str(result), *command],
            env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        if done.returncode:
            shown, end = " ".join(command), done.stdout[-3000:]
            raise SystemExit(f"{shown} ended with {done.returncode}:\n{end}")
        return Took(**json.loads(result.read_text()))


def _run(result: str, *command: str) -> int:
    start = time.perf_counter()
    code = subprocess.run(command).returncode
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = Took(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
    Path(result).write_text(json.dumps(took._asdict()))
    return code


if __name__ == "__main__":
    sys.exit(_run(*sys.argv[1:]))
