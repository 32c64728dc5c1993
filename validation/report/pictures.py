"""The pictures of the report, each with a caption and a table that holds the same numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from validation.curves.expected_run import ExpectedRun
from validation.curves.plots import (
    BLUE,
    RED,
    STYLE,
    draw_gradient_norm,
    draw_learning_rate,
    draw_losses,
    to_svg,
)
from validation.curves.trainer_state import TrainerState, TrainingLog

SIZE = (5.2, 3.4)  # inches: text of 10 points stays readable on a phone
MOST_ROWS = 25  # of a table of logs
BINS = 24  # at most, of the histogram


@dataclass(frozen=True)
class Picture:
    """One picture, what it shows, and its numbers."""

    svg: Markup
    caption: str
    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    logs: int = 0  # of which `rows` are a part, evenly spaced; 0 where all are there


@dataclass(frozen=True)
class Lengths:
    """The training rows in tokens, BOS and EOS counted."""

    tokens: NDArray[np.int64]  # of each row
    trained: int  # tokens that carry loss, over all rows
    sequence_len: int


def losses(state: TrainerState, chosen: int | None) -> Picture:
    """Draw losses and perplexities; `chosen` is the step of the chosen checkpoint."""
    rows = [
        (
            f"{log.step:,}",
            _short(log.epoch),
            _short(_last_loss(state.training, log.step)),
            _short(log.loss),
            _short(math.exp(min(log.loss, 700.0))),
            "base, before training" if log.step == 0 else "chosen" if log.step == chosen else "",
        )
        for log in state.evaluations
    ]
    return _picture(
        draw_losses(state, chosen),
        "Training and validation loss, and the validation perplexity, over the epochs. These are "
        "the trainer's means of batches; the checkpoints below are scored exactly.",
        ("step", "epoch", "training loss", "validation loss", "perplexity", ""),
        rows,
    )


def learning_rate(state: TrainerState, expected: ExpectedRun) -> Picture:
    """Draw the learning rate beside the recipe's, where that is warm-up and cosine."""
    planned = None if expected.other_curve else expected.schedule(state.max_steps)
    rows = [
        (
            f"{log.step:,}",
            _short(log.epoch),
            _short(log.learning_rate),
            _short(planned(log.step) if planned else None),
        )
        for log in _thinned(state.training)
    ]
    return _picture(
        draw_learning_rate(state, planned),
        "Learning rate as logged, beside what the recipe plans.",
        ("step", "epoch", "logged", "planned"),
        rows,
        _left_out(state),
    )


def gradient_norm(state: TrainerState, expected: ExpectedRun) -> Picture:
    """Draw the norm of the gradient before clipping."""
    rows = [
        (f"{log.step:,}", _short(log.epoch), _short(log.loss), _short(log.grad_norm))
        for log in _thinned(state.training)
    ]
    return _picture(
        draw_gradient_norm(state, expected.max_grad_norm),
        f"Norm of the gradient before it is clipped to {expected.max_grad_norm:g}.",
        ("step", "epoch", "training loss", "gradient norm"),
        rows,
        _left_out(state),
    )


def histogram(lengths: Lengths) -> Picture:
    """Draw how many training rows have which length."""
    tokens, limit, trained = lengths.tokens, lengths.sequence_len, lengths.trained
    width = _bin_width(int(tokens.max()))
    counts, edges = np.histogram(tokens, np.arange(0, tokens.max() + width + 1, width))
    with rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        axes.stairs(counts, edges, fill=True, color=BLUE)
        if limit <= edges[-1]:
            axes.axvline(limit, color=RED, linestyle="--", label="sequence_len")
            axes.legend()
        axes.set_xlabel("tokens in a row")
        axes.set_ylabel("training rows")
    caption = (
        f"Length of the {len(tokens):,} training rows: median {np.median(tokens):,.0f} tokens, "
        f"longest {tokens.max():,}; {(tokens > limit).sum():,} are longer than sequence_len "
        f"{limit:,}. {trained:,} of {tokens.sum():,} tokens carry loss "
        f"({trained / tokens.sum():.1%})."
    )
    rows = [
        (f"{low:,} to {low + width - 1:,}", f"{count:,}")
        for low, count in zip(edges, counts, strict=False)
        if count
    ]
    return _picture(figure, caption, ("tokens", "rows"), rows)


def _bin_width(longest: int) -> int:
    """The least of 1, 2, 5, 10, 20, 50, … that needs no more than `BINS` bins."""
    steps = (digit * 10**power for power in range(9) for digit in (1, 2, 5))
    return next(width for width in steps if longest < width * BINS)


def _picture(
    figure: Figure,
    caption: str,
    headings: tuple[str, ...],
    rows: Sequence[tuple[str, ...]],
    logs: int = 0,
) -> Picture:
    figure.set_size_inches(*SIZE)
    return Picture(Markup(to_svg(figure, caption)), caption, headings, rows, logs)


def _thinned[T](logs: Sequence[T]) -> list[T]:
    """At most `MOST_ROWS` of the logs, evenly spaced, the first and the last among them."""
    if len(logs) <= MOST_ROWS:
        return list(logs)
    return [logs[round(i * (len(logs) - 1) / (MOST_ROWS - 1))] for i in range(MOST_ROWS)]


def _left_out(state: TrainerState) -> int:
    """The number of logs, if the table does not hold all of them."""
    return len(state.training) if len(state.training) > MOST_ROWS else 0


def _last_loss(training: Sequence[TrainingLog], step: int) -> float | None:
    return next((log.loss for log in reversed(training) if log.step <= step), None)


def _short(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}"
