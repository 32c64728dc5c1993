"""Turns the rows of any dataset into prepared rows: train.jsonl, val.jsonl, manifest.json.

Every row read is either kept or in rejected.jsonl with its reason:

- `not an object`, `duplicate key`;
- `missing: F`, `empty: F`, `wrong type: F`, `not UTF-8: F` (a lone surrogate) for a field F;
- `unusable number: F` (NaN, infinite or over 4,300 digits), `nested too deep: F`;
- `strict: FLAGS` for a flagged row under `--strict`;
- what the dataset's own module names.

A kept row that looks odd is in flagged.jsonl too: `too-long` (in tokens, special ones
included), `not-tokenisable` (training would refuse it) or, without a tokenizer,
`maybe-too-long` (estimated from its characters), `duplicate-id`, and the dataset's own.
"""

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from prompt_strategies.base import CompletionStrategy, Rendered
from prompt_strategies.tokenise import encode_texts
from tools.errors import UserError
from tools.prepare.fields import PreparedRow, RejectedError, refuse_surrogates
from tools.prepare.folder import (
    check_out,
    commonest_first,
    counts_table,
    rejected_line,
    told,
    write_folder,
)
from tools.prepare.source_file import SourceFile, SourceRow, read_source_file
from tools.prepare.split import choose_validation, group_rows

OUTPUTS = ("train.jsonl", "val.jsonl", "rejected.jsonl", "flagged.jsonl", "manifest.json")
CHARACTERS_PER_TOKEN = 3  # a low estimate for Llama tokenizers, so that few long rows pass

LengthCheck = Callable[[Rendered], str | None]


@dataclass(frozen=True)
class Summary:
    """What became of the rows; `reasons` and `flags` count rows, the commonest first.

    `ok` is False if the rejected share is above `max_rejected`. `normalised` rows lost the CR
    of CRLF, or what the dataset's own `normalise` removes.
    """

    read: int
    kept: int
    rejected: int
    flagged: int
    normalised: int
    train: int
    val: int
    groups: int
    val_requested: int
    max_rejected: float
    reasons: dict[str, int]
    flags: dict[str, int]
    ok: bool


@dataclass(frozen=True)
class Format:
    """How one dataset's published rows become the prepared rows that its strategy declares.

    `read` takes the fields of a prepared row but for its id from a published object and
    `find_flags` names what is odd in them; both may raise RejectedError. `normalise` gets
    and returns such fields; only `input` may be empty afterwards.
    """

    strategy: type[CompletionStrategy]
    published_fields: str  # for the person who gave another file
    read: Callable[[dict[str, Any]], PreparedRow]
    normalise: Callable[[PreparedRow], PreparedRow]
    find_flags: Callable[[PreparedRow], list[str]] = lambda row: []


def prepare_rows(
    dataset: Format,
    source: Path,
    out: Path,
    *,
    val_size: int = 2000,
    seed: int = 42,
    strict: bool = False,
    max_rejected: float = 0.05,
    sequence_len: int = 2048,
    tokenizer: str | None = None,
) -> Summary:
    """Write the prepared rows of the dataset file `source` into the folder `out`.

    Rows with the same instruction and input are never split between train and validation.
    Validation gets `val_size` rows, or the nearest smaller number that whole groups allow.
    `sequence_len` is in tokens; `tokenizer` is a folder or a name in the local cache. With
    `strict`, flagged rows are rejected. The files are written even if too many rows are rejected:
    see `Summary.ok`. Raises UserError, with nothing written, if the file or a setting cannot be
    used.
    """
    _check_settings(source, out, val_size, max_rejected, sequence_len)
    check_length = _length_check(sequence_len, tokenizer)
    data = read_source_file(source)
    rows = _sort_rows(dataset, data, check_length, strict)
    _check_kept(dataset, source, rows, val_size)
    groups = group_rows(rows.kept, dataset.strategy.given)
    validation = choose_validation(groups, val_size, seed)
    train = [row for index, row in enumerate(rows.kept) if index not in validation]
    val = [row for index, row in enumerate(rows.kept) if index in validation]
    summary = Summary(
        read=rows.read,
        kept=len(rows.kept),
        rejected=len(rows.rejected),
        flagged=len(rows.flagged),
        normalised=rows.normalised,
        train=len(train),
        val=len(val),
        groups=len(groups),
        val_requested=val_size,
        max_rejected=max_rejected,
        reasons=commonest_first(rows.reasons),
        flags=commonest_first(Counter(flag for row in rows.flagged for flag in row["flags"])),
        ok=len(rows.rejected) / rows.read <= max_rejected,
    )
    settings = {
        "seed": seed,
        "strict": strict,
        "sequence_len": sequence_len,
        "tokenizer": tokenizer,
        "format": dataset.strategy.dataset,
        "layout_version": dataset.strategy.layout_version,
    }
    files = {
        "train.jsonl": train,
        "val.jsonl": val,
        "rejected.jsonl": rows.rejected,
        "flagged.jsonl": rows.flagged,
    }
    manifest = _manifest(data, summary) | settings
    write_folder(out, files, manifest, hashed=["train.jsonl", "val.jsonl"])
    return summary


