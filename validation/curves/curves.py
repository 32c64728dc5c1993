"""`cogex curves`: is training healthy? Judged by what the trainer itself logged.

It covers losses, learning rates, gradient norms, and whether steps, examples and tokens match the
recipe. It does not cover whether the model does its task (`cogex check`) or the exact perplexity
(`cogex select`): the trainer's losses are means of batches.
"""

import math
import time
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from tools.errors import UserError
from tools.files import shown_if_not_written, write_json
from tools.recipe import Recipe
from validation.curves.expected_run import ExpectedRun, expected_run
from validation.curves.losses import judge_losses, lowest_evaluation, usable
from validation.curves.steps import judge_steps
from validation.curves.trainer_state import Evaluation, TrainerState, read_run
from validation.verdict import VerdictRow, advice, as_result, print_verdicts, verdict_table

POLL_SECONDS = 2.0
BARS = "▁▂▃▄▅▆▇█"
WIDTH = 60  # bars, at most


def curves(recipe: Recipe) -> dict[str, Any]:
    """Judge the run of a recipe, finished or not, and write `curves.json` into its folder.

    Returns that file's content; its `passed` is False if a check fails. Raises UserError if the
    recipe or the trainer's state cannot be used.
    """
    result = _result(recipe, expected_run(recipe))
    with shown_if_not_written(result):
        write_json(recipe.output_dir / "curves.json", result)
    return result


def follow(recipe: Recipe, console: Console) -> dict[str, Any]:
    """Show the verdicts live until the run ends or Ctrl-C is pressed, then do as `curves` does.

    It waits for a state that is missing or half-written: training may still write it.
    """
    run = expected_run(recipe)
    with Live(Text(f"Waiting for {recipe.output_dir}"), console=console, transient=True) as live:
        try:
            while not _show(live, recipe, run):
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            pass
    return curves(recipe)


def _show(live: Live, recipe: Recipe, run: ExpectedRun) -> bool:
    """Show the run as it is now, and say whether it has ended."""
    try:
        result = _result(recipe, run)
        age = time.time() - Path(result["state"]).stat().st_mtime
    except (UserError, FileNotFoundError) as error:
        live.update(Text(f"Waiting, Ctrl-C stops: {error}"))
        return False
    live.update(_live_view(result, age))
    return bool(result["ended"])


def print_curves(result: dict[str, Any], console: Console) -> None:
    """Show every verdict, what to do, and the losses of the base and of the best evaluation."""
    print_verdicts(result["verdicts"], console)
    console.print(_summary(result), markup=False)


def judge(state: TrainerState, run: ExpectedRun) -> list[VerdictRow]:
    """Judge a run by its losses and by the run that its recipe asks for."""
    return [*judge_losses(state), *judge_steps(state, run)]


def _result(recipe: Recipe, run: ExpectedRun) -> dict[str, Any]:
    state = read_run(recipe.output_dir)
    return {
        "recipe": str(recipe.path),
        "state": str(state.path),
        "step": state.global_step,
        "max_steps": state.max_steps,
        "ended": state.ended,
        "drawn": drawn([log.loss for log in state.training if usable(log.loss)]),
        "base": _figures(state.base),
        "lowest": _figures(lowest_evaluation(state)),
        **as_result(judge(state, run)),
    }


def drawn(values: Sequence[float]) -> str:
    """Draw values as a line of bars between the first and the last; "" for fewer than two.

    A bar is the mean of as many values as it stands for; the lowest bar is the least of them.
    """
    if len(values) < 2:
        return ""
    width = min(WIDTH, len(values))
    edges = [round(place * len(values) / width) for place in range(width + 1)]
    means = [fmean(values[start:stop]) for start, stop in pairwise(edges)]
    low, high = min(means), max(means)
    steps = [int((mean - low) / (high - low or 1) * (len(BARS) - 1) + 0.5) for mean in means]
    return f"{values[0]:.3f} {''.join(BARS[step] for step in steps)} {values[-1]:.3f}"


def _figures(evaluation: Evaluation | None) -> dict[str, Any] | None:
    """An evaluation for the JSON; None also where its loss is not a number."""
    if evaluation is None or not usable(evaluation.loss):
        return None
    return {
        "step": evaluation.step,
        "epoch": evaluation.epoch,
        "eval_loss": evaluation.loss,
        "perplexity": math.exp(evaluation.loss),
    }


def _live_view(result: dict[str, Any], age: float) -> Group:
    """As `print_curves`, the table last: a low terminal cuts it off. `age` is in seconds."""
    logged = f"The last log came {timedelta(seconds=round(age))} ago; Ctrl-C stops watching."
    rows = result["verdicts"]
    return Group(Text(f"{_summary(result)}\n{logged}"), *advice(rows), verdict_table(rows))


def _summary(result: dict[str, Any]) -> str:
    lines = [f"From {result['state']}, step {result['step']:,} of {result['max_steps']:,}."]
    if result["drawn"]:
        lines.append(f"Training loss {result['drawn']}")
    for name, text in (("base", "The base before training"), ("lowest", "The lowest")):
        if found := result[name]:
            lines.append(
                f"{text}: validation loss {found['eval_loss']:.5f}, perplexity "
                f"{found['perplexity']:.5f}, epoch {found['epoch']:.2f}."
            )
    lines.append("These are the trainer's means of batches; `cogex select` is exact.")
    return "\n".join(lines)
