"""What is known of a run, read from what its commands left: for the report and the model card.

Only the run folder must be there. A file that is missing is None here; one that is there must be
what its command wrote.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tools.errors import UserError
from tools.files import sha256
from tools.recipe import Recipe
from tools.recipe_header import Header, read_header
from validation.curves.trainer_state import NAME, TrainerState, read_run
from validation.selection.checkpoints import model_hashes

Count = Annotated[int, Field(ge=0)]
Finite = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Written(BaseModel):
    """Part of a file of ours; keys that nothing here asks for are passed over."""

    model_config = ConfigDict(frozen=True)


def _within[Model: BaseModel](figures: Model, count: int, of: int) -> Model:
    if count > of:
        raise ValueError(f"{count} of {of}: more than all")
    return figures


class Share(_Written):
    """In how many of `rows` a measure holds; at most one of the two thresholds is there."""

    count: Count
    rows: Count
    threshold: Finite | None = None  # the least share that passes
    at_most: Finite | None = None  # the largest
    passed: bool = True

    @model_validator(mode="after")
    def _no_more_than_rows(self) -> Self:
        return _within(self, self.count, self.rows)


class Agreement(_Written):
    """How many of `of` were emulated faithfully."""

    count: Count
    of: Count

    @model_validator(mode="after")
    def _no_more_than_all(self) -> Self:
        return _within(self, self.count, self.of)


class EmulationFigures(_Written):
    """Verified emulation: `run` of the `complete` programs were run."""

    programs: Count
    complete: Count
    run: Count
    statuses: dict[str, int]
    keys: Agreement
    faithful: Agreement
    answers: Agreement


class Mode(_Written):
    """What `cogex check` measured in one mode."""

    rows: Count
    measures: dict[str, Share]
    collapse: dict[str, Share] = {}
    emulation: EmulationFigures | None = None


class CheckFile(Mode):
    """`check.json`: the reasoner's figures, and the emulator's where they were measured."""

    validation_sha256: str
    model_sha256: dict[str, str] = {}  # by file name
    passed: bool
    emulator: Mode | None = None


class ScoredCheckpoint(_Written):
    """One checkpoint of `selection.json`."""

    name: str
    step: int
    epoch: Finite | None
    perplexity: Finite | None
    logged_eval_loss: Finite | None
    status: str
    reason: str = ""


class ScoredRows(_Written):
    """The validation rows that the checkpoints were scored on."""

    sha256: str
    rows: Count
    tokens: Count | None = None


class BaseScore(_Written):
    """The base model's score on the same rows, before training."""

    perplexity: Finite | None = None


class Selection(_Written):
    """`selection.json`."""

    criterion: str
    best: str | None
    validation: ScoredRows
    checkpoints: list[ScoredCheckpoint]
    base: BaseScore = BaseScore()


class GeneratedRow(_Written):
    """One line of `generations.jsonl`."""

    id: str
    instruction: str
    input: str
    generated: str
    reference: str
    holds: dict[str, bool]


class Source(_Written):
    """The file that the rows were prepared from."""

    path: str
    sha256: str
    rows: int


class Manifest(_Written):
    """`manifest.json` of the prepared rows."""

    source: Source
    train: int
    val: int
    rejected: int
    seed: int
    sha256: dict[str, str]  # by file name


class _Copied(_Written):
    """`checkpoint.json` of best/."""

    checkpoint: str


@dataclass(frozen=True)
class Best:
    """What lies in `best/`, and the checkpoint that it is a copy of."""

    folder: Path
    checkpoint: str
    sha256: dict[str, str]  # of its config and each file of weights, by name


@dataclass(frozen=True)
class RunFacts:
    """A run as its files tell it."""

    recipe: Recipe
    header: Header
    state: TrainerState | None
    manifest: Manifest | None
    selection: Selection | None
    check: CheckFile | None
    generations: list[GeneratedRow]
    best: Best | None
    check_is_of_another: bool = False  # check.json is of a model that best/ held; left out here

    @property
    def chosen(self) -> ScoredCheckpoint | None:
        """The score of the checkpoint that lies in `best/`."""
        if self.best is None or self.selection is None:
            return None
        of_name = {item.name: item for item in self.selection.checkpoints}
        return of_name.get(self.best.checkpoint)


