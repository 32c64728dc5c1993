"""Picks the checkpoint with the lowest exact validation perplexity and copies it to `best/`."""

import filecmp
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from tools.errors import UserError
from tools.files import refuse_unwritable, sha256, shown_if_not_written, write_json, writing
from tools.kept import Kept, digest
from tools.models import ORIGIN, SharedBase, load_base, load_recipe_tokenizer, quantization
from tools.prepared_rows import encode_validation, read_prepared_rows
from tools.recipe import Recipe
from tools.results import NllFigures, Origin, ScoredCheckpoint, ScoredRows, Selection
from tools.training.run_record import changed_data, told
from validation.selection.checkpoints import Checkpoint, checkpoints, file_hashes
from validation.selection.perplexity import Score, ScoringRow, score
from validation.selection.score_cache import NAME as SCORES
from validation.selection.score_cache import circumstances

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                   "tokenizer.model", "chat_template.jinja")  # fmt: skip
RELATIVE_TOLERANCE = 1e-6  # between the score of a checkpoint and of its copy in best/


@dataclass(frozen=True)
class Scored:
    """A checkpoint with its score; None where it was not scored."""

    checkpoint: Checkpoint
    score: Score | None = None

    @property
    def perplexity(self) -> float | None:
        """Of the validation rows; None where it was not scored."""
        return self.score.perplexity if self.score else None


