"""Picks the checkpoint with the lowest exact validation perplexity and copies it to `best/`."""

import filecmp
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from tools.errors import UserError
from tools.files import (
    refuse_unwritable,
    sha256,
    shown_if_not_written,
    write_json,
    write_jsonl,
    writing,
)
from tools.kept import Kept, digest
from tools.models import ORIGIN, SharedBase, load_base, load_recipe_tokenizer, quantization
from tools.prepared_rows import encode_validation, read_prepared_rows
from tools.recipe import Recipe
from tools.results import ROWS, NllFigures, Origin, ScoredCheckpoint, ScoredRows, Selection
from tools.training.run_record import changed_data, told
from tools.workers import Workers, spread
from validation.selection.checkpoints import Checkpoint, checkpoints, file_hashes
from validation.selection.perplexity import Score, ScoringRow, score, score_rows
from validation.selection.score_cache import NAME as SCORES
from validation.selection.score_cache import OF_BASE, circumstances

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                   "tokenizer.model", "chat_template.jinja")  # fmt: skip
RELATIVE_TOLERANCE = 1e-6  # between the score of a checkpoint and of its copy in best/
SAMPLE = 8  # rows on which the copy is scored: with the same bytes, they show that it loads


@dataclass(frozen=True)
class _Scores:
    """A model's NLL of each validation row, in nats, and its score over the first `SAMPLE`."""

    nlls: list[float]
    tokens: int
    sample: Score

    @property
    def whole(self) -> Score:
        """Over all validation rows."""
        return Score(math.fsum(self.nlls), self.tokens)


@dataclass(frozen=True)
class Scored:
    """A checkpoint with its score; None where it was not scored."""

    checkpoint: Checkpoint
    scores: _Scores | None = None

    @property
    def score(self) -> Score | None:
        """Over all validation rows; None where it was not scored."""
        return self.scores.whole if self.scores else None

    @property
    def perplexity(self) -> float | None:
        """Of the validation rows; None where it was not scored."""
        return self.score.perplexity if self.score else None


class _Scorer:
    """Scores checkpoints on the recipe's validation rows; rows and base are loaded once."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.rows, self.cut = validation_rows(recipe, load_recipe_tokenizer(recipe))
        self.base = SharedBase(
            lambda: load_base(recipe.base_model, quantization(recipe)), recipe.values.get("seed")
        )

    def score(self, folder: Path | None) -> _Scores:
        """Score the adapter or model of a folder; without one the base, before training.

        Raises UserError if it cannot be loaded.
        """
        with self._model(folder) as model:
            return _Scores(
                score_rows(model, self.rows),
                sum(row.trained_tokens for row in self.rows),
                score(model, self.rows[:SAMPLE]),
            )

    def sample(self, folder: Path) -> Score:
        """Score a folder's adapter or model over the sample alone."""
        with self._model(folder) as model:
            return score(model, self.rows[:SAMPLE])

    @contextmanager
    def _model(self, folder: Path | None) -> Iterator[Any]:
        if self.recipe.adapter is None:  # not held: the next one needs its room
            yield load_base(folder or self.recipe.base_model)
            return
        with self.base.with_adapter(folder) as model:
            yield model


def _score_folder(scorer: _Scorer, folder: Path | None) -> _Scores | UserError:
    try:
        return scorer.score(folder)
    except UserError as error:
        return error


