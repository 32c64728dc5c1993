"""Reads prepared rows, and encodes them exactly as training does."""

import importlib
import json
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prompt_strategies.base import CompletionStrategy, find_strategy, own_strategies
from prompt_strategies.cogex import CogexStrategy
from prompt_strategies.date_texts import stored_texts
from prompt_strategies.tokenise import IGNORE_INDEX
from tools.errors import UserError, remedy
from tools.recipe import Recipe

Tokens = NDArray[np.int32]
Pair = tuple[Tokens, Tokens]


class PreparedRows(Sequence[dict[str, str]]):
    """Prepared rows of a file of JSON lines, read when they are asked for.

    All are read once at the start. Raises UserError naming file and line.
    """

    def __init__(self, path: Path, fields: Sequence[str] = CogexStrategy.columns) -> None:
        """Check every row, and note where it begins."""
        self._path, self._fields = path, fields
        self._starts = array("q")
        with _readable(path, fields):
            self._file = path.open("rb")
            at = 0
            for number, line in enumerate(self._file, 1):
                if line.strip():
                    _row(path, number, line.decode(), fields)
                    self._starts.append(at)
                at += len(line)
        if not self._starts:
            raise _no_rows(path)

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._starts)

    def __getitem__(self, place: Any) -> Any:
        """A row by its place, or a list of rows by a slice."""
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        self._file.seek(self._starts[place])
        return _row(self._path, place + 1, self._file.readline().decode(), self._fields)


def read_prepared_rows(
    path: Path, fields: Sequence[str] = CogexStrategy.columns
) -> list[dict[str, str]]:
    """Read prepared rows from JSON lines. Raises UserError naming file and line."""
    # "\n" alone ends a line: a field may hold any other that Unicode knows
    with _readable(path, fields), path.open(encoding="utf-8", newline="\n") as lines:
        rows = [
            _row(path, number, line, fields) for number, line in enumerate(lines, 1) if line.strip()
        ]
    if not rows:
        raise _no_rows(path)
    return rows


@contextmanager
def _readable(path: Path, fields: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        todo = remedy(path, f"run `{_prepared_by(path, fields)}` first")
        raise UserError(f"{path}: there is no such file; {todo}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def _no_rows(path: Path) -> UserError:
    return UserError(f"{path}: holds no rows; run `cogex prepare` again")


def _prepared_by(path: Path, fields: Sequence[str]) -> str:
    """The command that writes such rows, by their fields and the folder that they lie in."""
    known = [item for item in own_strategies() if item.columns == tuple(fields)]
    named = [item for item in known if item.dataset in path.parts]
    return (named or known)[0].prepared_by if known else "cogex prepare"


def _row(path: Path, number: int, line: str, fields: Sequence[str]) -> dict[str, str]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise UserError(f"{path}, line {number}: is not JSON; run `cogex prepare` again") from None
    if not isinstance(row, dict):
        row = {}
    if odd := [key for key in fields if not isinstance(row.get(key), str)]:
        what = type(row[odd[0]]).__name__ if odd[0] in row else "not there"
        raise UserError(
            f"{path}, line {number}: is not a prepared row (texts {', '.join(fields)}): {odd[0]} "
            f"is {what}; run `cogex prepare` again"
        )
    try:
        "".join(row[key] for key in fields).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{path}, line {number}: holds half a character (a lone surrogate), which no tokenizer "
            "reads; run `cogex prepare` again"
        ) from None
    return stored_texts(row)


def declared_strategy(recipe: Recipe, entry: dict[str, Any]) -> type[CompletionStrategy] | None:
    """Return the strategy class of a dataset entry; None for a `type` that declares none.

    Raises UserError if its module cannot be imported.
    """
    try:
        return find_strategy(entry.get("type"))
    except Exception as error:  # a module may raise anything when it is imported
        raise _unusable(recipe, entry, error) from error


def load_strategy(recipe: Recipe, entry: dict[str, Any], tokenizer: Any) -> CompletionStrategy:
    """Return the strategy that the dataset entry of a recipe names, as Axolotl gets it.

    Raises UserError with the true cause, which Axolotl swallows, if it cannot be loaded.
    """
    declared_strategy(recipe, entry)
    try:
        load = importlib.import_module(str(entry.get("type"))).load
        return load(tokenizer, recipe.values, entry)
    except (ImportError, AttributeError, TypeError, ValueError, KeyError) as error:
        raise _unusable(recipe, entry, error) from error


def _unusable(recipe: Recipe, entry: dict[str, Any], why: Any) -> UserError:
    return UserError(f"{recipe.path}: type: {entry.get('type')}: {why}")


def encode_entry(recipe: Recipe, entry: dict[str, Any], tokenizer: Any) -> Iterator[Pair]:
    """Yield (input_ids, labels) of each row of a dataset entry, uncut, in the file's order.

    Raises UserError if the strategy refuses the recipe or a row.
    """
    strategy = load_strategy(recipe, entry, tokenizer)
    path = Path(entry["path"])
    return encode_pairs(strategy, read_prepared_rows(path, strategy.columns), path)


def encode_pairs(
    strategy: CompletionStrategy, rows: Sequence[dict[str, str]], path: Path
) -> Iterator[Pair]:
    """Yield (input_ids, labels) of rows read from `path`. Raises UserError if one is refused."""
    try:
        for row in strategy.encode_prepared(rows):
            ids = np.array(row.ids, dtype=np.int32)
            labels = ids.copy()
            labels[: row.masked] = IGNORE_INDEX
            yield ids, labels
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error


def encode_validation(recipe: Recipe, tokenizer: Any) -> list[Pair]:
    """Return (input_ids, labels) of each validation row, through the recipe's own strategy.

    Rows over `sequence_len` are cut there. Raises UserError if the strategy refuses the rows, or
    if no token that carries loss is left.
    """
    entry, length = recipe.validation, recipe.sequence_len
    pairs = [
        (ids[:length], labels[:length]) for ids, labels in encode_entry(recipe, entry, tokenizer)
    ]
    if all((labels[1:] == IGNORE_INDEX).all() for _, labels in pairs):
        raise UserError(
            f"{entry['path']}: no token carries loss within sequence_len {length}; "
            f"raise it in {recipe.path}"
        )
    return pairs