class _Scorer:
    """Scores checkpoints on the recipe's validation rows; rows and base are loaded once."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.rows, self.cut = validation_rows(recipe, load_recipe_tokenizer(recipe))
        self.kept = Kept(recipe.output_dir / SCORES)
        self.circumstances = circumstances(recipe, self.rows)
        self.base = SharedBase(
            lambda: load_base(recipe.base_model, quantization(recipe)), recipe.values.get("seed")
        )

    def score_base(self) -> Score | None:
        """Score the model before training; None where that was drawn at random and is gone."""
        if self.recipe.values.get("reinit_weights"):
            return None
        return self._kept_or({}, self._score_base)

    def score_checkpoint(self, checkpoint: Checkpoint) -> Score:
        """Score a checkpoint, or recall its score. Raises UserError if it cannot be loaded."""
        hashes = file_hashes(checkpoint.path, checkpoint.files)
        return self._kept_or(hashes, lambda: self.score(checkpoint.path))

    def _kept_or(self, files: dict[str, str], make: Callable[[], Score]) -> Score:
        key = digest(self.circumstances | {"files": files})
        if kept := self.kept.get(key):
            return Score(**kept)
        result = make()
        if math.isfinite(result.nll_sum):
            with suppress(OSError):  # a full disk: the scores are shown, and made again next time
                self.kept.put(key, vars(result))
        return result

    def _score_base(self) -> Score:
        if self.recipe.adapter is None:  # not held, for checkpoints need its room
            return score(load_base(self.recipe.base_model), self.rows)
        return score(self.base.model, self.rows)

    def score(self, folder: Path) -> Score:
        """Score the adapter or model of a folder. Raises UserError if it cannot be loaded."""
        if self.recipe.adapter is None:
            return score(load_base(folder), self.rows)
        with self.base.with_adapter(folder) as model:
            return score(model, self.rows)


def validation_rows(recipe: Recipe, tokenizer: Any) -> tuple[list[ScoringRow], int]:
    """Return the recipe's validation rows as training sees them, and how many of them are cut.

    Axolotl's `type: completion`, on which the tiny base is trained, splits a long text in place
    of cutting it. Raises UserError if the rows cannot be used.
    """
    if recipe.validation.get("type") == "completion":
        return _completion_rows(recipe, tokenizer), 0
    rows = [ScoringRow.of(ids, labels) for ids, labels in encode_validation(recipe, tokenizer)]
    return rows, sum(int(row.input_ids[-1]) != tokenizer.eos_token_id for row in rows)


def _completion_rows(recipe: Recipe, tokenizer: Any) -> list[ScoringRow]:
    from axolotl.prompt_strategies import completion
    from axolotl.utils.dict import DictDefault

    entry = recipe.validation
    field = str(entry.get("field") or "text")
    texts = [row[field] for row in read_prepared_rows(Path(entry["path"]), (field,))]
    strategy = completion.load(tokenizer, DictDefault(recipe.values), entry)
    encoded = strategy.tokenize_prompt({field: texts})
    pairs = zip(encoded.get("input_ids", []), encoded.get("labels", []), strict=True)
    rows = [ScoringRow.of(*pair) for pair in pairs]
    if not any(row.trained_tokens for row in rows):
        raise UserError(f"{entry['path']}: no token carries loss; write texts into `{field}`")
    return rows


def select(recipe: Recipe, *, logged: bool = False) -> Selection:
    """Score every checkpoint of the recipe's run, write `selection.json` and `best/`.

    A score that was made before is not made again. `logged` ranks by the trainer's own
    batch-averaged eval loss; it loads and scores nothing. Returns the content of selection.json;
    its `best` is None where no checkpoint is usable.
    """
    found = checkpoints(recipe)
    refuse_unwritable(recipe.output_dir)
    _recover_best(recipe.output_dir)
    usable = any(checkpoint.status == "ok" for checkpoint in found)
    scorer = _Scorer(recipe) if usable and not logged else None
    base = scorer.score_base() if scorer else None
    progress = track(found, "Scoring checkpoints", transient=True)
    scored = [_score(checkpoint, scorer) for checkpoint in progress]
    best = _best(scored, logged)
    validation = Path(recipe.validation["path"])
    result = Selection(
        criterion="logged_eval_loss" if logged else "perplexity",
        best=best.checkpoint.name if best else None,
        validation=ScoredRows(
            path=str(validation),
            sha256=sha256(validation),
            rows=len(read_prepared_rows(validation, fields=())),
            tokens=next((item.score.tokens for item in scored if item.score), None),
            cut=scorer.cut if scorer else None,
        ),
        checkpoints=[_written(item) for item in scored],
        base=NllFigures(**_figures(base)),
        data_changed=told(changed_data(recipe)),
    )
    with shown_if_not_written(result), writing(recipe.output_dir / "best"):
        if best:
            _write_best(recipe, best, scorer)
        write_json(recipe.output_dir / "selection.json", result.model_dump())
    return result


def _score(checkpoint: Checkpoint, scorer: _Scorer | None) -> Scored:
    if scorer is None or checkpoint.status != "ok":
        return Scored(checkpoint)
    try:
        result = scorer.score_checkpoint(checkpoint)
    except UserError as error:
        reason = str(error).removeprefix(f"{checkpoint.path}: ")
        return Scored(replace(checkpoint, status="corrupt", reason=reason))
    if not math.isfinite(result.perplexity):
        reason = "its perplexity is not finite"
        return Scored(replace(checkpoint, status="corrupt", reason=reason))
    return Scored(checkpoint, result)


def _best(scored: list[Scored], logged: bool) -> Scored | None:
    """The lowest perplexity (or logged loss) among usable checkpoints; ties go to the earlier."""
    ranked = [
        (value, item.checkpoint.step, item)
        for item in scored
        if item.checkpoint.status == "ok"
        and (value := item.checkpoint.logged_eval_loss if logged else item.perplexity) is not None
    ]
    return min(ranked, key=itemgetter(0, 1))[2] if ranked else None


def _written(item: Scored) -> ScoredCheckpoint:
    checkpoint = item.checkpoint
    return ScoredCheckpoint(
        name=checkpoint.name,
        step=checkpoint.step,
        epoch=checkpoint.epoch,
        logged_eval_loss=checkpoint.logged_eval_loss,
        status=checkpoint.status,
        reason=checkpoint.reason,
        **_figures(item.score),
    )


def _figures(result: Score | None) -> dict[str, Any]:
    """NLL in nats, tokens and perplexity; none where there is no score, or no finite one."""
    if result is None or not math.isfinite(result.perplexity):
        return {"perplexity": None}
    return {**vars(result), "perplexity": result.perplexity}


def _write_best(recipe: Recipe, best: Scored, scorer: _Scorer | None) -> None:
    """Copy the winner whole, score the copy again, and only then replace `best/`.

    A `best/` that holds the winner already stays as it is.
    """
    target, fresh = recipe.output_dir / "best", recipe.output_dir / "best.next"
    origin = Origin(
        checkpoint=best.checkpoint.name,
        perplexity=best.perplexity,
        quantization=quantization(recipe),
    )
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        fresh.mkdir()
        write_json(fresh / ORIGIN, origin.model_dump())
        if _holds(target, best.checkpoint, fresh / ORIGIN):
            return
        _copy(recipe, best.checkpoint, fresh)
        _verify(best, fresh, scorer)
        _replace_best(recipe.output_dir)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _copied(checkpoint: Checkpoint) -> list[Path]:
    """The files of a checkpoint that `best/` has: model and tokenizer."""
    files = [checkpoint.path / name for name in (*checkpoint.files, *TOKENIZER_FILES)]
    return [file for file in files if file.is_file()]


def _holds(folder: Path, checkpoint: Checkpoint, origin: Path) -> bool:
    """Whether a folder is this checkpoint's copy, byte for byte, with a tokenizer."""
    files = [*_copied(checkpoint), origin]
    return (folder / "tokenizer.json").is_file() and all(
        (folder / file.name).is_file() and filecmp.cmp(file, folder / file.name, shallow=False)
        for file in files
    )


