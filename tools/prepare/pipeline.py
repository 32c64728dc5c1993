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

import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from prompt_strategies.base import CompletionStrategy, Rendered
from prompt_strategies.tokenise import check_tokenizer, encode_texts
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
    check_out,
    commonest_first,
    print_counts,
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
    sequence_len: int = 2048,
    tokenizer: str | None = None,
) -> dict[str, Any]:
    """Write the prepared rows of the dataset file `source` into the folder `out`.

    Rows with the same instruction and input are never split between train and validation.
    Validation gets `val_size` rows, or the nearest smaller number that whole groups allow.
    `sequence_len` is in tokens; `tokenizer` is a folder or a name in the local cache. With
    `strict`, flagged rows are rejected. Returns manifest.json, whose dicts count rows, the
    commonest first. Raises UserError, with nothing written, if the file or a setting cannot be
    used.
    """
    check_out(out, source, OUTPUTS)
    encoder = _load_tokenizer(tokenizer) if tokenizer else None
    data = read_source_file(source)
    rows = _sort_rows(dataset, data, partial(_length_flag, sequence_len, encoder), strict)
    _check_kept(dataset, source, rows, val_size)
    groups = group_rows(rows.kept, dataset.strategy.given)
    validation = choose_validation(groups, val_size, seed)
    train = [row for index, row in enumerate(rows.kept) if index not in validation]
    val = [row for index, row in enumerate(rows.kept) if index in validation]
    manifest = {
        "source": {"path": str(source), "sha256": data.sha256, "rows": len(data.rows)},
        "kept": len(rows.kept),
        "rejected": len(rows.rejected),
        "flagged": len(rows.flagged),
        "normalised": rows.normalised,  # have one of the changes
        "train": len(train),
        "val": len(val),
        "groups": len(groups),
        "reasons": commonest_first(rows.reasons),
        "flags": commonest_first(Counter(flag for row in rows.flagged for flag in row["flags"])),
        "changes": commonest_first(rows.changes),
        # fields that are not read
        "left_out": dict(list(commonest_first(rows.left_out).items())[:MOST_LEFT_OUT]),
        "traits": commonest_first(rows.traits),
        "val_size": val_size,
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
    return write_folder(out, files, manifest, hashed=["train.jsonl", "val.jsonl"])


def rejected_share(manifest: dict[str, Any]) -> float:
    """Return the share of the rows read that were rejected."""
    return float(manifest["rejected"] / manifest["source"]["rows"])


def print_summary(
    manifest: dict[str, Any], out: Path, max_rejected: float, console: Console
) -> None:
    """Print every count, what is not as asked, where the rows lie, and what comes next."""
    counts = {"read": manifest["source"]["rows"]}
    counts |= {name: manifest[name] for name in ("kept", "train", "val", "groups")}
    counts["changed"] = manifest["normalised"]
    counts |= {f"  {change}": count for change, count in manifest["changes"].items()}
    counts |= {f"field left out: {name}": count for name, count in manifest["left_out"].items()}
    counts |= {f"programs that {trait}": count for trait, count in manifest["traits"].items()}
    counts |= {"flagged, kept": manifest["flagged"]}
    counts |= {f"  {flag}": count for flag, count in manifest["flags"].items()}
    print_counts("rows", counts, manifest, console)
    for sentence in _sentences(manifest, out, max_rejected):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def _sentences(manifest: dict[str, Any], out: Path, max_rejected: float) -> Iterable[str]:
    if "maybe-too-long" in manifest["flags"]:
        yield (
            f"maybe-too-long is an estimate ({CHARACTERS_PER_TOKEN} characters a token): give a "
            "tokenizer to count."
        )
    if manifest["val"] != manifest["val_size"]:
        yield (
            f"Validation has {manifest['val']:,} rows, not {manifest['val_size']:,}: rows with the "
            "same instruction and input stay together."
        )
    if (share := rejected_share(manifest)) > max_rejected:
        yield (
            f"{share:.1%} of the rows were rejected, more than the {max_rejected:.1%} that "
            f"--max-rejected allows: read {out / 'rejected.jsonl'}."
        )
    elif manifest["rejected"]:
        yield f"Rejected rows, each with its reason: {out / 'rejected.jsonl'}."
    if manifest["flagged"]:
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


def _load_tokenizer(name: str) -> Any:
    from tools.models import load_tokenizer  # takes seconds to import, and is seldom asked for

    tokenizer = load_tokenizer(name)
    try:
        check_tokenizer(tokenizer)
    except ValueError as error:
        raise UserError(f"--tokenizer {name} cannot be used: {error}; give another") from None
    return tokenizer


def _length_flag(sequence_len: int, encoder: Any, rendered: Rendered) -> str | None:
    """Return the flag of a row that is too long, else None."""
    text = rendered.prompt + rendered.completion
    if encoder is None:
        return "maybe-too-long" if len(text) > sequence_len * CHARACTERS_PER_TOKEN else None
    try:
        [row] = encode_texts(encoder, [text], [len(rendered.prompt)], ["0"])
    except ValueError:
        return "not-tokenisable"
    return "too-long" if len(row.ids) > sequence_len else None


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
        for index, row in enumerate(bar.track(source.rows, description="rows")):
            try:
                if not isinstance(row, dict):
                    raise RejectedError("not an object")
                if isinstance(row, DoubledKey):
                    raise RejectedError("duplicate key")
                _keep(dataset, rows, index, row, check_length, strict)
            except RejectedError as reason:
                rows.reasons[str(reason)] += 1
                rows.rejected.append(rejected_line(index, str(reason), row))
    if any(row["family"] for row in rows.kept):
        return rows
    for kept in rows.kept:  # the engine wants each column in every row, or in none
        del kept["family"]
    return rows


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
            f"{source}: none of its {len(rows.rejected)} rows can be used ({reasons}). Give a file "
            f"whose rows have {dataset.published_fields}."
        )
    if val_size >= len(rows.kept):
        rejected = f" ({len(rows.rejected)} rejected: {reasons})" if rows.rejected else ""
        raise UserError(
            f"--val-size {val_size} leaves nothing to train on: {source} has {len(rows.kept)} "
            f"usable rows{rejected}. Give a smaller --val-size."
        )
