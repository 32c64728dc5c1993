"""Turns the rows of any dataset into prepared rows: train.jsonl, val.jsonl, manifest.json.

Every row read is either kept or in rejected.jsonl with its reason (F is the file's own field):

- `not an object` (in CSV: more or fewer cells than the header), `duplicate key`;
- `missing: F`, `empty: F`, `wrong type: F`, `not UTF-8: F` (a lone surrogate);
- `unusable number: F` (NaN or infinite), `nested too deep: F`;
- `strict: FLAGS` for a flagged row under `--strict`;
- what the dataset's own module names.

A kept row that looks odd is in flagged.jsonl too:

- `too-long` (in tokens, special ones included), `not-tokenisable` (training would refuse it) or,
  without a tokenizer, `maybe-too-long` (estimated from its characters);
- `duplicate-id`, `duplicate-row` (of an earlier one), `contradictory-row` (an earlier one has the
  same instruction and input and another answer);
- `no-input-marker` (`N/A`, `<noinput>` and the like), `family-not-text`;
- `stray-fence: F`, `header-in-field: F` (a line such as `### Input`), `control-character: F`,
  `invisible-character: F`, `replacement-character: F` (of a text that was decoded wrongly);
- the dataset's own.
"""

import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from prompt_strategies.base import CompletionStrategy, Rendered
from prompt_strategies.date_texts import stored_texts
from prompt_strategies.tokenise import encode_texts
from tools.errors import UserError
from tools.prepare.fields import (
    Change,
    PreparedRow,
    ReadRow,
    RejectedError,
    read_fields,
    refuse_surrogates,
)
from tools.prepare.folder import (
    MANIFEST,
    check_out,
    commonest_first,
    counts_table,
    rejected_line,
    told,
    write_folder,
)
from tools.prepare.odd_texts import odd_texts
from tools.prepare.source_file import DoubledKey, SourceFile, read_source_file
from tools.prepare.split import choose_validation, group_key, group_rows

OUTPUTS = ("train.jsonl", "val.jsonl", "rejected.jsonl", "flagged.jsonl", "manifest.json")
CHARACTERS_PER_TOKEN = 3  # a low estimate for Llama tokenizers, so that few long rows pass
MOST_LEFT_OUT = 20  # names of fields that are shown: a file may have one for each row

LengthCheck = Callable[[Rendered], str | None]


