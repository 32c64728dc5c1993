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
            _short(_exp(log.loss)),
            _mark(log.step, chosen),
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
    width = _bin_width(int(lengths.tokens.max()))
    edges = np.arange(0, lengths.tokens.max() + width + 1, width)
    counts, _ = np.histogram(lengths.tokens, edges)
    figure = _draw_histogram(counts, edges, lengths.sequence_len)
    total, trained = int(lengths.tokens.sum()), lengths.trained
    longer = int((lengths.tokens > lengths.sequence_len).sum())
    caption = (
        f"Length of the {len(lengths.tokens):,} training rows: median "
        f"{np.median(lengths.tokens):,.0f} tokens, longest {lengths.tokens.max():,}; {longer:,} "
        f"are longer than sequence_len {lengths.sequence_len:,}. {trained:,} of {total:,} tokens "
        f"carry loss ({trained / total:.1%})."
    )
    rows = [
        (f"{low:,} to {low + width - 1:,}", f"{count:,}")
        for low, count in zip(edges, counts, strict=False)
        if count
    ]
    return _picture(figure, caption, ("tokens", "rows"), rows)


def _draw_histogram(
    counts: NDArray[np.int64], edges: NDArray[np.int64], sequence_len: int
) -> Figure:
    with rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        axes.stairs(counts, edges, fill=True, color=BLUE)
        if sequence_len <= edges[-1]:
            axes.axvline(sequence_len, color=RED, linestyle="--", label="sequence_len")
            axes.legend()
        axes.set_xlabel("tokens in a row")
        axes.set_ylabel("training rows")
    return figure


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
    """How many logs there are, if a table holds not all of them."""
    return len(state.training) if len(state.training) > MOST_ROWS else 0


def _last_loss(training: Sequence[TrainingLog], step: int) -> float | None:
    return next((log.loss for log in reversed(training) if log.step <= step), None)


def _mark(step: int, chosen: int | None) -> str:
    if step == 0:
        return "base, before training"
    return "chosen" if step == chosen else ""


def _exp(loss: float) -> float:
    return math.exp(min(loss, 700.0))


def _short(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}"
