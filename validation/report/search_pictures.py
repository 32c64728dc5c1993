"""The pictures of a search: what fewer candidates or dev rows find, and accuracy by length."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context

from tools.files import whole_file
from tools.results import Searched, SweepFile, SweepPoint, validated
from tools.search.shown import by_length, label
from tools.search.sweep import CRITERIA
from validation.report.pictures import BLUE, GREEN, RED, STYLE, Picture, as_svg, new_figure

AXES = {"candidates": "candidates", "dev_rows": "dev rows"}
# what is drawn by length, each with its line
BY_LENGTH = {
    "cotacs": (BLUE, "-"),
    "end_to_end": (GREEN, "--"),
    "thoughts": (RED, ":"),
    "thoughts_by_example": (RED, "-."),
}


def write_pictures(result: dict[str, Any]) -> list[Path]:
    """Draw what `cogex search` found into its folder; return the files."""
    folder = Path(result["folder"])
    sweep = validated(SweepFile, result["sweep"], "sweep", "") if "sweep" in result else None
    written = []
    for name, picture in _drawn(validated(Searched, result, "programs.json", ""), sweep):
        path = folder / f"{name}.svg"
        with whole_file(path) as file:
            file.write(picture.svg)
        written.append(path)
    return written


def of_search(searched: Searched, sweep: SweepFile | None) -> list[Picture]:
    """Draw what a search found: nothing without a sweep and lengths."""
    return [picture for _, picture in _drawn(searched, sweep)]


def _drawn(searched: Searched, sweep: SweepFile | None) -> Iterator[tuple[str, Picture]]:
    """Yield each picture with its name."""
    if sweep:
        yield from ((f"sweep-{name}", _of_sweep(sweep, name)) for name in AXES)
    if searched.task.lengths:
        yield "by-length", _of_lengths(searched)


def _of_sweep(sweep: SweepFile, axis: str) -> Picture:
    """Draw accuracy and rank of the kept program over one axis, the other at its largest."""
    other = next(name for name in AXES if name != axis)
    largest = max(getattr(point, other) for point in sweep.points)
    points = [point for point in sweep.points if getattr(point, other) == largest]
    by_criterion = {
        name: sorted(
            (point for point in points if point.criterion == name),
            key=lambda point: int(getattr(point, axis)),
        )
        for name in CRITERIA
    }
    with rc_context(STYLE):
        figure, axes = new_figure(AXES[axis], "accuracy on the test rows, with its deviation")
        # the lower end of the interval ranks as the mean does where all have as many rows
        for name, color, line in (("mean", BLUE, "o-"), ("together", GREEN, "s--")):
            across = [getattr(point, axis) for point in by_criterion[name]]
            means = [point.accuracy.mean for point in by_criterion[name]]
            spread = [point.accuracy.deviation for point in by_criterion[name]]
            axes.errorbar(across, means, spread, fmt=line, color=color, capsize=3,
                          label=f"by {CRITERIA[name]}")  # fmt: skip
        ranks = axes.twinx()
        ranks.set_ylabel("rank among all candidates")
        means = [point.rank.mean for point in by_criterion["mean"]]
        ranks.plot(across, means, "^:", color=RED)
        ranks.invert_yaxis()
    caption = (
        f"What a search with fewer {AXES[axis]} keeps, with {largest} {AXES[other]}: its accuracy, "
        f"and its rank (dotted, to the right). Mean and standard deviation of {sweep.draws} draws."
    )
    headings = ("ranked by", AXES[axis], "accuracy", "deviation", "rank")
    rows = [_row(point, axis) for name in CRITERIA for point in by_criterion[name]]
    return Picture(as_svg(figure, caption), caption, headings, rows)


def _row(point: SweepPoint, axis: str) -> tuple[str, ...]:
    return (
        CRITERIA[point.criterion],
        f"{getattr(point, axis):,}",
        f"{point.accuracy.mean:.1%}",
        f"{point.accuracy.deviation:.1%}",
        f"{point.rank.mean:.1f}",
    )


def _of_lengths(searched: Searched) -> Picture:
    """Draw the accuracy of programs and chains of thought by the length of the test rows."""
    counted = by_length(searched.model_dump())
    shown: dict[str, tuple[str, str]] = {}
    for name in BY_LENGTH:
        keys = [key for key in counted if key.partition("_k")[0] == name]
        shown |= dict.fromkeys(keys[-1:], BY_LENGTH[name])
    lengths = sorted({*(searched.task.lengths or ())})
    with rc_context(STYLE):
        figure, axes = new_figure("length", "share of right answers")
        for key, (color, line) in shown.items():
            shares = [_share(counted[key][length]) for length in lengths]
            axes.plot(lengths, shares, line, color=color, marker="o", label=label(key))
        axes.set_ylim(-0.03, 1.03)
    caption = f"{searched.task.name}: right answers by the length of the test rows."
    rows = [
        (str(length), *("{} of {}".format(*counted[key][length]) for key in shown))
        for length in lengths
    ]
    return Picture(as_svg(figure, caption), caption, ("length", *map(label, shown)), rows)


def _share(counts: Sequence[int]) -> float:
    right, rows = counts
    return right / rows
