"""Keeps the score of each checkpoint as it is made, so that no model is scored twice.

`scores.json` in the run folder holds each score under the SHA-256 of all that decides it. A file
whose own checksum does not hold is ignored: everything is scored anew.
"""

import hashlib
import importlib.metadata
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, Field, TypeAdapter
from transformers.utils import cached_file

from tools.files import sha256, write_json
from tools.models import compute_dtype, device, quantization
from tools.recipe import Recipe
from validation.selection.checkpoints import MODEL_CONFIG
from validation.selection.perplexity import Score, ScoringRow

NAME = "scores.json"
LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes")


class _Kept(BaseModel):
    nll_sum: float = Field(ge=0, allow_inf_nan=False)
    tokens: int = Field(gt=0)


_SCORES = TypeAdapter(dict[str, _Kept])


class KeptScores:
    """The scores of one run folder; each is on disk as soon as it is put."""

    def __init__(self, run: Path) -> None:
        """Read what is kept; a file that is damaged counts as empty."""
        self.path = run / NAME
        self._scores = _read(self.path)

    def get(self, key: str) -> Score | None:
        """Return the score kept under a key, if there is one."""
        kept = self._scores.get(key)
        return Score(kept["nll_sum"], kept["tokens"]) if kept else None

    def put(self, key: str, score: Score) -> None:
        """Keep a score, unless it is not finite."""
        if math.isfinite(score.nll_sum):
            self._scores[key] = {"nll_sum": score.nll_sum, "tokens": score.tokens}
            write_json(self.path, {"sha256": digest(self._scores), "scores": self._scores})


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        scores = content["scores"]
        _SCORES.validate_python(scores, strict=True)
        return scores if digest(scores) == content["sha256"] else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def digest(value: Any) -> str:
    """The SHA-256 of a JSON value, its keys sorted, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def circumstances(recipe: Recipe, rows: Sequence[ScoringRow]) -> dict[str, Any]:
    """All beside the checkpoint that decides its score.

    The hash of the rows' ids and labels stands for validation file, tokenizer, strategy, layout
    and sequence_len.
    """
    return {
        "rows": _rows_hash(rows),
        "base": base_identity(recipe.base_model),
        "quantization": quantization(recipe),
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
    """What tells one base from another without reading its weights, which are many GB.

    A hub model's commit; a local folder's config by hash, its weights by size and time of change.
    """
    if not Path(name).is_dir():
        return Path(str(cached_file(name, MODEL_CONFIG))).parent.name
    stats = {file.name: file.stat() for file in Path(name).glob("*.safetensors")}
    weights = {file: [stat.st_size, stat.st_mtime_ns] for file, stat in stats.items()}
    return {"config": sha256(Path(name) / MODEL_CONFIG), "weights": weights}
