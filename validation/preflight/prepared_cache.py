"""Is the prepared dataset that Axolotl would load still what the strategy makes of the rows?

Axolotl names the folder by the recipe's keys, not by the content of the data file nor by the code
of the strategy, and loads whatever lies there.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

import tools.models  # noqa: F401 - Axolotl, imported in the functions, must find it loaded
from tools.errors import UserError
from tools.recipe import Recipe
from validation.preflight.tokenized import Split, Tokens
from validation.verdict import VerdictRow

Key = Literal["datasets", "test_datasets"]
BATCH = 1000  # rows of the cache read at once


def cache_folder(recipe: Recipe, key: Key) -> Path:
    """Return the folder in which Axolotl keeps the rows of `key`, there or not.

    The name is made by Axolotl's own function from the validated recipe; what Axolotl normalises
    after that is no part of it. Raises UserError if the schema refuses the recipe.
    """
    from axolotl.utils.data.shared import (
        generate_dataset_hash_from_config,
        get_prepared_dataset_path,
    )

    cfg = _validated(recipe)
    tokenizer = cfg.tokenizer_config or cfg.base_model_config or cfg.base_model
    name = generate_dataset_hash_from_config(cfg, cfg[key], tokenizer)
    return get_prepared_dataset_path(cfg, name)


def check_cache(recipe: Recipe, key: Key, split: Split | None) -> VerdictRow:
    """Compare the cache of `key`, where there is one, with the rows as they are encoded now."""
    check = f"cache, {recipe.training['path'] if key == 'datasets' else recipe.validation['path']}"
    try:
        folder = cache_folder(recipe, key)
    except UserError as error:
        return VerdictRow(check, f"not looked at: {error}", "note")
    if not any(folder.glob("*")):
        return VerdictRow(check, "none: Axolotl encodes the rows when it starts")
    if split is None:
        return VerdictRow(check, f"{folder} is not compared: no rows are encoded", "note")
    todo = f"delete the folder: rm -r {folder}"
    try:
        cached = _digests(_cached_rows(folder))
    except Exception as error:  # Arrow and datasets raise their own on a file cut short
        what = " ".join(str(error).split())
        return VerdictRow(check, f"{folder} cannot be read: {what}", "fail", todo)
    now = _digests(_kept_rows(recipe, key, split))
    if cached == now:
        return VerdictRow(check, f"{cached.total():,} rows, the same as encoded now")
    stale, lacking = (cached - now).total(), (now - cached).total()
    value = (
        f"stale: {stale:,} of its {cached.total():,} rows are not what the strategy makes now, "
        f"and {lacking:,} are lacking"
    )
    return VerdictRow(check, value, "fail", todo, {"stale": stale, "lacking": lacking})


def _validated(recipe: Recipe) -> Any:
    from axolotl.utils.config import validate_config
    from axolotl.utils.dict import DictDefault

    try:
        return validate_config(DictDefault(recipe.values))  # a deep copy
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(
            f"{recipe.path}: Axolotl refuses the recipe, so its cache has no name; correct it first"
        ) from None


def _kept_rows(recipe: Recipe, key: Key, split: Split) -> Iterator[tuple[Tokens, Tokens]]:
    """Yield (ids, labels) of the rows that Axolotl keeps: it drops over-long ones, or cuts them."""
    limit = recipe.sequence_len
    if key == "test_datasets":
        limit = recipe.values.get("eval_sequence_len") or limit
    for ids, labels in zip(split.input_ids, split.labels, strict=True):
        if split.strategy.excess == "truncate" or len(ids) <= limit:
            yield ids[:limit], labels[:limit]


def _cached_rows(folder: Path) -> Iterator[tuple[Tokens, Tokens]]:
    from datasets import load_from_disk

    dataset = load_from_disk(str(folder)).with_format("arrow", columns=["input_ids", "labels"])
    for batch in dataset.iter(BATCH):
        columns = (batch[name].combine_chunks() for name in ("input_ids", "labels"))
        yield from zip(*(_split_list(column) for column in columns), strict=True)


def _split_list(column: Any) -> list[Tokens]:
    """Return the rows of an Arrow list column."""
    ends = np.cumsum(column.value_lengths().to_numpy())
    return np.split(column.flatten().to_numpy().astype(np.int32), ends[:-1])


def _digests(rows: Iterator[tuple[Tokens, Tokens]]) -> Counter[bytes]:
    """Count equal rows: their order in the cache is Axolotl's shuffle."""
    return Counter(
        hashlib.blake2b(ids.tobytes() + labels.tobytes(), digest_size=16).digest()
        for ids, labels in rows
    )
