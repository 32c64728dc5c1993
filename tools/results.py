"""The files in which one command leaves its result for others, as models of their JSON.

Who writes such a file builds its model; who reads it calls `read_result`. Keys that no reader
needs may be there too.
"""

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tools.errors import UserError

Count = Annotated[int, Field(ge=0)]
Finite = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Written(BaseModel):
    """A file of ours, or part of one."""

    model_config = ConfigDict(frozen=True, extra="allow")


# manifest.json, by `cogex prepare`


class Source(Written):
    """The file that the rows were prepared from."""

    path: str
    sha256: str
    rows: int


class Manifest(Written):
    """`manifest.json`: how the rows beside it were prepared."""

    format: str = "cogex"  # manifests of the first release do not say
    layout_version: int = 1  # the code track's rows are the text itself, and have no other
    source: Source | None = None  # the code track has several
    train: Count | None = None  # rows; a corpus is counted in documents
    val: Count | None = None
    val_size: Count | None = None  # what was asked for; the code track writes exactly that
    rejected: Count = 0
    seed: int | None = None
    sha256: dict[str, str]  # by file name


# selection.json and best/checkpoint.json, by `cogex select`


class NllFigures(Written):
    """The NLL in nats over `tokens` trained tokens; None where there is no finite score."""

    nll_sum: Finite | None = None
    tokens: Count | None = None
    perplexity: Finite | None = None


class ScoredCheckpoint(Written):
    """One checkpoint; `status` is ok, corrupt or incomplete, with the reason."""

    name: str
    step: int
    epoch: Finite | None
    nll_sum: Finite | None = None
    tokens: Count | None = None
    perplexity: Finite | None
    logged_eval_loss: Finite | None  # the trainer's: a mean of batches
    status: str
    reason: str = ""


class ScoredRows(Written):
    """The validation rows that the checkpoints were scored on."""

    path: str = ""
    sha256: str
    rows: Count
    tokens: Count | None = None  # trained ones
    cut: Count | None = None  # rows longer than `sequence_len`


class Selection(Written):
    """`selection.json`; `criterion` is perplexity or logged_eval_loss."""

    criterion: str
    best: str | None
    validation: ScoredRows
    checkpoints: list[ScoredCheckpoint]
    base: NllFigures = NllFigures()  # the model before training
    data_changed: list[str] = []  # a sentence for each data file that is not what was trained on


ROWS = "validation_nll.jsonl"  # the best checkpoint's, row by row in the file's order


class RowNll(Written):
    """The NLL in nats over a validation row's trained tokens."""

    nll: Finite
    tokens: Count


class Origin(Written):
    """`checkpoint.json` of best/: what it is a copy of, and how its base is quantised."""

    checkpoint: str
    perplexity: float | None = None
    quantization: dict[str, Any] | None = None


# check.json and generations.jsonl, by `cogex check`


class _Part(Written):
    """How many of all; the name of that key differs."""

    of_key: ClassVar[str]
    count: Count

    @model_validator(mode="after")
    def _no_more_than_all(self) -> Self:
        if self.count > (of := getattr(self, self.of_key)):
            raise ValueError(f"{self.count} of {of}: more than all")
        return self


class Reached(_Part):
    """In how many of `rows` a measure holds for the references."""

    of_key = "rows"
    rows: Count


class Share(_Part):
    """In how many of `rows` a measure holds; at most one of the two thresholds is there.

    A perfect model writes the references, which need not meet every measure themselves.
    """

    of_key = "rows"
    rows: Count  # that could be judged
    not_judged: Count = 0
    references: Reached | None = None  # those of the first release were not measured
    threshold: Finite | None = None  # the least share of the references' that passes
    at_most: Finite | None = None  # the largest share beyond the references'
    passed: bool = True
    interval: tuple[float, float] | None = None  # Wilson's, at 95%


class Agreement(_Part):
    """How many of `of` were emulated faithfully."""

    of_key = "of"
    of: Count


