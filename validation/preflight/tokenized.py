"""Every row of a recipe as training will see it, held in files: memory does not grow with them."""

import tempfile
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from prompt_strategies.tokenise import IGNORE_INDEX
from tools.prepared_rows import Pair, PreparedRows, Tokens, encode_pairs, load_strategy
from tools.recipe import Recipe


class TokenFile(Sequence[Tokens]):
    """The token ids of rows, in a temporary file."""

    def __init__(self, rows: Iterable[Tokens]) -> None:
        """Write all rows."""
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it is read as long as this lives
        self._ends = array("q", [0])
        for ids in rows:
            self._file.write(ids.tobytes())
            self._ends.append(self._ends[-1] + len(ids))

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._ends) - 1

    def __getitem__(self, index: Any) -> Any:
        """The ids of a row."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        start, end = self._ends[index : index + 2]
        self._file.seek(4 * start)  # bytes of an int32
        return np.frombuffer(self._file.read(4 * (end - start)), dtype=np.int32)


class Labels(Sequence[Tokens]):
    """The labels of rows: -100 for as many tokens as are `masked`, then the ids."""

    def __init__(self, ids: Sequence[Tokens], masked: Sequence[int]) -> None:
        """Take the ids, and of each row how many carry no loss."""
        self._ids, self._masked = ids, masked

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._masked)

    def __getitem__(self, index: Any) -> Any:
        """The labels of a row."""
        labels = self._ids[index].copy()
        labels[: self._masked[index]] = IGNORE_INDEX
        return labels


@dataclass(frozen=True)
class TokenizedRows:
    """One dataset file: rows as text, and as token ids with labels (uncut, in its order)."""

    path: Path
    strategy: Any  # a CompletionStrategy
    rows: Sequence[dict[str, str]]
    input_ids: Sequence[Tokens]
    labels: Sequence[Tokens]

    @cached_property
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
    rows = PreparedRows(path, strategy.columns)
    masked = array("q")

    def count(pair: Pair) -> Tokens:
        ids, labels = pair
        masked.append(int(np.count_nonzero(labels == IGNORE_INDEX)))  # all of them in front
        return ids

    ids = TokenFile(map(count, encode_pairs(strategy, rows, path)))
    return TokenizedRows(path, strategy, rows, ids, Labels(ids, masked))
