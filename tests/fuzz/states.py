"""Trainer states through `cogex curves`."""

import json
import math
import os
import random
from pathlib import Path

from tests.fuzz.findings import Findings
from tests.fuzz.mutation import mutate, spoil
from tests.unit.recorded_run import RecordedRun
from validation.curves.curves import curves
from validation.selection.checkpoints import STATE


def fuzz_states(rng: random.Random, count: int, findings: Findings) -> None:
    """A state with a loss that is no number, or another learning rate, is not called healthy."""
    Path("state").mkdir()
    os.chdir("state")
    run = RecordedRun(Path())
    recipe = run.write()
    state = recipe.output_dir / STATE
    for _ in range(count):
        changed = mutate(rng, run.state)
        text = json.dumps(changed).encode()
        state.write_bytes(spoil(rng, text) if rng.random() < 0.1 else text)
        with findings.attempt("state", changed):
            result = curves(recipe)
            json.dumps(result, allow_nan=False)
            if result["passed"]:
                logs = json.loads(state.read_text())["log_history"]
                losses = [log["loss"] for log in logs if "loss" in log]
                assert losses and all(0 < loss < math.inf for loss in losses)
    os.chdir("..")
