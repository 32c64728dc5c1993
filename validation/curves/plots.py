"""Draws the curves of a run as SVG for a page, readable on a light and on a dark background.

Lines have medium tones and differ in form too; text and axes take the colour of the page's text.
The same run gives the same bytes.
"""

import io
import re
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from validation.curves.expected_run import Schedule
from validation.curves.losses import usable
from validation.curves.trainer_state import TrainerState

# of Okabe and Ito's palette, which the colour-blind can tell apart
BLUE, RED, GREEN = "#0072b2", "#d55e00", "#009e73"
INK = "#010203"  # stands for the page's text colour until the SVG is written
SIZE = (7.0, 3.6)  # inches, as wide as a column of text

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


def draw_losses(state: TrainerState, chosen: int | None = None) -> Figure:
    """Draw training and validation loss, in nats per token, over epochs, with perplexity beside.

    The base's loss is a level line; `chosen` is the step of a checkpoint to mark.
    """
    with rc_context(STYLE):
        figure, axes = _figure("loss (nats per token)")
        training = [log for log in state.training if usable(log.loss)]
        evaluations = [log for log in state.evaluations if usable(log.loss)]
        axes.plot([x.epoch for x in training], [x.loss for x in training], color=BLUE,
                  label="training")  # fmt: skip
        axes.plot([x.epoch for x in evaluations], [x.loss for x in evaluations], "o-", color=RED,
                  label="validation")  # fmt: skip
        if state.base and usable(state.base.loss):
            axes.axhline(state.base.loss, color=GREEN, linestyle="--", label="base, validation")
        for evaluation in evaluations:
            if evaluation.step == chosen:
                axes.axvline(evaluation.epoch, color=INK, linestyle=":", label="chosen checkpoint")
        perplexity = axes.secondary_yaxis("right", functions=(np.exp, _log))
        perplexity.set_ylabel("perplexity (mean of batches)")
        _legend(axes)
    return figure


def draw_learning_rate(state: TrainerState, planned: Schedule | None) -> Figure:
    """Draw the logged learning rate over epochs, and the planned one where there is a plan."""
    with rc_context(STYLE):
        figure, axes = _figure("learning rate")
        epochs = [log.epoch for log in state.training]
        if planned is not None:
            rates = [planned(log.step) for log in state.training]
            axes.plot(epochs, rates, color=GREEN, label="planned")
        logged = _numbers([log.learning_rate for log in state.training])
        axes.plot(epochs, logged, ".", color=BLUE, label="logged")
        _legend(axes)
    return figure


def draw_gradient_norm(state: TrainerState, limit: float | None = None) -> Figure:
    """Draw the gradient norm before clipping over epochs, and the limit that it is clipped to."""
    with rc_context(STYLE):
        figure, axes = _figure("gradient norm")
        norms = _numbers([log.grad_norm for log in state.training])
        axes.plot([log.epoch for log in state.training], norms, color=BLUE, label="before clipping")
        if limit:
            axes.axhline(limit, color=RED, linestyle="--", label="clipped above")
        _legend(axes)
    return figure


def to_svg(figure: Figure, title: str) -> str:
    """Return a figure as one `<svg>` element with `title` as its name for screen readers."""
    buffer = io.StringIO()
    with rc_context(STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata=NOTHING)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # the names would stand twice in a page
    return text.replace("<svg ", f'<svg role="img" aria-label={quoteattr(title)} ', 1)


def _figure(label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    return figure, axes


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend()


def _log(perplexity: Any) -> Any:
    """The loss of a perplexity; Matplotlib also asks for values below 1, which have none."""
    return np.log(np.maximum(perplexity, 1e-9))


def _numbers(values: list[float | None]) -> NDArray[np.float64]:
    """NaN for what was not logged: Matplotlib leaves a gap there, and at Inf."""
    return np.array(values, dtype=np.float64)