@dataclass(frozen=True)
class Summary:
    """What became of the rows; each dict counts rows, the commonest first.

    `normalised` rows have one of `changes`. `left_out` counts rows with a field that is not read,
    `traits` what the dataset's own module counts. `ok` is False if the rejected share is above
    `max_rejected`.
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
    changes: dict[str, int]
    left_out: dict[str, int]
    traits: dict[str, int]
    ok: bool


@dataclass(frozen=True)
class Format:
    """How one dataset's published rows become the prepared rows that its strategy declares.

    `tidying` changes columns in its order. `find_flags` names what is odd in a row, and may raise
    RejectedError. In the columns `unfenced` no code fence belongs. `traits` names what a row is
    counted as, `answer` what rows of one task should agree about: else the last column.
    """

    strategy: type[CompletionStrategy]
    tidying: tuple[Change, ...] = ()
    find_flags: Callable[[ReadRow], list[str]] = lambda read: []
    unfenced: tuple[str, ...] = ()
    traits: Callable[[PreparedRow], Iterable[str]] = lambda row: ()
    answer: Callable[[PreparedRow], str] = lambda row: [*row.values()][-1]

    @property
    def published_fields(self) -> str:
        """The fields of a published row, for the person who gave another file."""
        *names, last = (each.names[0] for each in self.strategy.published_fields)
        return f"{', '.join(names)} and {last}"


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
        changes=commonest_first(rows.changes),
        left_out=dict(list(commonest_first(rows.left_out).items())[:MOST_LEFT_OUT]),
        traits=commonest_first(rows.traits),
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
    counts = asdict(summary)
    origin = {"path": str(source.path), "sha256": source.sha256, "rows": counts.pop("read")}
    val_size = counts.pop("val_requested")
    del counts["max_rejected"], counts["ok"]
    return {"source": origin, **counts, "val_size": val_size}


def print_summary(summary: Summary, out: Path, console: Console) -> None:
    """Print every count, what is not as asked, where the rows lie, and what comes next."""
    counts = {name: getattr(summary, name) for name in ("read", "kept", "train", "val", "groups")}
    counts["changed"] = summary.normalised
    counts |= {f"  {change}": count for change, count in summary.changes.items()}
    counts |= {f"field left out: {name}": count for name, count in summary.left_out.items()}
    counts |= {f"programs that {trait}": count for trait, count in summary.traits.items()}
    counts |= {"flagged, kept": summary.flagged}
    counts |= {f"  {flag}": count for flag, count in summary.flags.items()}
    console.print(counts_table("rows", counts | {"rejected": summary.rejected}, summary.reasons))
    for sentence in _sentences(summary, out):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def _sentences(summary: Summary, out: Path) -> Iterable[str]:
    if "maybe-too-long" in summary.flags:
        yield (
            f"maybe-too-long is an estimate ({CHARACTERS_PER_TOKEN} characters a token): give a "
            "tokenizer to count."
        )
    if summary.val != summary.val_requested:
        yield (
            f"Validation has {summary.val:,} rows, not {summary.val_requested:,}: rows with the "
            "same instruction and input stay together."
        )
    if not summary.ok:
        yield (
            f"{summary.rejected / summary.read:.1%} of the rows were rejected, more than the "
            f"{summary.max_rejected:.1%} that --max-rejected allows: read {out / 'rejected.jsonl'}."
        )
    elif summary.rejected:
        yield f"Rejected rows, each with its reason: {out / 'rejected.jsonl'}."
    if summary.flagged:
        yield (
            f"Flagged rows, which are kept: {out / 'flagged.jsonl'}. --strict rejects them; "
            "docs/data.md says what each flag means."
        )
    yield f"Next: {_next_command(out)}"


def _next_command(out: Path) -> str:
    """Return the preflight of the recipes that read this folder, or what makes such a recipe."""
    reading = f"path: {out}/train.jsonl"
    all_recipes = sorted(Path("recipes").glob("*.yml"))
    if recipes := [path for path in all_recipes if reading in path.read_text("utf-8")]:
        more = f" (one of {len(recipes)} recipes that read {out})" if recipes[1:] else ""
        return f"cogex preflight {recipes[0]}{more}"
    return f"cogex new NAME --base BASE --data {out}, which writes a recipe for these rows."


def _check_settings(
    source: Path, out: Path, val_size: int, max_rejected: float, sequence_len: int
) -> None:
    if val_size < 0:
        raise UserError(f"--val-size is {val_size}: give 1 or more rows.")
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
    changes: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    traits: Counter[str] = field(default_factory=Counter)
    normalised: int = 0
    names: set[str] = field(default_factory=set)  # ids that are taken
    texts: set[tuple[str, ...]] = field(default_factory=set)  # whole rows that are kept
    answers: dict[tuple[str, ...], str] = field(default_factory=dict)  # the first of each task

    @property
    def read(self) -> int:
        return len(self.kept) + len(self.rejected)


def _sort_rows(
    dataset: Format, source: SourceFile, check_length: LengthCheck, strict: bool
) -> _Rows:
    """Keep or reject every row of the source, in its order."""
    rows = _Rows()
    console = Console(stderr=True)
    with (
        warnings.catch_warnings(),
        Progress(console=console, transient=True, disable=not console.is_terminal) as bar,
    ):
        warnings.simplefilter("ignore")  # a program with "\d" is no concern here
        prepared = _was_prepared(source)
        for index, row in enumerate(bar.track(source.rows, description="rows")):
            try:
                if not isinstance(row, dict):
                    raise RejectedError("not an object")
                if isinstance(row, DoubledKey):
                    raise RejectedError("duplicate key")
                given = stored_texts(row) if prepared else row
                _keep(dataset, rows, index, given, check_length, strict)
            except RejectedError as reason:
                rows.reasons[str(reason)] += 1
                rows.rejected.append(rejected_line(index, str(reason), row))
    if any(row["family"] for row in rows.kept):
        return rows
    for kept in rows.kept:  # the engine wants each column in every row, or in none
        del kept["family"]
    return rows


def _was_prepared(source: SourceFile) -> bool:
    """Say whether the manifest beside a file names it as one of `cogex prepare`."""
    try:
        manifest = json.loads((source.path.parent / MANIFEST).read_text(encoding="utf-8"))
        return source.sha256 in manifest["sha256"].values()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _keep(
    dataset: Format,
    rows: _Rows,
    index: int,
    row: dict[str, Any],
    check_length: LengthCheck,
    strict: bool,
) -> None:
    """Add a row to those that are kept, with its flags and changes. Raises RejectedError."""
    read = read_fields(row, dataset.strategy.published_fields, dataset.tidying)
    flags = [*dataset.find_flags(read), *odd_texts(read.texts, read.names, dataset.unfenced)]
    if flag := check_length(dataset.strategy.render(read.texts)):
        flags.append(flag)
    name = _name(row, "id") or f"row-{index}"
    if name in rows.names:
        flags.append("duplicate-id")
    family = _name(row, "family")
    if not family and row.get("family") not in (None, ""):
        flags.append("family-not-text")
    task, answer = group_key(read.texts, dataset.strategy.given), dataset.answer(read.texts)
    texts = tuple(read.texts.values())
    if texts in rows.texts:
        flags.append("duplicate-row")
    elif rows.answers.get(task, answer) != answer:
        flags.append("contradictory-row")
    if strict and flags:
        raise RejectedError(f"strict: {', '.join(flags)}")
    while name in rows.names:
        name = f"{name}-{index}"
    rows.names.add(name)
    rows.texts.add(texts)
    rows.answers.setdefault(task, answer)
    rows.kept.append({"id": name, **read.texts, "family": family or ""})
    rows.traits.update(dataset.traits(read.texts))
    rows.changes.update(read.changes)
    rows.normalised += bool(read.changes)
    left_out = row.keys() - {*read.names.values(), "id", "family"}
    rows.left_out.update(key.encode("utf-8", "replace").decode() for key in left_out)
    if flags:
        rows.flagged.append({"index": index, "id": name, "flags": flags})


def _name(row: dict[str, Any], key: str) -> str | None:
    """Return a row's own id or family as text; None for what is no name."""
    own = row.get(key)
    if isinstance(own, int) and not isinstance(own, bool):
        return str(own)
    if not isinstance(own, str) or not own.strip():
        return None
    refuse_surrogates(key, own)
    return own


def _check_kept(dataset: Format, source: Path, rows: _Rows, val_size: int) -> None:
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
