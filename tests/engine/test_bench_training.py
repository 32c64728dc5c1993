"""The benchmark for GPUs runs from end to end where there is none, on a tiny model."""

import json
from pathlib import Path

import torch

from tests.engine.forked import start, wait

STEPS = 1
OPTIONS = ["--models", "tiny", "--steps", str(STEPS), "--variants", "faithful,flash,trl"]


def test_each_variant_is_a_row_with_its_figures_or_its_reason(engine: Path, tmp_path: Path) -> None:
    run = start(tmp_path, "log", "module", "benchmarks.gpu", *OPTIONS, "--out", str(tmp_path))
    assert wait(run) == [0], (tmp_path / "log").read_text()
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    faithful, flash, trl = (json.loads(line) for line in lines)
    assert flash["reason"] == "flash_attn is not installed"
    for row in (faithful, trl):
        assert "reason" not in row, row
        assert len(row["losses"]) == STEPS
        assert row["examples_per_step"] == 32
        assert 0 <= row["padding"] < 0.5
        assert row["tokens_per_second"] > 0
        assert row["hours"] > 0
    # the rows of a run of the recipe are sorted by length, TRL's are not
    assert faithful["padding"] < trl["padding"]
    table = (tmp_path / "table.md").read_text()
    assert all(f"| tiny | {row['variant']} |" in table for row in (faithful, flash, trl))
    assert torch.cuda.is_available() or not faithful["memory_gib"]