class _ScoredOnce:
    """Scores of a run's models; none is made that was made before."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.scorer = recipe, _Scorer(recipe)
        self.circumstances = circumstances(recipe, self.scorer.rows)
        # the base's scores hold for every run with these rows
        rows = Path(recipe.validation["path"]).parent
        self.of_base, self.of_run = Kept(rows / OF_BASE), Kept(recipe.output_dir / SCORES)

    def of(self, checkpoints: Sequence[Checkpoint]) -> list[_Scores | UserError | None]:
        """The scores of the base, then of each checkpoint, or why it cannot be loaded.

        The base has None where it was drawn at random and is gone.
        """
        files: list[dict[str, str]] = [{}]
        files += [file_hashes(each.path, each.files) for each in checkpoints]
        keys = [digest(self.circumstances | {"files": each}) for each in files]
        kept = [self.of_base, *[self.of_run] * len(checkpoints)]
        found = [_recalled(each.get(key)) for each, key in zip(kept, keys, strict=True)]
        folders = [None, *(each.path for each in checkpoints)]
        drawn = bool(self.recipe.values.get("reinit_weights"))
        new = [place for place in range(drawn, len(found)) if found[place] is None]
        workers = Workers(partial(_Scorer, self.recipe))
        jobs = [folders[place] for place in new]
        done = spread(_score_folder, self.scorer, jobs, workers)
        for index, result in track(done, "Scoring checkpoints", len(jobs), transient=True):
            place = new[index]
            if isinstance(result, UserError) and place == 0:
                raise result
            found[place] = result
            if isinstance(result, _Scores) and math.isfinite(result.whole.nll_sum):
                with suppress(OSError):  # a full disk: it is shown, and made again next time
                    kept[place].put(keys[place], asdict(result))
        return [None, *found[1:]] if drawn else found


def _recalled(value: Any) -> _Scores | UserError | None:
    return _Scores(**value | {"sample": Score(**value["sample"])}) if value else None


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
    usable = [each for each in found if each.status == "ok"]
    scored_once = _ScoredOnce(recipe) if usable and not logged else None
    scorer = scored_once.scorer if scored_once else None
    base, *scores = scored_once.of(usable) if scored_once else [None] * (1 + len(usable))
    by_name = {each.name: item for each, item in zip(usable, scores, strict=True)}
    scored = [_judge(each, by_name.get(each.name)) for each in found]
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
        base=NllFigures(**_figures(base.whole if isinstance(base, _Scores) else None)),
        data_changed=told(changed_data(recipe)),
    )
    with shown_if_not_written(result), writing(recipe.output_dir / "best"):
        if best:
            _write_best(recipe, best, scorer)
        write_json(recipe.output_dir / "selection.json", result.model_dump())
        _write_rows(recipe.output_dir, best, scorer)
    return result


def _judge(checkpoint: Checkpoint, scores: _Scores | UserError | None) -> Scored:
    if scores is None:
        return Scored(checkpoint)
    if isinstance(scores, UserError):
        reason = str(scores).removeprefix(f"{checkpoint.path}: ")
        return Scored(replace(checkpoint, status="corrupt", reason=reason))
    if not math.isfinite(scores.whole.perplexity):
        reason = "its perplexity is not finite"
        return Scored(replace(checkpoint, status="corrupt", reason=reason))
    return Scored(checkpoint, scores)


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
    """Copy the winner whole, score the copy on a few rows, and only then replace `best/`.

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


def _write_rows(run: Path, best: Scored | None, scorer: _Scorer | None) -> None:
    """Write what `cogex compare` compares: the best checkpoint's NLL of each validation row."""
    path = run / ROWS
    path.unlink(missing_ok=True)  # of an earlier best
    if best and best.scores and scorer:
        pairs = zip(best.scores.nlls, scorer.rows, strict=True)
        write_jsonl(path, ({"nll": nll, "tokens": row.trained_tokens} for nll, row in pairs))


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
    """Compare the copy's bytes, and its score on a few rows. Raises UserError if it differs."""
    what = f"{copy}: the copy of {best.checkpoint.name}"
    if not _holds(copy, best.checkpoint, copy / ORIGIN):
        raise UserError(
            f"{what} has other bytes; best/ is left as it was; is the disk failing, or full?"
        )
    if scorer is None or best.scores is None:
        return
    again, before = scorer.sample(copy).nll_sum, best.scores.sample.nll_sum
    if not math.isclose(again, before, rel_tol=RELATIVE_TOLERANCE):
        raise UserError(
            f"{what} has the same bytes, but scored {again!r} and not {before!r}; "
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
