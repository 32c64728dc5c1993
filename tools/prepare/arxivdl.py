"""Prepares ArXivDLInstruct: functions of research code, each with an instruction that asks for it.

`AlgorithmicResearchGroup/ArXivDLInstruct` on the Hugging Face hub, 778,152 rows, is read once as a
stream, and memory does not grow with it: of each split only the rows that may be chosen are held.

- A function of more than 1,000 characters is rejected (`len(function) <= 1000`, as in the published
  evaluation of the seed); the limit may be given in tokens instead.
- A hash of the repository decides the split, so all functions of a file are on one side: 80% of the
  repositories for training; of the others a tenth for validation, the rest for test.
- A hash of the function decides the order. The 200 training rows are the first 200 in it, the 500
  the first 500: the subsets are nested. The same function from two repositories counts once.
- No function and no instruction of the 10,000 is in validation or test, which are therefore the
  same whatever size is written.

Reasons for a rejected row: `missing: F`, `empty: F`, `wrong type: F`, `not UTF-8: F` for a field F,
as the source names it;
`longer than N characters` (or `tokens`); with `augmented`, also `file longer than N characters` and
`function not in its file`.
"""

import hashlib
import heapq
import itertools
import json
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from prompt_strategies.arxivdl import ArxivdlStrategy
from tools.errors import UserError
from tools.files import whole_file
from tools.prepare.arxivdl_source import RowStream
from tools.prepare.fields import (
    PreparedRow,
    ReadRow,
    RejectedError,
    read_fields,
    without_blank_ends,
)
from tools.prepare.folder import (
    commonest_first,
    counts_table,
    told,
    write_folder,
)
from tools.prepare.split import group_key

SIZES = (200, 500, 1000, 5000, 10_000)
TRAIN_SHARE, VAL_SHARE = 0.8, 0.02  # of the repositories; the rest is for test
FIELDS = ArxivdlStrategy.published_fields
_COLUMNS = ("instruction", "input", "output", "repo", "file")
LONGEST_FILE = 5000  # characters, of an augmented row's whole file; the seed's own limit

Unit = Literal["characters", "tokens"]
Length = Callable[[str], int]


def _read(row: dict[str, Any], *, augmented: bool) -> ReadRow:
    """Return the columns of a row; the input of an augmented one is its file without the function.

    The file must not hold the answer in another form. Raises RejectedError.
    """
    plain = [field for field in FIELDS if augmented or field.column != "input"]
    file = row.get("file")
    read = read_fields(row | {"file": file if isinstance(file, str) else ""}, plain)
    code, function = read.texts.get("input", ""), read.texts["output"]
    if augmented and not code:
        raise RejectedError("missing: full_code")
    if len(code) > LONGEST_FILE:
        raise RejectedError(f"file longer than {LONGEST_FILE:,} characters")
    if augmented and function not in code:
        raise RejectedError("function not in its file")
    read.texts["input"] = without_blank_ends(code.replace(function, ""))
    return read


@dataclass(frozen=True)
class Summary:
    """What became of the rows.

    `reasons` counts the rejected, the commonest first; `offered` the usable rows of each split;
    `sizes`, `val` and `test` are rows written; `copies` were left out of validation and test
    because a training row, or one of validation, has their function or instruction.
    """

    read: int
    kept: int
    rejected: int
    reasons: dict[str, int]
    offered: dict[str, int]
    normalised: int
    sizes: list[int]
    val: int
    test: int
    copies: int


