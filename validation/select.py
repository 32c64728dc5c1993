"""Picks the checkpoint with the lowest exact validation perplexity and copies it to `best/`."""

import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from tools.errors import UserError
from tools.files import sha256, write_json
from tools.models import add_adapter, load_base, load_tokenizer
from tools.recipe import Recipe
from tools.rows import encode_validation, read_rows
from validation.perplexity import Row, Score, score
from validation.runs import ADAPTER, Checkpoint, checkpoints

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                   "tokenizer.model", "chat_template.jinja")  # fmt: skip
RELATIVE_TOLERANCE = 1e-6  # between the score of a checkpoint and of its copy in best/


@dataclass(frozen=True)
class Scored:
    """A checkpoint with its score; None where it was not scored."""

    checkpoint: Checkpoint
    score: Score | None = None


class _Scorer:
    """Scores adapters on the recipe's validation rows; base and rows are loaded once."""

    def __init__(self, recipe: Recipe) -> None:
        tokenizer = load_tokenizer(recipe.base_model)
        self.rows = [Row(ids, labels) for ids, labels in encode_validation(recipe, tokenizer)]
        self.cut = sum(row.input_ids[-1] != tokenizer.eos_token_id for row in self.rows)
        self.base = load_base(recipe.base_model)

    def score(self, folder: Path) -> Score:
        """Score the adapter of `folder`. Raises UserError if it does not fit the base."""
        model = add_adapter(self.base, folder)
        try:
            return score(model, self.rows)
        finally:
            model.unload()


def select(recipe: Recipe, *, logged: bool = False) -> dict[str, Any]:
    """Score every checkpoint of the recipe's run, write `selection.json` and `best/`.

    `logged` ranks by the trainer's own batch-averaged eval loss and loads no model. Returns the
    content of selection.json; its `best` is None where no checkpoint is usable.
    """
    if recipe.adapter is None:
        raise UserError(f"{recipe.path}: has no `adapter`; only runs that train one are compared")
    found = checkpoints(recipe.output_dir, recipe.base_model)
    usable = any(checkpoint.status == "ok" for checkpoint in found)
    scorer = _Scorer(recipe) if usable and not logged else None
    scored = [Scored(checkpoint) for checkpoint in found]
    if scorer is not None:
        progress = track(found, "Scoring checkpoints", transient=True)
        scored = [_score(checkpoint, scorer) for checkpoint in progress]
    best = _best(scored, logged)
    result = _result(recipe, scored, best, logged)
    result["validation"]["cut"] = scorer.cut if scorer else None
    if best is not None:
        _write_best(recipe, best, scorer)
    write_json(recipe.output_dir / "selection.json", result)
    return result


def _score(checkpoint: Checkpoint, scorer: _Scorer) -> Scored:
    if checkpoint.status != "ok":
        return Scored(checkpoint)
    try:
        result = scorer.score(checkpoint.path)
    except UserError as error:
        reason = str(error).removeprefix(f"{checkpoint.path}: ")
        return Scored(replace(checkpoint, status="corrupt", reason=reason))
    if not math.isfinite(result.perplexity):
        reason = "its perplexity is not finite"
        return Scored(replace(checkpoint, status="corrupt", reason=reason))
    return Scored(checkpoint, result)


def _best(scored: list[Scored], logged: bool) -> Scored | None:
    """The lowest perplexity (or logged loss) among usable checkpoints; ties go to the earlier."""
    key = _logged_loss if logged else _perplexity
    usable = [item for item in scored if item.checkpoint.status == "ok" and key(item) < math.inf]
    return min(usable, key=lambda item: (key(item), item.checkpoint.step), default=None)


def _perplexity(item: Scored) -> float:
    return item.score.perplexity if item.score else math.inf


def _logged_loss(item: Scored) -> float:
    loss = item.checkpoint.logged_eval_loss
    return math.inf if loss is None else loss


def _result(
    recipe: Recipe, scored: list[Scored], best: Scored | None, logged: bool
) -> dict[str, Any]:
    validation = Path(recipe.validation["path"])
    tokens = next((item.score.tokens for item in scored if item.score), None)
    return {
        "criterion": "logged_eval_loss" if logged else "perplexity",
        "best": best.checkpoint.name if best else None,
        "validation": {
            "path": str(validation),
            "sha256": sha256(validation),
            "rows": len(read_rows(validation, fields=("id",))),
            "tokens": tokens,
        },
        "checkpoints": [
            {
                "name": item.checkpoint.name,
                "step": item.checkpoint.step,
                "epoch": item.checkpoint.epoch,
                "nll_sum": item.score.nll_sum if item.score else None,
                "tokens": item.score.tokens if item.score else None,
                "perplexity": item.score.perplexity if item.score else None,
                "logged_eval_loss": item.checkpoint.logged_eval_loss,
                "status": item.checkpoint.status,
                "reason": item.checkpoint.reason,
            }
            for item in scored
        ],
    }


def _write_best(recipe: Recipe, best: Scored, scorer: _Scorer | None) -> None:
    """Copy the winner whole, score the copy again, and only then replace `best/`."""
    target, fresh = recipe.output_dir / "best", recipe.output_dir / "best.next"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        _copy(recipe, best.checkpoint, fresh)
        if scorer is not None:
            _check_copy(best, fresh, scorer.score(fresh))
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _copy(recipe: Recipe, checkpoint: Checkpoint, folder: Path) -> None:
    """Copy adapter and tokenizer; the tokenizer is the base's where the checkpoint has none."""
    folder.mkdir()
    for name in ("adapter_config.json", ADAPTER, *TOKENIZER_FILES):
        if (checkpoint.path / name).is_file():
            shutil.copyfile(checkpoint.path / name, folder / name)
    if not (folder / "tokenizer.json").is_file():
        load_tokenizer(recipe.base_model).save_pretrained(folder)
    write_json(folder / "checkpoint.json", {"checkpoint": checkpoint.name})


def _check_copy(best: Scored, folder: Path, again: Score) -> None:
    expected = _perplexity(best)
    if not math.isclose(again.perplexity, expected, rel_tol=RELATIVE_TOLERANCE):
        raise UserError(
            f"{folder}: the copy of {best.checkpoint.name} has perplexity {again.perplexity!r}, "
            f"the checkpoint had {expected!r}; best/ is left as it was; is the disk failing?"
        )


def print_selection(result: dict[str, Any], console: Console) -> None:
    """Show every checkpoint with its scores, the best one marked."""
    table = Table(title=f"Checkpoints by {result['criterion'].replace('_', ' ')}")
    for heading in ("", "checkpoint", "epoch", "perplexity", "logged eval loss", "status"):
        table.add_column(
            heading, justify="right" if "perp" in heading or "loss" in heading else "left"
        )
    for item in result["checkpoints"]:
        table.add_row(
            "best" if item["name"] == result["best"] else "",
            item["name"],
            _number(item["epoch"], 2),
            _number(item["perplexity"], 5),
            _number(item["logged_eval_loss"], 5),
            escape(item["status"] + (f": {item['reason']}" if item["reason"] else "")),
        )
    console.print(table)
    if result["criterion"] == "logged_eval_loss":
        console.print("Ranked by the trainer's batch-averaged loss, which is not exact.")
    if result["validation"]["cut"]:
        console.print(
            f"{result['validation']['cut']} validation rows are longer than the recipe's "
            "`sequence_len` and were scored up to there."
        )
    if result["best"] is None:
        console.print("No checkpoint is usable.", style="bold red")


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
