"""The pictures of the report as SVG, each with a caption and a table that holds the same numbers.

They are readable on a light and on a dark background: lines have medium tones and differ in form
too; text and axes take the colour of the page's text. The same run gives the same bytes.
"""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from validation.curves.expected_run import ExpectedRun
from validation.curves.losses import usable
from validation.curves.trainer_state import TrainerState

# of Okabe and Ito's palette, which the colour-blind can tell apart
BLUE, RED, GREEN = "#0072b2", "#d55e00", "#009e73"
INK = "#010203"  # stands for the page's text colour until the SVG is written
SIZE = (5.2, 3.4)  # inches: text of 10 points stays readable on a phone
MOST_ROWS = 25  # of a table of logs
BINS = 24  # at most, of the histogram

NOTHING = dict.fromkeys(["Creator", "Date", "Format", "Type"])  # metadata to leave out
STYLE: dict[Any, Any] = {  # Any: the keys that may stand here are a type of 400 names
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "cogex",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


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
    """Draw losses in nats per token, and perplexities, over epochs.

    The base's loss is a level line; `chosen` is the step of the chosen checkpoint.
    """
    training = [log for log in state.training if usable(log.loss)]
    evaluations = [log for log in state.evaluations if usable(log.loss)]
    with rc_context(STYLE):
        figure, axes = new_figure("epoch", "loss (nats per token)")
        axes.plot(
            [log.epoch for log in training],
            [log.loss for log in training],
            color=BLUE,
            label="training",
        )
        axes.plot(
            [log.epoch for log in evaluations],
            [log.loss for log in evaluations],
            "o-",
            color=RED,
            label="validation",
        )
        if state.base and usable(state.base.loss):
            axes.axhline(state.base.loss, color=GREEN, linestyle="--", label="base, validation")
        for log in evaluations:
            if log.step == chosen:
                axes.axvline(log.epoch, color=INK, linestyle=":", label="chosen checkpoint")
        perplexity = axes.secondary_yaxis("right", functions=(np.exp, _log))
        perplexity.set_ylabel("perplexity (mean of batches)")
    rows = [
        (
            f"{log.step:,}",
            _short(log.epoch),
            _short(_last_loss(state, log.step)),
            _short(log.loss),
            _short(math.exp(min(log.loss, 700.0))),
            "base, before training" if log.step == 0 else "chosen" if log.step == chosen else "",
        )
        for log in state.evaluations
    ]
    caption = (
        "Training and validation loss, and the validation perplexity, over the epochs. These are "
        "the trainer's means of batches; the checkpoints below are scored exactly."
    )
    headings = ("step", "epoch", "training loss", "validation loss", "perplexity", "")
    return Picture(as_svg(figure, caption), caption, headings, rows)


def learning_rate(state: TrainerState, expected: ExpectedRun) -> Picture:
    """Draw the learning rate beside the recipe's, where that is warm-up and cosine."""
    planned = None if expected.other_curve else expected.schedule(state.max_steps)
    epochs = [log.epoch for log in state.training]
    with rc_context(STYLE):
        figure, axes = new_figure("epoch", "learning rate")
        if planned:
            rates = [planned(log.step) for log in state.training]
            axes.plot(epochs, rates, color=GREEN, label="planned")
        logged = _numbers([log.learning_rate for log in state.training])
        axes.plot(epochs, logged, ".", color=BLUE, label="logged")
    rows = [
        (
            f"{log.step:,}",
            _short(log.epoch),
            _short(log.learning_rate),
            _short(planned(log.step) if planned else None),
        )
        for log in state.training
    ]
    caption = "Learning rate as logged, beside what the recipe plans."
    return _of_logs(figure, caption, ("step", "epoch", "logged", "planned"), rows)


def gradient_norm(state: TrainerState, expected: ExpectedRun) -> Picture:
    """Draw the norm of the gradient before clipping, and the limit that it is clipped to."""
    limit = expected.max_grad_norm
    with rc_context(STYLE):
        figure, axes = new_figure("epoch", "gradient norm")
        norms = _numbers([log.grad_norm for log in state.training])
        axes.plot([log.epoch for log in state.training], norms, color=BLUE, label="before clipping")
        if limit:
            axes.axhline(limit, color=RED, linestyle="--", label="clipped above")
    rows = [
        (f"{log.step:,}", _short(log.epoch), _short(log.loss), _short(log.grad_norm))
        for log in state.training
    ]
    caption = f"Norm of the gradient before it is clipped to {limit:g}."
    return _of_logs(figure, caption, ("step", "epoch", "training loss", "gradient norm"), rows)


def histogram(lengths: Lengths) -> Picture:
    """Draw how many training rows have which length."""
    tokens, limit, trained = lengths.tokens, lengths.sequence_len, lengths.trained
    width = _bin_width(int(tokens.max()))
    counts, edges = np.histogram(tokens, np.arange(0, tokens.max() + width + 1, width))
    with rc_context(STYLE):
        figure, axes = new_figure("tokens in a row", "training rows")
        axes.stairs(counts, edges, fill=True, color=BLUE)
        if limit <= edges[-1]:
            axes.axvline(limit, color=RED, linestyle="--", label="sequence_len")
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
    return Picture(as_svg(figure, caption), caption, ("tokens", "rows"), rows)


def _bin_width(longest: int) -> int:
    """The least of 1, 2, 5, 10, 20, 50, … that needs no more than `BINS` bins."""
    steps = (digit * 10**power for power in range(9) for digit in (1, 2, 5))
    return next(width for width in steps if longest < width * BINS)


def new_figure(across: str, up: str) -> tuple[Figure, Axes]:
    """Return a figure of one pair of axes, with their labels."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    return figure, axes


def as_svg(figure: Figure, title: str) -> Markup:
    """Return a figure as one `<svg>` element with `title` as its name for screen readers."""
    buffer = io.StringIO()
    with rc_context(STYLE):
        for axes in figure.axes:
            if axes.get_legend_handles_labels()[0]:
                axes.legend()
        figure.savefig(buffer, format="svg", transparent=True, metadata=NOTHING)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # the names would stand twice in a page
    return Markup(text.replace("<svg ", f'<svg role="img" aria-label={quoteattr(title)} ', 1))


def _of_logs(
    figure: Figure, caption: str, headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]
) -> Picture:
    """A picture whose table holds at most `MOST_ROWS` logs, the first and the last among them."""
    if len(rows) <= MOST_ROWS:
        return Picture(as_svg(figure, caption), caption, headings, rows)
    thinned = [rows[round(i * (len(rows) - 1) / (MOST_ROWS - 1))] for i in range(MOST_ROWS)]
    return Picture(as_svg(figure, caption), caption, headings, thinned, len(rows))


def _last_loss(state: TrainerState, step: int) -> float | None:
    return next((log.loss for log in reversed(state.training) if log.step <= step), None)


def _log(perplexity: Any) -> Any:
    """The loss of a perplexity; Matplotlib also asks for values below 1, which have none."""
    return np.log(np.maximum(perplexity, 1e-9))


def _numbers(values: list[float | None]) -> NDArray[np.float64]:
    """NaN for what was not logged: Matplotlib leaves a gap there, and at Inf."""
    return np.array(values, dtype=np.float64)


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
