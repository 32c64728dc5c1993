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
import json
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from prompt_strategies.arxivdl import ArxivdlStrategy
from tools.errors import UserError
from tools.files import whole_file
from tools.prepare.arxivdl_source import RowStream
from tools.prepare.fields import (
    PreparedRow,
    RejectedError,
    read_fields,
    without_blank_ends,
)
from tools.prepare.folder import (
    commonest_first,
    print_counts,
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
) -> dict[str, Any]:
    """Write for each size the folder `out`/SIZE, and `out`/rejected.jsonl for all of them.

    A folder holds train.jsonl, val.jsonl, test.jsonl (`test_size` rows, or all there are) and
    manifest.json; that of the last size is returned. `max_length` is the longest function in
    `unit`s. Raises UserError, with nothing written, if the source or a setting cannot be used, or
    if it has too few rows for a size.
    """
    _check_settings(source, out, sizes, unit, tokenizer)
    length = _token_counter(tokenizer) if tokenizer else len
    samples = {
        "train": SmallestRanks(max(SIZES)),
        "val": SmallestRanks(2 * val_size),  # twice as many: some may be copies of training rows
        "test": SmallestRanks(2 * test_size),
    }
    reasons: Counter[str] = Counter()
    offered: Counter[str] = Counter()
    normalised = 0
    with whole_file(out / "rejected.jsonl") as rejected:
        for index, raw in enumerate(source.rows()):
            try:
                row = _read(raw, augmented=augmented)
                if length(row["output"]) > max_length:
                    raise RejectedError(f"longer than {max_length:,} {unit}")
            except RejectedError as reason:
                reasons[str(reason)] += 1
                line = {"index": index, "reason": str(reason)}  # the row lies in the source
                rejected.write(json.dumps(line, ensure_ascii=False) + "\n")
                continue
            # a method moves to the left margin, and loses the blank lines around it
            row["output"] = textwrap.dedent(without_blank_ends(row["output"]))
            normalised += row["output"] != raw["function"]
            name = split_of(row["repo"], seed)
            offered[name] += 1
            samples[name].offer(rank_of(row["output"], seed), {"id": f"row-{index}"} | row)
        chosen, copies = _choose(samples, {"val": val_size, "test": test_size})
        _check_enough(source.name, chosen, max(sizes), reasons)
    read = offered.total() + reasons.total()
    manifest = {
        "source": {"path": source.name, "sha256": source.sha256(), "rows": read},
        "read": read,
        "kept": offered.total(),
        "rejected": reasons.total(),
        "reasons": commonest_first(reasons),
        "offered": {name: offered[name] for name in samples},  # the usable rows of each split
        "normalised": normalised,
        "val": len(chosen["val"]),
        "test": len(chosen["test"]),
        # left out of validation and test: training, or validation, has function or instruction
        "copies": copies,
        "seed": seed,
        "augmented": augmented,
        "max_length": max_length,
        "unit": unit,
        "tokenizer": tokenizer,
        "val_size": val_size,
        "test_size": test_size,
        "format": ArxivdlStrategy.dataset,
        "layout_version": ArxivdlStrategy.layout_version,
    }
    for size in sizes:
        rows = chosen | {"train": chosen["train"][:size]}
        files = {f"{name}.jsonl": part for name, part in rows.items()}
        manifest["train"] = size
        manifest = write_folder(out / str(size), files, manifest, hashed=list(files))
    return manifest


def _read(row: Any, *, augmented: bool) -> PreparedRow:
    """Return the columns of a row; the input of an augmented one is its file without the function.

    The file must not hold the answer in another form. Raises RejectedError.
    """
    if not isinstance(row, dict):
        raise RejectedError("not an object")
    plain = [field for field in FIELDS if augmented or field.column != "input"]
    file = row.get("file")
    texts = read_fields(row | {"file": file if isinstance(file, str) else ""}, plain).texts
    code, function = texts.get("input", ""), texts["output"]
    if augmented and not code:
        raise RejectedError("missing: full_code")
    if len(code) > LONGEST_FILE:
        raise RejectedError(f"file longer than {LONGEST_FILE:,} characters")
    if augmented and function not in code:
        raise RejectedError("function not in its file")
    texts["input"] = without_blank_ends(code.replace(function, ""))
    return {name: texts[name] for name in _COLUMNS}