def read_facts(recipe: Recipe) -> RunFacts:
    """Read all that is known of a recipe's run.

    Raises UserError if there is no run folder, or if a file in it is not what its command wrote.
    """
    run = recipe.output_dir
    if not run.is_dir():
        raise UserError(f"{run}: there is no such run folder; train {recipe.path} first")
    train = Path(recipe.training["path"])
    best = _best(run / "best", f"cogex select {recipe.path}")
    check = _read(CheckFile, run / "check.json", f"cogex check {recipe.path}")
    of_another = bool(best and check and check.model_sha256 != best.sha256)
    generations = _generations(run / "generations.jsonl", f"cogex check {recipe.path}")
    return RunFacts(
        recipe=recipe,
        header=read_header(recipe.path),
        state=_state(run),
        manifest=_read(Manifest, train.parent / "manifest.json", "cogex prepare"),
        selection=_read(Selection, run / "selection.json", f"cogex select {recipe.path}"),
        check=None if of_another else check,
        generations=[] if of_another else generations,
        best=best,
        check_is_of_another=of_another,
    )


def stale(facts: RunFacts) -> Iterator[str]:
    """Yield a sentence for each figure that was measured on other files than are there now."""
    recipe = facts.recipe
    val = Path(recipe.validation["path"])
    now = sha256(val) if val.is_file() else None
    if facts.selection and facts.selection.validation.sha256 != now:
        yield (
            f"The checkpoints were scored on other rows than {val} holds now: "
            f"`cogex select {recipe.path}`"
        )
    if facts.check and facts.check.validation_sha256 != now:
        yield (
            f"The check was made on other rows than {val} holds now: `cogex check {recipe.path}`"
        )
    if facts.check_is_of_another:
        yield (
            "check.json is of another model than best/ holds now, so its figures are left out: "
            f"`cogex check {recipe.path}`"
        )
    if facts.best and facts.selection and facts.selection.best != facts.best.checkpoint:
        yield (
            f"best/ holds {facts.best.checkpoint}, and selection.json names "
            f"{facts.selection.best or 'none'}: `cogex select {recipe.path}`"
        )
    if facts.manifest:
        for path in (Path(recipe.training["path"]), val):
            known = facts.manifest.sha256.get(path.name)
            if path.is_file() and known and sha256(path) != known:
                yield f"{path} is not the file that `cogex prepare` wrote: prepare it again."


def _state(run: Path) -> TrainerState | None:
    there = (run / NAME).is_file() or any(run.glob(f"checkpoint-*/{NAME}"))
    return read_run(run) if there else None


def _generations(path: Path, command: str) -> list[GeneratedRow]:
    lines = _text(path, command)
    return [
        _validated(GeneratedRow, line, f"{path}, line {number}", command)
        for number, line in enumerate((lines or "").split("\n"), 1)
        if line.strip()
    ]


def _best(folder: Path, command: str) -> Best | None:
    copied = _read(_Copied, folder / "checkpoint.json", command)
    if copied is None:
        return None
    return Best(folder, copied.checkpoint, model_hashes(folder))


def _read[Model: BaseModel](model: type[Model], path: Path, command: str) -> Model | None:
    text = _text(path, command)
    return None if text is None else _validated(model, text, str(path), command)


def _text(path: Path, command: str) -> str | None:
    """The text of a file; None where there is none."""
    if not path.is_file():
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}; run `{command}` again") from None


def _validated[Model: BaseModel](model: type[Model], text: str, where: str, command: str) -> Model:
    try:
        content: Any = json.loads(text)
        json.dumps(content, ensure_ascii=False).encode("utf-8")  # half a character fits no page
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, first["loc"])) or "it"
        raise UserError(f"{where}: {key}: {first['msg']}; run `{command}` again") from None
    except (ValueError, RecursionError):
        raise UserError(f"{where}: is not JSON; run `{command}` again") from None