def prepare_arxivdl(
    source: RowStream,
    out: Path,
    *,
    sizes: list[int],
    augmented: bool = False,
    max_length: int = 1000,
    unit: Unit = "characters",
    tokenizer: str | None = None,
    val_size: int = 200,
    test_size: int = 1000,
    seed: int = 42,
) -> Summary:
    """Write for each size the folder `out`/SIZE, and `out`/rejected.jsonl for all of them.

    A folder holds train.jsonl, val.jsonl, test.jsonl (`test_size` rows, or all there are) and
    manifest.json. `max_length` is the longest function in `unit`s. Raises UserError, with nothing
    written, if the source or a setting cannot be used, or if it has too few rows for a size.
    """
    _check_settings(source, out, sizes, max_length, unit, tokenizer, val_size, test_size)
    length = _token_counter(tokenizer) if tokenizer else len
    samples = {
        "train": SmallestRanks(max(SIZES)),
        "val": SmallestRanks(2 * val_size),  # twice as many: some may be copies of training rows
        "test": SmallestRanks(2 * test_size),
    }
    counts = _Counts()
    with whole_file(out / "rejected.jsonl") as rejected:
        for index, raw in enumerate(source.rows()):
            try:
                row = _prepared(index, raw, augmented, length, max_length, unit, counts)
            except RejectedError as reason:
                counts.reasons[str(reason)] += 1
                line = {"index": index, "reason": str(reason)}  # the row lies in the source
                rejected.write(json.dumps(line, ensure_ascii=False) + "\n")
                continue
            name = split_of(row["repo"], seed)
            counts.offered[name] += 1
            samples[name].offer(rank_of(row["output"], seed), row)
        chosen = _choose(samples, counts, sizes, val_size, test_size, source)
    summary = _summary(counts, chosen, sizes)
    settings = {
        "seed": seed,
        "augmented": augmented,
        "max_length": max_length,
        "unit": unit,
        "tokenizer": tokenizer,
        "test_size": test_size,
        "format": ArxivdlStrategy.dataset,
        "layout_version": ArxivdlStrategy.layout_version,
    }
    origin = {"path": source.name, "sha256": source.sha256(), "rows": summary.read}
    for size in sizes:
        _write(out / str(size), size, chosen, summary, {"source": origin} | settings, val_size)
    return summary


def print_summary(summary: Summary, out: Path, console: Console) -> None:
    """Print every count and reason, and where the rows are."""
    counts = {"read": summary.read}
    counts |= {f"usable for {name}": count for name, count in summary.offered.items()}
    counts |= {"validation": summary.val, "test": summary.test}
    counts |= {"copies left out of both": summary.copies, "rejected": summary.rejected}
    console.print(counts_table("rows", counts, summary.reasons))
    for size in summary.sizes:
        console.print(f"{out / str(size)}: {size:,} training rows", markup=False)


class SmallestRanks:
    """The rows of the smallest ranks, `capacity` of them, whatever the order they come in.

    Rows of one rank are the same function: the first that came is kept.
    """

    def __init__(self, capacity: int) -> None:
        """Hold no row yet."""
        self.capacity = capacity
        self._heap: list[tuple[int, int, PreparedRow]] = []  # the largest rank on top, negated
        self._ranks: set[int] = set()
        self._order = itertools.count()  # no two rows are compared

    def offer(self, rank: int, row: PreparedRow) -> None:
        """Take the row if its rank is among the smallest and new."""
        full = len(self._heap) >= self.capacity
        if rank in self._ranks or (full and (not self.capacity or rank > -self._heap[0][0])):
            return
        item = (-rank, next(self._order), row)
        if full:
            self._ranks.discard(-heapq.heapreplace(self._heap, item)[0])
        else:
            heapq.heappush(self._heap, item)
        self._ranks.add(rank)

    def rows(self) -> list[PreparedRow]:
        """Return the rows, the smallest rank first."""
        return [row for _, _, row in sorted(self._heap, key=lambda item: -item[0])]


def split_of(repo: str, seed: int) -> str:
    """Return train, val or test for all rows of a repository."""
    share = _hash(seed, "repository", repo.strip().casefold()) / 2**256
    if share < TRAIN_SHARE:
        return "train"
    return "val" if share < TRAIN_SHARE + VAL_SHARE else "test"


def rank_of(function: str, seed: int) -> int:
    """Return a function's place in the order; white space makes no other function."""
    return _hash(seed, "function", _folded(function))


def _hash(seed: int, what: str, text: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}\0{what}\0{text}".encode()).digest())


def _folded(function: str) -> str:
    return " ".join(function.split())


@dataclass
class _Counts:
    reasons: Counter[str] = field(default_factory=Counter)
    offered: Counter[str] = field(default_factory=Counter)
    normalised: int = 0
    copies: int = 0