def print_summary(
    manifest: dict[str, Any], sizes: Sequence[int], out: Path, console: Console
) -> None:
    """Print every count and reason, and where the rows are."""
    counts = {"read": manifest["read"]}
    counts |= {f"usable for {name}": count for name, count in manifest["offered"].items()}
    counts |= {"validation": manifest["val"], "test": manifest["test"]}
    counts |= {"copies left out of both": manifest["copies"]}
    print_counts("rows", counts, manifest, console)
    for size in sizes:
        console.print(f"{out / str(size)}: {size:,} training rows", markup=False)


class SmallestRanks:
    """The rows of the smallest ranks, `capacity` of them, whatever the order they come in.

    Rows of one rank are the same function: the first that came is kept.
    """

    def __init__(self, capacity: int) -> None:
        """Hold no row yet."""
        self.capacity = capacity
        self.held: dict[int, PreparedRow] = {}

    def offer(self, rank: int, row: PreparedRow) -> None:
        """Take the row if its rank is new; drop the largest where twice too many are held."""
        self.held.setdefault(rank, row)
        if len(self.held) >= 2 * self.capacity:
            self.held = dict(self._smallest())

    def _smallest(self) -> list[tuple[int, PreparedRow]]:
        return [(rank, self.held[rank]) for rank in sorted(self.held)[: self.capacity]]

    def rows(self) -> list[PreparedRow]:
        """Return the rows, the smallest rank first."""
        return [row for _, row in self._smallest()]


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


def read_sizes(text: str) -> list[int]:
    """Return the sizes of a list such as `100,1500`, the smallest first. Raises UserError."""
    try:
        return sorted({int(size) for size in text.split(",")})
    except ValueError:
        raise UserError(f"--sizes {text}: give numbers with a comma, as 100,1500") from None


def _check_settings(
    source: RowStream, out: Path, sizes: list[int], unit: Unit, tokenizer: str | None
) -> None:
    if odd := [size for size in sizes if not 1 <= size <= max(SIZES)]:
        raise UserError(f"--sizes: {odd[0]:,} is not from 1 to {max(SIZES):,}: give such sizes.")
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


def _choose(
    samples: dict[str, SmallestRanks], sizes: dict[str, int]
) -> tuple[dict[str, list[PreparedRow]], int]:
    """Return the rows of each split in the order of their ranks, and how many were copies."""
    chosen = {"train": samples["train"].rows()}
    taken = {key for row in chosen["train"] for key in _keys(row)}
    copies = 0
    for name, size in sizes.items():
        offered = samples[name].rows()
        own = [row for row in offered if taken.isdisjoint(_keys(row))]
        copies += len(offered) - len(own)
        chosen[name] = own[:size]
        taken |= {key for row in chosen[name] for key in _keys(row)}
    return chosen, copies


def _keys(row: PreparedRow) -> Iterator[tuple[str, ...]]:
    """Yield what no two splits may share: the function, and the task."""
    yield (_folded(row["output"]),)
    yield group_key(row, ArxivdlStrategy.given)


def _check_enough(
    source: str, chosen: dict[str, list[PreparedRow]], size: int, reasons: Counter[str]
) -> None:
    if len(chosen["train"]) < size or not chosen["val"] or not chosen["test"]:
        found = ", ".join(f"{len(rows)} for {name}" for name, rows in chosen.items())
        raise UserError(
            f"{source}: has too few usable rows for --sizes {size}: {found} (rejected: "
            f"{told(commonest_first(reasons)) or 'none'}). Give the whole dataset, whose rows have "
            "prompt, function and repo, or a smaller size."
        )
