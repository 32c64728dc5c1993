"""What decides the score of a checkpoint, so that none is made twice.

`scores.jsonl` keeps each score under the SHA-256 of all that (`tools.kept`): a checkpoint's in the
run folder, the base's in `base-scores.jsonl` beside the validation file.
"""

import hashlib
import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers.utils import cached_file

from tools.files import sha256
from tools.models import compute_dtype, device, quantization
from tools.recipe import Recipe
from validation.selection.checkpoints import MODEL_CONFIG
from validation.selection.perplexity import ScoringRow

NAME, OF_BASE = "scores.jsonl", "base-scores.jsonl"
# raised when scores made before may be wrong or lack a part; 3: the NLL of each row
SCORING = 3
LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes")


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
