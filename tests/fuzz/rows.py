"""Published rows through `cogex prepare`."""

import json
import random
from pathlib import Path

from tests.fuzz.findings import Findings
from tests.fuzz.mutation import mutate, spoil
from tools.prepare.cogex import prepare_cogex
from tools.prepared_rows import read_prepared_rows

ROOT = Path(__file__).parents[2]
ROWS_AT_ONCE = 50


def fuzz_rows(rng: random.Random, count: int, findings: Findings) -> None:
    """Every row is kept as strings or rejected with a reason; none disappears."""
    sample = json.loads((ROOT / "data/sample/data.json").read_text())
    source, out = Path("rows/data.json"), Path("rows/out")
    source.parent.mkdir()
    for _ in range(0, count, ROWS_AT_ONCE):
        rows = [mutate(rng, rng.choice(sample)) for _ in range(ROWS_AT_ONCE)]
        text = json.dumps(rows).encode()
        source.write_bytes(spoil(rng, text) if rng.random() < 0.1 else text)
        with findings.attempt("row", rows, ROWS_AT_ONCE):
            summary = prepare_cogex(source, out, val_size=2)
            kept = sum(len(read_prepared_rows(out / name)) for name in ("train.jsonl", "val.jsonl"))
            rejected = (out / "rejected.jsonl").read_text().count("\n")
            assert summary.read == kept + rejected