def _check_settings(
    source: RowStream,
    out: Path,
    sizes: list[int],
    max_length: int,
    unit: Unit,
    tokenizer: str | None,
    val_size: int,
    test_size: int,
) -> None:
    known = ", ".join(map(str, SIZES))
    if odd := [size for size in sizes if size not in SIZES]:
        raise UserError(
            f"--size {odd[0]} is none of {known}: give one of them, or leave --size out for all."
        )
    for name, value in (
        ("--max-length", max_length),
        ("--val-size", val_size),
        ("--test-size", test_size),
    ):
        if value < 1:
            raise UserError(f"{name} is {value}: give 1 or more.")
    if (unit == "tokens") != (tokenizer is not None):
        raise UserError("--unit tokens and --tokenizer belong together: give both, or neither.")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: --out names the folder to write into.")
    if source.lies_in(out):
        raise UserError(f"{source.name} lies in {out}: give another --out than its folder.")


def _token_counter(name: str) -> Length:
    from tools.models import load_tokenizer  # takes seconds to import

    tokenizer = load_tokenizer(name)
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])


def _prepared(
    index: int,
    raw: Any,
    augmented: bool,
    length: Length,
    max_length: int,
    unit: Unit,
    counts: _Counts,
) -> PreparedRow:
    """Return the row as it is written. Raises RejectedError."""
    if not isinstance(raw, dict):
        raise RejectedError("not an object")
    texts = _read(raw, augmented=augmented).texts
    if length(texts["output"]) > max_length:
        raise RejectedError(f"longer than {max_length:,} {unit}")
    # a method moves to the left margin, and loses the blank lines around it
    texts["output"] = textwrap.dedent(without_blank_ends(texts["output"]))
    counts.normalised += texts["output"] != raw["function"]
    return {"id": f"row-{index}"} | {name: texts[name] for name in _COLUMNS}


def _choose(
    samples: dict[str, SmallestRanks],
    counts: _Counts,
    sizes: list[int],
    val_size: int,
    test_size: int,
    source: RowStream,
) -> dict[str, list[PreparedRow]]:
    """Return the rows of each split, in the order of their ranks.

    Raises UserError if there are too few.
    """
    train = samples["train"].rows()
    taken = {key for row in train for key in _keys(row)}
    chosen = {"train": train}
    for name, size in (("val", val_size), ("test", test_size)):
        offered = samples[name].rows()
        own = [row for row in offered if taken.isdisjoint(_keys(row))]
        counts.copies += len(offered) - len(own)
        chosen[name] = own[:size]
        taken |= {key for row in chosen[name] for key in _keys(row)}
    found = ", ".join(f"{len(rows)} for {name}" for name, rows in chosen.items())
    if max(sizes) > len(train) or not chosen["val"] or not chosen["test"]:
        reasons = told(commonest_first(counts.reasons))
        raise UserError(
            f"{source.name}: has too few usable rows for --size {max(sizes)}: {found} (rejected: "
            f"{reasons or 'none'}). Give the whole dataset, whose rows have "
            f"prompt, function and repo, or a smaller --size."
        )
    return chosen


def _keys(row: PreparedRow) -> Iterator[tuple[str, ...]]:
    """Yield what no two splits may share: the function, and the task."""
    yield (_folded(row["output"]),)
    yield group_key(row, ArxivdlStrategy.given)


def _summary(counts: _Counts, chosen: dict[str, list[PreparedRow]], sizes: list[int]) -> Summary:
    kept, rejected = counts.offered.total(), counts.reasons.total()
    return Summary(
        read=kept + rejected,
        kept=kept,
        rejected=rejected,
        reasons=commonest_first(counts.reasons),
        offered={name: counts.offered[name] for name in ("train", "val", "test")},
        normalised=counts.normalised,
        sizes=sorted(sizes),
        val=len(chosen["val"]),
        test=len(chosen["test"]),
        copies=counts.copies,
    )


def _write(
    folder: Path,
    size: int,
    chosen: dict[str, list[PreparedRow]],
    summary: Summary,
    settings: dict[str, Any],
    val_size: int,
) -> None:
    """Write the folder of one size."""
    rows = {"train": chosen["train"][:size], "val": chosen["val"], "test": chosen["test"]}
    counts = vars(summary) | {"train": size, "val_size": val_size}
    del counts["sizes"]
    files = {f"{name}.jsonl": part for name, part in rows.items()}
    write_folder(folder, files, settings | counts, hashed=list(files))