def _manifest(source: SourceFile, summary: Summary) -> dict[str, Any]:
    return {
        "source": {"path": str(source.path), "sha256": source.sha256, "rows": summary.read},
        "kept": summary.kept,
        "rejected": summary.rejected,
        "flagged": summary.flagged,
        "normalised": summary.normalised,
        "train": summary.train,
        "val": summary.val,
        "val_size": summary.val_requested,
        "groups": summary.groups,
        "reasons": summary.reasons,
        "flags": summary.flags,
    }


def print_summary(summary: Summary, console: Console) -> None:
    """Print every count, reason and flag, and a sentence for what is not as asked."""
    counts = {name: getattr(summary, name) for name in ("read", "kept", "train", "val")}
    counts |= {"normalised": summary.normalised, "groups": summary.groups}
    counts |= {"flagged, kept": summary.flagged}
    counts |= {f"  {flag}": count for flag, count in summary.flags.items()}
    console.print(counts_table("rows", counts | {"rejected": summary.rejected}, summary.reasons))
    if "maybe-too-long" in summary.flags:
        console.print(
            f"maybe-too-long is an estimate ({CHARACTERS_PER_TOKEN} characters a token): give a "
            "tokenizer to count."
        )
    if summary.val != summary.val_requested:
        console.print(
            f"Validation has {summary.val:,} rows, not {summary.val_requested:,}: rows with the "
            "same instruction and input stay together."
        )
    if not summary.ok:
        console.print(
            f"{summary.rejected / summary.read:.1%} of the rows were rejected, more than the "
            f"{summary.max_rejected:.1%} that --max-rejected allows: read rejected.jsonl."
        )


def _check_settings(
    source: Path, out: Path, val_size: int, max_rejected: float, sequence_len: int
) -> None:
    if val_size < 0:
        raise UserError(f"--val-size is {val_size}: give 0 or more rows.")
    if not 0 <= max_rejected <= 1:
        raise UserError(f"--max-rejected is {max_rejected}: give a share from 0 to 1.")
    if sequence_len < 1:
        raise UserError(f"--sequence-len is {sequence_len}: give 1 or more tokens.")
    check_out(out, source, OUTPUTS)


def _length_check(sequence_len: int, tokenizer: str | None) -> LengthCheck:
    """Return what tells the flag of a row that is too long, else None."""
    if tokenizer is None:
        limit = sequence_len * CHARACTERS_PER_TOKEN

        def estimate(row: Rendered) -> str | None:
            return "maybe-too-long" if len(row.prompt + row.completion) > limit else None

        return estimate
    encoder = _load_tokenizer(tokenizer)

    def count(rendered: Rendered) -> str | None:
        text = rendered.prompt + rendered.completion
        try:
            [row] = encode_texts(encoder, [text], [len(rendered.prompt)], ["0"])
        except ValueError:
            return "not-tokenisable"
        return "too-long" if len(row.ids) > sequence_len else None

    return count


