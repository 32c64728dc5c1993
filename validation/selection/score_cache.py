"""Keeps the score of each checkpoint, so that no model is scored twice.

`scores.json` in the run folder holds each score under the SHA-256 of everything that decides it. A
file with a wrong checksum is ignored, and everything is scored again.
"""

import hashlib
import importlib.metadata
import json
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, Field
from transformers.utils import cached_file

from tools.files import NotWritten, sha256, write_json
from tools.models import compute_dtype, device, quantization
from tools.recipe import Recipe
from validation.selection.checkpoints import MODEL_CONFIG
from validation.selection.perplexity import Score, ScoringRow

NAME = "scores.json"
# raised when scores made before may be wrong; 2: each adapter finds the base as it was loaded
SCORING = 2
LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes")


class _Kept(BaseModel):
    nll_sum: float = Field(ge=0, allow_inf_nan=False)
    tokens: int = Field(gt=0)


class _File(BaseModel):
    sha256: str  # of the scores
    scores: dict[str, _Kept]


class KeptScores:
    """The scores of one run folder; each is on disk as soon as it is put."""

    def __init__(self, run: Path) -> None:
        """Read what is kept; a file that is damaged counts as empty."""
        self.path = run / NAME
        self._scores: dict[str, dict[str, Any]] = {}
        try:
            file = _File.model_validate_json(self.path.read_bytes(), strict=True).model_dump()
        except (OSError, ValueError):
            return
        if digest(file["scores"]) == file["sha256"]:
            self._scores = file["scores"]

    def get(self, key: str) -> Score | None:
        """Return the score kept under a key, if there is one."""
        kept = self._scores.get(key)
        return Score(**kept) if kept else None

    def put(self, key: str, score: Score) -> None:
        """Keep a score, unless it is not finite; where the disk is full, only until the end."""
        if math.isfinite(score.nll_sum):
            self._scores[key] = vars(score)
            with suppress(NotWritten):  # the scores are still shown, and made again next time
                write_json(self.path, {"sha256": digest(self._scores), "scores": self._scores})


def digest(value: Any) -> str:
    """The SHA-256 of a JSON value, its keys sorted, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def circumstances(recipe: Recipe, rows: Sequence[ScoringRow]) -> dict[str, Any]:
    """Everything that decides a score, the checkpoint aside.

    The hash of the rows' ids and labels covers validation file, tokenizer, strategy, layout and
    sequence_len.
    """
    return {
        "scoring": SCORING,
        "rows": _rows_hash(rows),
        "base": base_identity(recipe.base_model),
        "quantization": quantization(recipe),
        "seed": recipe.values.get("seed"),  # it decides a start that an adapter draws at random
        "dtype": str(compute_dtype()),
        "device": "cpu" if device().type == "cpu" else torch.cuda.get_device_name(),
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }


def _rows_hash(rows: Sequence[ScoringRow]) -> str:
    hashed = hashlib.sha256()
    for row in rows:
        hashed.update(len(row.input_ids).to_bytes(8, "little"))
        hashed.update(row.input_ids.numpy().tobytes() + row.labels.numpy().tobytes())
    return hashed.hexdigest()


def base_identity(name: str) -> Any:
    """Identify a base without reading its weights, which are many GB.

    A hub model's commit; a local folder's config by hash, its weights by size and time of change.
    """
    if not Path(name).is_dir():
        return Path(str(cached_file(name, MODEL_CONFIG))).parent.name
    stats = {file.name: file.stat() for file in Path(name).glob("*.safetensors")}
    weights = {file: [stat.st_size, stat.st_mtime_ns] for file, stat in stats.items()}
    return {"config": sha256(Path(name) / MODEL_CONFIG), "weights": weights}
