"""Every row of a recipe as training will see it, held small enough for 52,000 of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tools.prepared_rows import Tokens, encode_pairs, load_strategy, read_prepared_rows
from tools.recipe import Recipe


@dataclass(frozen=True)
class TokenizedRows:
    """One dataset file: rows as text, and as token ids with labels (uncut, in its order)."""

    path: Path
    strategy: Any  # a CompletionStrategy
    rows: list[dict[str, str]]
    input_ids: list[Tokens]
    labels: list[Tokens]

    @property
    def lengths(self) -> Tokens:
        """Tokens of each row, BOS and EOS counted."""
        return np.array([len(ids) for ids in self.input_ids], dtype=np.int32)


@dataclass(frozen=True)
class Tokenized:
    """Both splits of a recipe."""

    train: TokenizedRows
    val: TokenizedRows


def tokenize(recipe: Recipe, tokenizer: Any) -> Tokenized:
    """Encode all rows through the recipe's own strategy. Raises UserError as `encode_pairs`."""
    return Tokenized(
        _split(recipe, recipe.training, tokenizer), _split(recipe, recipe.validation, tokenizer)
    )


def _split(recipe: Recipe, entry: dict[str, Any], tokenizer: Any) -> TokenizedRows:
    strategy, path = load_strategy(recipe, entry, tokenizer), Path(entry["path"])
    rows = read_prepared_rows(path, strategy.columns)
    input_ids, labels = zip(*encode_pairs(strategy, rows, path), strict=True)
    return TokenizedRows(path, strategy, rows, list(input_ids), list(labels))
