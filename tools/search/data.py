"""Loads a task: its card, and the rows of its three splits."""

import hashlib
import itertools
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from tools.errors import UserError
from tools.prepare.fetch import name_of, verified
from tools.prepare.source_file import read_source_file
from tools.search.card import FileSource, GeneratorSource, HubSource, Source, TaskCard, read_card
from tools.search.generators import GENERATORS
from tools.search.metrics import Metric, as_number, load_metric

Fields = dict[str, Any]

_TRIES_PER_ROW = 100  # draws of a generator before it counts as exhausted


@dataclass(frozen=True)
class TaskRow:
    """An input and its right answer, both text, and how long it is where the card says so."""

    input: str
    answer: str
    length: int | None = None


@dataclass(frozen=True)
class Task:
    """A task with its rows; no two splits share an input.

    `fingerprint` is the SHA-256 of instruction, metric and rows, on which a score depends beside
    the model. `duplicates` counts the rows left out because an earlier row has the same input.
    """

    name: str
    card: TaskCard
    metric: Metric
    train: tuple[TaskRow, ...]
    dev: tuple[TaskRow, ...]
    test: tuple[TaskRow, ...]
    duplicates: int
    fingerprint: str


def load_task(path: Path) -> Task:
    """Read a card and the rows that it names.

    A hub dataset is downloaded on first use. Raises UserError if the card, the data or a template
    cannot be used, or if there are fewer rows than the splits ask for.
    """
    card = read_card(path)
    metric = load_metric(card.metric, card.tolerance)
    seen = {chain.input for chain in card.chains}
    rows, repeated = _distinct(_rows(path, "data.train", card.data.train, card), seen)
    sizes = card.split
    shuffled = _shuffled(rows, sizes.seed)
    dev_end = sizes.train + sizes.dev
    if card.data.test is None:
        needed, rest = dev_end + sizes.test, shuffled[dev_end:]
    else:
        separate, more = _distinct(_rows(path, "data.test", card.data.test, card), seen)
        repeated += more
        needed, rest = dev_end, _shuffled(separate, sizes.seed)
    for key, have, need in (
        ("data.train", len(shuffled), needed),
        ("data.test", len(rest), sizes.test),
    ):
        if have < need:
            raise UserError(
                f"{path}: `{key}` has {have} rows ({repeated} with an input seen before left out), "
                f"and the splits need {need}; lower the sizes in `split`"
            )
    splits = (
        tuple(shuffled[: sizes.train]),
        tuple(shuffled[sizes.train : dev_end]),
        tuple(rest[: sizes.test]),
    )
    fingerprint = _fingerprint(card, splits)
    return Task(path.stem, card, metric, *splits, repeated, fingerprint)


def _fingerprint(card: TaskCard, splits: Sequence[Sequence[TaskRow]]) -> str:
    rows = [[[row.input, row.answer] for row in split] for split in splits]
    decisive = [card.instruction, card.metric, card.tolerance, rows]
    return hashlib.sha256(json.dumps(decisive, ensure_ascii=False).encode()).hexdigest()


def _shuffled[T](rows: Sequence[T], seed: int) -> list[T]:
    order = list(rows)
    random.Random(str(seed)).shuffle(order)
    return order


def _distinct(rows: Sequence[TaskRow], seen: set[str]) -> tuple[list[TaskRow], int]:
    """Keep the first row of each input that was not seen; add them to `seen`; count the others."""
    kept = []
    for row in rows:
        if row.input not in seen:
            seen.add(row.input)
            kept.append(row)
    return kept, len(rows) - len(kept)


def _rows(path: Path, key: str, source: Source, card: TaskCard) -> list[TaskRow]:
    named = {"input": card.input, "answer": card.answer} | (
        {"length": card.length} if card.length else {}
    )
    templates = {name: template(path, name, text) for name, text in named.items()}
    rows = []
    for number, fields in enumerate(_fields(path, key, source), 1):
        texts = {}
        for name, known in templates.items():
            try:
                texts[name] = known.render(fields).strip()
            except Exception as error:  # an expression in a template may raise anything
                names = ", ".join(sorted(map(str, fields)))
                raise UserError(
                    f"{path}: `{name}` does not fit row {number} of `{key}`: {error}; "
                    f"the row has the fields {names}"
                ) from None
        rows.append(_row(path, f"row {number} of `{key}`", card, **texts))
    return rows


def template(path: Path, name: str, text: str) -> Template:
    """Return the Jinja template under the key `name` of a card; a null in it is refused."""
    environment = SandboxedEnvironment(undefined=StrictUndefined, finalize=_not_null)
    try:
        return environment.from_string(text)
    except TemplateError as error:
        raise UserError(f"{path}: `{name}` is not a Jinja template: {error}") from None


def _row(
    path: Path, where: str, card: TaskCard, input: str, answer: str, length: str = ""
) -> TaskRow:
    if not input or not answer:
        raise UserError(f"{path}: {where} gives an empty input or answer")
    if card.metric == "numeric" and as_number(answer) is None:
        raise UserError(
            f"{path}: {where} gives the answer {answer!r}, which is not "
            "a number; correct `answer`, or `metric: numeric`"
        )
    if card.length is None:
        return TaskRow(input, answer)
    if not length.isdecimal():
        raise UserError(
            f"{path}: {where} gives the length {length!r}, which is no whole number; correct "
            "`length`"
        )
    return TaskRow(input, answer, int(length))


def _not_null(value: Any) -> Any:
    """Refuse a null, which a template would turn into the text None."""
    if value is None:
        raise ValueError("a field that it names is null")
    return value


def _fields(path: Path, key: str, source: Source) -> Sequence[Fields]:
    match source:
        case FileSource():
            return _read_file(source)
        case HubSource():
            return _read_hub(path, key, source)
        case GeneratorSource():
            return _generate(path, key, source)


def _read_file(source: FileSource) -> list[Fields]:
    path = Path(source.file)
    if name := name_of(path):
        verified(name)
    rows = read_source_file(path).rows
    if not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path}: holds rows that are no objects; a template needs their fields")
    return rows


def _read_hub(path: Path, key: str, source: HubSource) -> list[Fields]:
    import datasets

    try:
        loaded = datasets.load_dataset(
            source.hub, source.config, split=source.split, revision=source.revision
        )
    except Exception as error:  # datasets raises whatever its transport does
        what = " ".join(str(error).split())[:300]
        raise UserError(
            f"{path}: `{key}`: {source.hub} at {source.revision[:7]} cannot be loaded: {what}; "
            "run this once with network access and without HF_HUB_OFFLINE; the rows are then kept"
        ) from None
    return loaded.to_list()


def _generate(path: Path, key: str, source: GeneratorSource) -> list[Fields]:
    make: Callable[..., Iterator[Fields]] = GENERATORS[source.generator]
    distinct: dict[str, Fields] = {}
    try:
        stream = make(random.Random(str(source.seed)), **source.options)
        for fields in itertools.islice(stream, source.rows * _TRIES_PER_ROW):
            distinct.setdefault(fields["input"], fields)
            if len(distinct) == source.rows:
                return list(distinct.values())
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: `{key}.options`: {error}") from None
    raise UserError(
        f"{path}: `{key}`: the generator gave {len(distinct)} different rows, not {source.rows}; "
        "lower `rows`"
    )