def _load_tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer  # slow to import, and seldom asked for

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=True)
        encode_texts(tokenizer, ["a\nb"], [2], ["0"])  # a tokenizer without EOS fails on every row
    except Exception as error:  # the tokenizers library raises Exception itself
        first_line = str(error).partition("\n")[0].rstrip(".")
        raise UserError(
            f"--tokenizer {name} cannot be used: {first_line}. Give a folder with a tokenizer, "
            "or a name that is already in the local cache."
        ) from None
    return tokenizer


@dataclass
class _Rows:
    kept: list[PreparedRow] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    flagged: list[dict[str, Any]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    normalised: int = 0

    @property
    def read(self) -> int:
        return len(self.kept) + len(self.rejected)


def _sort_rows(
    dataset: Format, source: SourceFile, check_length: LengthCheck, strict: bool
) -> _Rows:
    """Keep or reject every row of the source, in its order."""
    rows = _Rows()
    taken: set[str] = set()
    console = Console(stderr=True)
    with (
        warnings.catch_warnings(),
        Progress(console=console, transient=True, disable=not console.is_terminal) as bar,
    ):
        warnings.simplefilter("ignore")  # a program with "\d" is no concern here
        task = bar.add_task("rows", total=len(source.text))
        for index, row in enumerate(source.rows()):
            bar.update(task, completed=row.end)
            try:
                fields, normalised = _read_fields(dataset, row)
                flags = dataset.find_flags(fields)
                if flag := check_length(dataset.strategy.render(fields)):
                    flags.append(flag)
                name = _own_id(row.value) or f"row-{index}"
                if name in taken:
                    flags.append("duplicate-id")
                if strict and flags:
                    raise RejectedError(f"strict: {', '.join(flags)}")
            except RejectedError as reason:
                rows.reasons[str(reason)] += 1
                shown = row.text if row.doubled_key else row.value
                rows.rejected.append(rejected_line(index, str(reason), shown, row.text))
                continue
            while name in taken:
                name = f"{name}-{index}"
            taken.add(name)
            rows.kept.append({"id": name, **fields})
            rows.normalised += normalised
            if flags:
                rows.flagged.append({"index": index, "id": name, "flags": flags})
    return rows


def _read_fields(dataset: Format, row: SourceRow) -> tuple[PreparedRow, bool]:
    """Return the prepared row without its id, and if normalising changed a field.

    Raises RejectedError.
    """
    if not isinstance(row.value, dict):
        raise RejectedError("not an object")
    if row.doubled_key:
        raise RejectedError("duplicate key")
    given = dataset.read(row.value)
    unix = {name: text.replace("\r\n", "\n") for name, text in given.items()}
    fields = dataset.normalise(unix)
    for name, text in fields.items():
        if name != "input" and not text.strip():
            raise RejectedError(f"empty: {name}")
        refuse_surrogates(name, text)
    return fields, fields != given


def _own_id(row: dict[str, Any]) -> str | None:
    own = row.get("id")
    if isinstance(own, int) and not isinstance(own, bool):
        return str(own)
    if not isinstance(own, str) or not own.strip():
        return None
    refuse_surrogates("id", own)
    return own


def _check_kept(dataset: Format, source: Path, rows: _Rows, val_size: int) -> None:
    if not rows.read:
        raise UserError(f"{source} holds an array of no rows. Download it again.")
    reasons = told(commonest_first(rows.reasons))
    if not rows.kept:
        raise UserError(
            f"{source}: none of its {rows.read} rows can be used ({reasons}). Give a file whose "
            f"rows have {dataset.published_fields}."
        )
    if val_size >= len(rows.kept):
        rejected = f" ({len(rows.rejected)} rejected: {reasons})" if rows.rejected else ""
        raise UserError(
            f"--val-size {val_size} leaves nothing to train on: {source} has {len(rows.kept)} "
            f"usable rows{rejected}. Give a smaller --val-size."
        )