def _copy(recipe: Recipe, checkpoint: Checkpoint, folder: Path) -> None:
    """Copy model and tokenizer; the tokenizer is the base's where the checkpoint has none."""
    for file in _copied(checkpoint):
        shutil.copyfile(file, folder / file.name)
    if not (folder / "tokenizer.json").is_file():
        load_recipe_tokenizer(recipe).save_pretrained(folder)


def _verify(best: Scored, copy: Path, scorer: _Scorer | None) -> None:
    """Compare the copy byte for byte, and score it again. Raises UserError if it differs."""
    what = f"{copy}: the copy of {best.checkpoint.name}"
    if not _holds(copy, best.checkpoint, copy / ORIGIN):
        raise UserError(
            f"{what} has other bytes; best/ is left as it was; is the disk failing, or full?"
        )
    if scorer is None or best.perplexity is None:
        return
    again = scorer.score(copy).perplexity
    if not math.isclose(again, best.perplexity, rel_tol=RELATIVE_TOLERANCE):
        raise UserError(
            f"{what} has the same bytes, but scored {again!r} and not {best.perplexity!r}; "
            f"best/ is left as it was; this machine computes no score twice, so select on another"
        )


def _replace_best(run: Path) -> None:
    """Put best.next/ in place of best/; after a kill in between, the next call repairs it."""
    if (run / "best").exists():
        (run / "best").rename(run / "best.old")
    (run / "best.next").rename(run / "best")
    shutil.rmtree(run / "best.old", ignore_errors=True)


def _recover_best(run: Path) -> None:
    """Repair what a killed call left: best/ is back before anything else is done."""
    if (run / "best.old").is_dir() and not (run / "best").exists():
        (run / "best.old").rename(run / "best")
    shutil.rmtree(run / "best.old", ignore_errors=True)


def print_selection(result: Selection, console: Console) -> None:
    """Show every checkpoint with its scores, the best one marked."""
    table = Table(title=f"Checkpoints by {result.criterion.replace('_', ' ')}")
    for heading in ("", "checkpoint", "epoch", "perplexity", "logged eval loss", "status"):
        table.add_column(heading)
    for item in result.checkpoints:
        table.add_row(
            "best" if item.name == result.best else "",
            item.name,
            _number(item.epoch, 2),
            _number(item.perplexity, 5),
            _number(item.logged_eval_loss, 5),
            escape(item.status + (f": {item.reason}" if item.reason else "")),
        )
    console.print(table)
    for note in _notes(result):
        console.print(note, markup=False, soft_wrap=True)
    if result.best is None:
        console.print("No checkpoint is usable.", style="bold red")


def _notes(result: Selection) -> Iterator[str]:
    yield from result.data_changed
    if result.base.perplexity is not None:
        yield f"The base before training: {_number(result.base.perplexity, 5)}"
    logged = [
        (item.logged_eval_loss, item.step, item.name)
        for item in result.checkpoints
        if item.status == "ok" and item.logged_eval_loss is not None
    ]
    if result.criterion == "logged_eval_loss":
        yield "Ranked by the trainer's batch-averaged loss, which is not exact."
    elif logged and min(logged)[2] != result.best:
        yield f"By the trainer's batch-averaged loss {min(logged)[2]} would be the best."
    if result.validation.cut:
        yield (
            f"{result.validation.cut} validation rows are longer than the recipe's `sequence_len` "
            "and were scored up to there."
        )


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
