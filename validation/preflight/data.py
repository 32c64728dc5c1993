"""Are both data files as prepared, without a common task, and short enough to train on?"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from prompt_strategies.base import CompletionStrategy
from prompt_strategies.tokenise import IGNORE_INDEX
from tools.code import near_duplicates
from tools.errors import remedy
from tools.files import sha256
from tools.prepare.split import group_key
from tools.prepared_rows import PreparedRows, declared_strategy
from tools.recipe import Recipe
from tools.results import Manifest, read_result
from validation.preflight.engine_rows import check_engine_rows
from validation.preflight.prepared_cache import check_caches
from validation.preflight.tokenized import Tokenized, TokenizedRows
from validation.verdict import Verdict, VerdictRow

PERCENTILES = (50, 90, 99)
MOST_OVER_LONG = 0.01  # share of a file's rows; above it the data or `sequence_len` is wrong
NAMED = 10  # ids named in one row

Rows = Sequence[dict[str, str]]


def check_data(recipe: Recipe, tokenized: Tokenized | None) -> list[VerdictRow]:
    """Check files, the engine's reading of them, split, lengths and Axolotl's cache.

    `tokenized` is None without a tokenizer.
    Raises UserError if a file's rows or manifest cannot be read.
    """
    entries = recipe.training, recipe.validation
    strategies = [declared_strategy(recipe, entry) for entry in entries]
    verdicts = list(map(_check_file, entries, strategies))
    strategy = strategies[0]
    there = [Path(entry["path"]).is_file() for entry in entries]
    if not all(strategies) or not all(there):
        found = zip(entries, strategies, there, strict=True)
        return verdicts + [check_engine_rows(entry, kind) for entry, kind, held in found if held]
    assert strategy
    train, val = _rows(recipe, strategy, tokenized)
    verdicts += [
        check_engine_rows(entries[0], strategies[0], train),
        check_engine_rows(entries[1], strategies[1], val),
        _check_groups(train, val, strategy),
        _check_validation(recipe, len(val)),
        _check_ids(row["id"] for row in chain(train, val)),
    ]
    if tokenized is None:
        return [*verdicts, *check_caches(recipe, None)]
    return [
        *verdicts,
        *_check_lengths(tokenized.train, recipe.sequence_len),
        *_check_lengths(tokenized.val, recipe.sequence_len),
        *check_caches(recipe, tokenized),
    ]


def _rows(
    recipe: Recipe, strategy: type[CompletionStrategy], tokenized: Tokenized | None
) -> tuple[Rows, Rows]:
    if tokenized is not None:
        return tokenized.train.rows, tokenized.val.rows
    train, val = Path(recipe.training["path"]), Path(recipe.validation["path"])
    return PreparedRows(train, strategy.columns), PreparedRows(val, strategy.columns)


def _manifest(entry: dict[str, Any]) -> Manifest | None:
    """Read the manifest beside a dataset file. Raises UserError if it is not one."""
    return read_result(Manifest, Path(entry["path"]).parent / "manifest.json", "cogex prepare")


def _check_file(entry: dict[str, Any], known: type[CompletionStrategy] | None) -> VerdictRow:
    """Is the file there, byte for byte as it was prepared for this `type`?"""
    path, check = Path(entry["path"]), f"file {entry['path']}"
    again = f"run `{known.prepared_by}`" if known else "put the file there"
    if not path.is_file():
        return VerdictRow(check, "is not there", "fail", remedy(path, again))
    if known is None:
        return VerdictRow(check, "not made by `cogex prepare`: its rows are not looked at", "note")
    manifest = _manifest(entry)
    if manifest is None:
        return VerdictRow(check, "no manifest.json beside it", "fail", again)
    digest, expected = sha256(path), manifest.sha256.get(path.name, "of other files")
    if digest != expected:
        value = f"changed: sha256 {digest[:12]}, manifest.json has {expected[:14]}"
        return VerdictRow(check, value, "fail", again)
    made = f"{manifest.format}, layout version {manifest.layout_version}"
    needed = f"{known.dataset}, layout version {known.prepared_version()}"
    if made != needed:
        return VerdictRow(check, f"made as {made}; needed is {needed}", "fail", again)
    return VerdictRow(check, f"as manifest.json says: {made}, sha256 {digest[:12]}")


def _check_groups(train: Rows, val: Rows, strategy: type[CompletionStrategy]) -> VerdictRow:
    """No task may be in both files."""
    wanted = {key for row in val for key in _task_keys(row, strategy)}
    tasks = {key: row["id"] for row in train for key in _task_keys(row, strategy) & wanted}
    shared = [
        f"{row['id']} (as {tasks[same[0]]})"
        for row in val
        if (same := sorted(tasks.keys() & _task_keys(row, strategy)))
    ]
    if not shared:
        return VerdictRow("tasks in both files", "none")
    return VerdictRow(
        "tasks in both files",
        f"{len(shared):,} validation rows have a training row's task: {_named(shared)}",
        "fail",
        "the validation perplexity would be too low: run `cogex prepare` again",
        {"rows": len(shared)},
    )


def _task_keys(
    row: dict[str, str], strategy: type[CompletionStrategy]
) -> frozenset[tuple[str, ...]]:
    """What rows of one task share: the fields that ask, without case and spacing.

    For code: name, body or docstring (`tools.code.near_duplicates`).
    """
    if strategy.task != "code":
        return frozenset({group_key(row, strategy.given)})
    return near_duplicates.keys(row)


def _check_validation(recipe: Recipe, found: int) -> VerdictRow:
    check, expected = "validation rows", recipe.validation_rows
    manifest = _manifest(recipe.validation)
    figures = {"rows": found, "expected": expected}
    if expected is None:
        value = f"{found:,}; `validation_rows` is not set"
        return VerdictRow(check, value, "note", figures=figures)
    if found == expected:
        return VerdictRow(check, f"{found:,}, as the recipe says", figures=figures)
    value = f"{found:,}, not `validation_rows: {expected}`"
    if manifest and manifest.val_size == expected and manifest.val == found:
        return VerdictRow(check, f"{value}: whole tasks do not allow more", "note", figures=figures)
    todo = f"run `cogex prepare` with --val-size {expected}, or correct `validation_rows`"
    return VerdictRow(check, value, "fail", todo, figures)


def _check_ids(ids: Iterable[str]) -> VerdictRow:
    found = Counter(ids)
    twice = [name for name, count in found.items() if count > 1]
    if not twice:
        return VerdictRow("row ids", f"{len(found):,}, each once")
    value = f"{len(twice):,} more than once: {_named(twice)}"
    return VerdictRow("row ids", value, "fail", "run `cogex prepare` again", {"ids": twice[:NAMED]})


def _check_lengths(split: TokenizedRows, sequence_len: int) -> list[VerdictRow]:
    """Lengths in tokens, BOS and EOS counted; what is above `sequence_len` is not trained on."""
    lengths = split.lengths
    figures = {
        f"p{percent}": int(np.percentile(lengths, percent, method="inverted_cdf"))
        for percent in PERCENTILES
    }
    shown = ", ".join(f"{percent}% up to {figures[f'p{percent}']:,}" for percent in PERCENTILES)
    figures |= {"rows": len(lengths), "longest": int(lengths.max()), "tokens": int(lengths.sum())}
    return [
        VerdictRow(
            f"tokens a row, {split.path}",
            f"{shown}, longest {figures['longest']:,}; {figures['tokens']:,} in all",
            figures=figures,
        ),
        _check_over_long(split, sequence_len),
        _check_masked(split, sequence_len),
    ]


def _check_over_long(split: TokenizedRows, sequence_len: int) -> VerdictRow:
    check = f"over {sequence_len:,} tokens, {split.path}"
    over = [split.rows[index]["id"] for index in np.flatnonzero(split.lengths > sequence_len)]
    if not over:
        return VerdictRow(check, "none", figures={"rows": 0})
    share = len(over) / len(split.rows)
    does = {"truncate": "cuts them", "raise": "refuses them"}.get(
        split.strategy.excess, "drops them"
    )
    verdict: Verdict = "fail" if share > MOST_OVER_LONG else "note"
    return VerdictRow(
        check,
        f"{len(over):,} of {len(split.rows):,} rows ({share:.2%}), and Axolotl {does}: "
        f"{_named(over)}",
        verdict,
        f"at most {MOST_OVER_LONG:.0%} may be: raise `sequence_len`" if verdict == "fail" else "",
        {"rows": len(over), "share": share, "ids": over[:NAMED]},
    )


def _check_masked(split: TokenizedRows, sequence_len: int) -> VerdictRow:
    """A row whose first `sequence_len` tokens carry no loss teaches nothing, dropped or cut."""
    check = f"fully masked, {split.path}"
    masked = [
        split.rows[index]["id"]
        for index, labels in enumerate(split.labels)
        if (labels[:sequence_len] == IGNORE_INDEX).all()
    ]
    if not masked:
        return VerdictRow(check, "none", figures={"rows": 0})
    value = f"{len(masked):,} rows within {sequence_len:,} tokens: {_named(masked)}"
    return VerdictRow(check, value, "note", figures={"rows": len(masked), "ids": masked[:NAMED]})


def _named(ids: Sequence[str]) -> str:
    return ", ".join(ids[:NAMED]) + (", …" if len(ids) > NAMED else "")
