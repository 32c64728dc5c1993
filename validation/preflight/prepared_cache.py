"""Does Axolotl's cache of encoded rows hold what the strategy makes of the rows now?

Axolotl names the cache by the recipe's keys alone, and loads it even if the data file or the
strategy's code has changed.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import tools.models  # noqa: F401 - Axolotl, imported in the functions, must find it loaded
from tools.errors import UserError
from tools.recipe import Recipe
from validation.preflight.tokenized import Tokenized, TokenizedRows, Tokens
from validation.verdict import VerdictRow

KEYS = ("datasets", "test_datasets")
BATCH = 1000  # rows of the cache read at once


def cache_folders(recipe: Recipe) -> list[Path]:
    """Return the folders of training and validation rows in Axolotl's cache, there or not.

    Axolotl's own function makes the names from the validated recipe; what Axolotl normalises after
    that has no part in them. Raises UserError if the schema refuses the recipe.
    """
    from axolotl.utils.config import validate_config
    from axolotl.utils.data.shared import (
        generate_dataset_hash_from_config,
        get_prepared_dataset_path,
    )
    from axolotl.utils.dict import DictDefault

    try:
        cfg = validate_config(DictDefault(recipe.values))  # a deep copy
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(
            f"{recipe.path}: Axolotl refuses the recipe, so its cache has no name; correct it first"
        ) from None
    tokenizer = cfg.tokenizer_config or cfg.base_model_config or cfg.base_model
    names = (generate_dataset_hash_from_config(cfg, cfg[key], tokenizer) for key in KEYS)
    return [get_prepared_dataset_path(cfg, name) for name in names]


def check_caches(recipe: Recipe, tokenized: Tokenized | None) -> list[VerdictRow]:
    """Compare both caches, where they are there, with the rows as they are encoded now."""
    checks = [f"cache, {entry['path']}" for entry in (recipe.training, recipe.validation)]
    try:
        folders = cache_folders(recipe)
    except UserError as error:
        return [VerdictRow(check, f"not checked: {error}", "note") for check in checks]
    limit = recipe.sequence_len
    limits = [limit, recipe.values.get("eval_sequence_len") or limit]
    splits = [tokenized.train, tokenized.val] if tokenized else [None, None]
    return list(map(_check_cache, checks, folders, splits, limits))


def _check_cache(check: str, folder: Path, split: TokenizedRows | None, limit: int) -> VerdictRow:
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
    now = _digests(_kept_rows(split, limit))
    if cached == now:
        return VerdictRow(check, f"{cached.total():,} rows, the same as encoded now")
    stale, lacking = (cached - now).total(), (now - cached).total()
    found = (
        f"stale: {stale:,} of its {cached.total():,} rows are not what the strategy makes now, "
        f"and {lacking:,} are lacking"
    )
    return VerdictRow(check, found, "fail", todo, {"stale": stale, "lacking": lacking})


def _kept_rows(split: TokenizedRows, limit: int) -> Iterator[tuple[Tokens, Tokens]]:
    """Yield (ids, labels) of the rows that Axolotl keeps: it drops over-long ones, or cuts them."""
    for ids, labels in zip(split.input_ids, split.labels, strict=True):
        if split.strategy.excess == "truncate" or len(ids) <= limit:
            yield ids[:limit], labels[:limit]


def _cached_rows(folder: Path) -> Iterator[tuple[Tokens, Tokens]]:
    from datasets import load_from_disk

    dataset = load_from_disk(str(folder)).with_format("arrow", columns=["input_ids", "labels"])
    for batch in dataset.iter(BATCH):
        yield from zip(batch["input_ids"].to_numpy(), batch["labels"].to_numpy(), strict=True)


def _digests(rows: Iterator[tuple[Tokens, Tokens]]) -> Counter[bytes]:
    """Count equal rows: their order in the cache is Axolotl's shuffle."""
    return Counter(
        hashlib.blake2b(
            np.int32(ids).tobytes() + np.int32(labels).tobytes(), digest_size=16
        ).digest()
        for ids, labels in rows
    )
