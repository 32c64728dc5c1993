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
    ScoredCheckpoint,
    Selection,
    read_result,
    read_results,
)
from tools.run_folder import checkpoint_folders
from tools.training.run_record import changed_data, told
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
    check: CheckFile | None
    generations: list[GeneratedRow]
    best: Best | None
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
        raise UserError(f"{run}: there is no such run folder; train {recipe.path} first")
    train = Path(recipe.training["path"])
    select_again, check_again = (f"cogex {verb} {recipe.path}" for verb in ("select", "check"))
    best = _best(run / "best", select_again)
    check = read_result(CheckFile, run / "check.json", check_again)
    of_another = bool(best and check and check.model_sha256 != best.sha256)
    generations = read_results(GeneratedRow, run / "generations.jsonl", check_again)
    manifest = read_result(Manifest, train.parent / "manifest.json", "cogex prepare")
    changed = changed_data(recipe)
    return RunFacts(
        recipe=recipe,
        header=read_header(recipe.path),
        state=_state(run),
        manifest=None if str(train) in changed else manifest,
        selection=read_result(Selection, run / "selection.json", select_again),
        check=None if of_another else check,
        generations=[] if of_another else generations,
        best=best,
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


def _best(folder: Path, command: str) -> Best | None:
    origin = read_result(Origin, folder / "checkpoint.json", command)
    if origin is None:
        return None
    return Best(folder, origin.checkpoint, model_hashes(folder))
