"""What is known about a run, read from the files of its commands, for report and model card.

Only the run folder must be there. A missing file is None here; a file must be what its command
wrote.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tools.errors import UserError
from tools.files import sha256
from tools.recipe import Recipe
from tools.recipe_header import Header, read_header
from tools.results import (
    CheckFile,
    GeneratedRow,
    Manifest,
    Origin,
    Sample,
    ScoredCheckpoint,
    Searched,
    Selection,
    SweepFile,
    read_result,
    read_results,
)
from tools.run_folder import checkpoint_folders, to_train
from tools.training import run_record, samples
from tools.training.run_record import Launched, changed_data, told
from validation.curves.trainer_state import NAME, TrainerState, read_run
from validation.selection.checkpoints import model_hashes


@dataclass(frozen=True)
class Best:
    """What is in `best/`, and the checkpoint that it is a copy of."""

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
    check: CheckFile | None  # the whole one; a partial one only where there is no other
    generations: list[GeneratedRow]
    samples: list[Sample]
    best: Best | None
    base_check: CheckFile | None = None  # of the base on the same rows, or on the first of them
    searches: list[Searched] = field(default_factory=list)
    sweeps: dict[str, SweepFile] = field(default_factory=dict)  # by task
    launches: list[Launched] = field(default_factory=list)
    check_is_of_another: bool = False  # check.json is of a model that best/ held; left out here
    # data files that are not what was trained on, and the SHA-256 that was; the manifest of what
    # lies there now is left out
    changed: dict[str, str] = field(default_factory=dict)

    @property
    def chosen(self) -> ScoredCheckpoint | None:
        """The score of the checkpoint in `best/`."""
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
        raise UserError(f"{run}: there is no such run folder; {to_train(recipe)}")
    train = Path(recipe.training["path"])
    select_again, check_again = (f"cogex {verb} {recipe.path}" for verb in ("select", "check"))
    best = _best(run / "best", select_again)
    path, check, of_another = _check(run, best, check_again)
    generations = path.with_name(path.name.replace("check", "generations", 1) + "l")
    manifest = read_result(Manifest, train.parent / "manifest.json", "cogex prepare")
    changed = changed_data(recipe)
    record = run_record.read(run)
    return RunFacts(
        recipe=recipe,
        header=read_header(recipe.path),
        state=_state(run),
        manifest=None if str(train) in changed else manifest,
        selection=read_result(Selection, run / "selection.json", select_again),
        check=check,
        generations=read_results(GeneratedRow, generations, check_again) if check else [],
        samples=read_results(Sample, run / samples.NAME, samples.TRAIN),
        best=best,
        base_check=_base_check(run, check),
        searches=_searches(run),
        sweeps=_sweeps(run),
        launches=record.launches if record else [],
        check_is_of_another=of_another,
        changed=changed,
    )


def stale(facts: RunFacts) -> Iterator[str]:
    """Yield a sentence for each figure that was measured on files that have changed since."""
    recipe = facts.recipe
    val = Path(recipe.validation["path"])
    now = sha256(val) if val.is_file() else None
    yield from told(facts.changed)
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
    folders = [run, *checkpoint_folders(run).values()]
    return read_run(run) if any((folder / NAME).is_file() for folder in folders) else None


def _check(run: Path, best: Best | None, command: str) -> tuple[Path, CheckFile | None, bool]:
    """Return a check of best/, its path, and whether check.json is of another model.

    Where check.json is not there or not of best/, it is a partial one: that of the most rows.
    """
    whole = run / "check.json"
    check = read_result(CheckFile, whole, command)
    if check and _is_of(best, check):
        return whole, check, False
    paths = sorted(run.glob("check-*.json"))
    read = [(path, read_result(CheckFile, path, command)) for path in paths]
    found = [(path, part) for path, part in read if part and _is_of(best, part)]
    path, part = max(
        found, key=lambda item: (item[1].rows, item[1].emulator is not None), default=(whole, None)
    )
    return path, part, check is not None


def _base_check(run: Path, check: CheckFile | None) -> CheckFile | None:
    """Return a check of the base on the rows of `check`: a like one, else that of the most rows."""
    if check is None:
        return None
    paths = sorted(run.glob("check-base*.json"))
    read = [read_result(CheckFile, path, "cogex check --model base") for path in paths]
    found = [
        item
        for item in read
        if item
        and (item.model, item.task) == ("base", check.task)
        and item.validation_sha256 == check.validation_sha256
    ]
    return max(found, key=lambda item: (item.partial == check.partial, item.rows), default=None)


def _searches(run: Path) -> list[Searched]:
    paths = sorted(run.glob("search/*/programs.json"))
    read = [read_result(Searched, path, "cogex search") for path in paths]
    return [item for item in read if item]


def _sweeps(run: Path) -> dict[str, SweepFile]:
    paths = sorted(run.glob("search/*/sweep.json"))
    read = {
        path.parent.name: read_result(SweepFile, path, "cogex search --sweep") for path in paths
    }
    return {name: item for name, item in read.items() if item}


def _is_of(best: Best | None, check: CheckFile) -> bool:
    return check.model == "best" and (best is None or check.model_sha256 == best.sha256)


def _best(folder: Path, command: str) -> Best | None:
    origin = read_result(Origin, folder / "checkpoint.json", command)
    if origin is None:
        return None
    return Best(folder, origin.checkpoint, model_hashes(folder))
