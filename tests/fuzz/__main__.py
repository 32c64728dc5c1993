"""Runs every target: `python -m tests.fuzz [COUNT] [SEED]`.

An equal part of COUNT (20,000 unless given) goes to each. What fails is printed with what was done
to it; exit 1. Not part of `make test`: the same seed gives the same mutations, so a finding becomes
a unit test.
"""

import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from tests.fuzz.checkpoints import fuzz_checkpoints
from tests.fuzz.findings import Findings
from tests.fuzz.generations import fuzz_generations
from tests.fuzz.prepared import fuzz_prepared
from tests.fuzz.recipes import fuzz_recipes
from tests.fuzz.rows import fuzz_rows
from tests.fuzz.selection import fuzz_selection
from tests.fuzz.states import fuzz_states

ROOT = Path(__file__).parents[2]
TARGETS: list[Callable[[random.Random, int, Findings], None]] = [
    fuzz_rows,
    fuzz_prepared,
    fuzz_recipes,
    fuzz_states,
    fuzz_checkpoints,
    fuzz_selection,
    fuzz_generations,
]


def main(count: int = 20_000, seed: int = 1) -> int:
    """Run every target in a temporary folder; return the exit status."""
    findings = Findings()
    for target in TARGETS:
        before, start = findings.counts.copy(), time.monotonic()
        with tempfile.TemporaryDirectory() as name:
            shutil.copytree(ROOT / "recipes", Path(name) / "recipes")
            (Path(name) / "models").symlink_to(ROOT / "models")
            os.chdir(name)
            target(random.Random(f"{seed} {target.__name__}"), count // len(TARGETS), findings)
            os.chdir(ROOT)
        print(f"{target.__name__}: {time.monotonic() - start:.0f} s")
        for kind in sorted(findings.counts - before):
            print(f"{findings.counts[kind]:7,} {kind}", flush=True)
    return 1 if findings.failed else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
