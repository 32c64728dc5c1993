"""Does the engine's own reader give each row of a dataset file back as the file has it?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tools.models  # noqa: F401 - Axolotl, imported in the functions, must find it loaded
from prompt_strategies.base import CompletionStrategy
from prompt_strategies.date_texts import from_file
from validation.verdict import VerdictRow

if TYPE_CHECKING:
    from datasets import Dataset


def check_engine_rows(
    entry: dict[str, Any],
    strategy: type[CompletionStrategy] | None,
    rows: Sequence[dict[str, str]] | None = None,
) -> VerdictRow:
    """Load a file as Axolotl loads it, and compare it with the rows that this project reads."""
    check = f"as the engine reads {entry['path']}"
    again = f"run `{strategy.prepared_by}` again" if strategy else "make every value of a key text"
    try:
        dataset = _load(entry)
    except Exception as error:  # Arrow, pandas and datasets raise their own
        return VerdictRow(check, f"cannot be read: {_root(error)}", "fail", again)
    if strategy is None:
        told = ", ".join(f"{name} {kind}" for name, kind in _kinds(dataset).items())
        return VerdictRow(check, f"{len(dataset):,} rows: {told}", "note")
    kinds = {name: kind for name, kind in _kinds(dataset).items() if name in strategy.columns}
    odd = [f"{name} is {kind}" for name, kind in kinds.items() if kind != "string"]
    odd += [f"there is no {name}" for name in strategy.columns if name not in kinds]
    if odd:
        return VerdictRow(check, f"not text alone: {', '.join(odd)}", "fail", again)
    if rows is None or entry.get("split") not in (None, "train") or entry.get("shards"):
        return VerdictRow(check, f"{len(dataset):,} rows of text")
    changed = _first_change(dataset, strategy.columns, rows)
    if changed:
        return VerdictRow(check, changed, "fail", again)
    return VerdictRow(check, f"{len(dataset):,} rows, each text as it is in the file")


def _load(entry: dict[str, Any]) -> "Dataset":
    from axolotl.utils.data.shared import load_dataset_with_config
    from axolotl.utils.dict import DictDefault
    from datasets.utils import disable_progress_bars

    disable_progress_bars()
    return load_dataset_with_config(DictDefault(entry), use_auth_token=False)


def _root(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _kinds(dataset: "Dataset") -> dict[str, str]:
    return {
        name: str(getattr(feature, "dtype", type(feature).__name__))
        for name, feature in dataset.features.items()
    }


def _first_change(
    dataset: "Dataset", columns: Sequence[str], rows: Sequence[dict[str, str]]
) -> str | None:
    """Tell the first text that is not the file's, or that there are more or fewer rows."""
    if len(dataset) != len(rows):
        return f"{len(dataset):,} rows, and the file has {len(rows):,}"
    for row, read in zip(rows, dataset.select_columns(list(columns)), strict=True):
        for column, text in read.items():
            if text is None or from_file(text) != row[column]:
                return f"{column} of row {row['id']!r} is {text!r}, and in the file {row[column]!r}"
    return None