class EmulationFigures(Written):
    """Verified emulation: `run` of the `complete` programs were run."""

    programs: Count
    complete: Count
    run: Count
    statuses: dict[str, int]
    keys: Agreement
    faithful: Agreement
    answers: Agreement


class Mode(Written):
    """What `cogex check` measured in one mode."""

    rows: Count
    measures: dict[str, Share]
    answer_exact_by_family: dict[str, Share] = {}
    collapse: dict[str, Share] = {}
    emulation: EmulationFigures | None = None


class CheckFile(Mode):
    """`check.json`: the reasoner's figures, and the emulator's where they were measured."""

    task: str = "program"  # what the model writes
    model: str = "best"
    partial: str = "of an unknown number of rows"  # empty for a whole check; old files do not say
    validation_sha256: str
    model_sha256: dict[str, str] = {}  # by file name
    passed: bool
    emulator: Mode | None = None


class GeneratedRow(Written):
    """One line of `generations.jsonl`."""

    id: str  # what was asked stands in further keys, as the strategy names them
    generated: str
    reference: str
    holds: dict[str, bool | None]  # None: not judged


class Sample(Written):
    """One line of `samples.jsonl`: what the model wrote for a row at a checkpoint."""

    step: Count
    id: str  # of the validation row
    text: str


# programs.json, by `cogex search`


class TestedShare(Written):
    """How many of the test rows a way to answer got right, with Wilson's interval."""

    right: Count
    rows: Count
    interval_95: tuple[float, float]
    by_row: str = ""  # 1 or 0 for each row; files of the first release do not say


class SearchedTask(Written):
    """What a search was about."""

    name: str
    lengths: list[int] | None = None  # of the test rows, where the card says what is long


class Searched(Written):
    """What a search found, and the ways to answer that it tested."""

    task: SearchedTask
    test: dict[str, TestedShare]


# sweep.json, by `cogex search --sweep`


class Spread(Written):
    """A figure over the draws of a sweep."""

    mean: float
    deviation: Finite


class SweepPoint(Written):
    """What a search with fewer candidates or dev rows would have found."""

    criterion: str
    candidates: Count
    dev_rows: Count
    accuracy: Spread
    rank: Spread


class SweepFile(Written):
    """`sweep.json`: a point for each number of candidates, of dev rows, and criterion."""

    draws: Count
    points: list[SweepPoint]
    conclusions: list[str]


# reading


def read_result[Model: BaseModel](model: type[Model], path: Path, command: str) -> Model | None:
    """Read one such file; None where there is none.

    Raises UserError naming file and key if it is not what `command` writes.
    """
    text = _text(path, command)
    return None if text is None else _parsed(model, text, str(path), command)


def read_results[Model: BaseModel](model: type[Model], path: Path, command: str) -> list[Model]:
    """Read a file of one such object a line; none where there is no file."""
    lines = enumerate((_text(path, command) or "").split("\n"), 1)
    return [
        _parsed(model, line, f"{path}, line {number}", command)
        for number, line in lines
        if line.strip()
    ]


def validated[Model: BaseModel](model: type[Model], content: Any, where: str, cure: str) -> Model:
    """Build a model. Raises UserError with `where`, the key that is wrong, and the cure."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, first["loc"])) or "it"
        raise UserError(f"{where}: {key}: {first['msg']}; {cure}") from None


def _text(path: Path, command: str) -> str | None:
    if not path.is_file():
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}; run `{command}` again") from None


def _parsed[Model: BaseModel](model: type[Model], text: str, where: str, command: str) -> Model:
    try:
        content = json.loads(text)
        json.dumps(content, ensure_ascii=False).encode("utf-8")  # half a character fits no page
    except (ValueError, RecursionError):
        raise UserError(f"{where}: is not JSON; run `{command}` again") from None
    return validated(model, content, where, f"run `{command}` again")
