"""`cogex codescore --summary`: what was scored, by number of training rows, beside the study's.

It reads the codescore.json of every recipe of ArXivDLInstruct. A recipe is shown with its selected
checkpoint: `best`, or the one that selection.json names, or else the last that was scored.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tools.errors import UserError
from tools.files import whole_file
from tools.recipe import RECIPES, Recipe, read_recipe, recipes_in
from tools.results import Manifest, Selection, Written, read_result
from validation.code.codescore import AUGMENTED, FOLDER

PICTURE = Path("outputs/codescore-summary.svg")
# the study's table, by training rows; 0 is the base. Its F1 is rescaled (docs/arxivdl.md)
PUBLISHED = {
    0: (0.085, 0.554),
    200: (0.15, 0.674),
    500: (0.16, 0.681),
    1000: (0.18, 0.687),
    5000: (0.2, 0.702),
    10_000: (0.21, 0.725),
}


class _Scored(Written):
    """The parts of a codescore.json that are shown."""

    models: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Line:
    """A number of training rows, and what was scored; `figures` is None where nothing was."""

    rows: int
    augmented: bool
    model: str
    figures: dict[str, Any] | None


def summarise() -> list[Line]:
    """Return a line for each size of the study and each recipe, the base first.

    Raises UserError if there are no recipes here, or if a result is not what `codescore` writes.
    """
    if not RECIPES.is_dir():
        raise UserError("the folder recipes is not here; run in the repository's folder")
    recipes = [read_recipe(path) for path in recipes_in(RECIPES)]
    ours = [each for each in recipes if each.training.get("type") == "prompt_strategies.arxivdl"]
    found: dict[tuple[int, bool], Line] = {}
    for recipe in ours:
        for line in _of_recipe(recipe):
            key = (line.rows, line.augmented)
            if key not in found or found[key].figures is None:
                found[key] = line
    for rows in PUBLISHED:
        found.setdefault((rows, False), Line(rows, False, "not trained", None))
    return [found[key] for key in sorted(found, key=lambda key: (key[1], key[0]))]


def _of_recipe(recipe: Recipe) -> Iterator[Line]:
    """Yield the base and the selected checkpoint of a recipe, for both prompts."""
    train = Path(recipe.training["path"])
    manifest = read_result(Manifest, train.parent / "manifest.json", "cogex prepare arxivdl")
    named = train.parent.name
    rows = manifest.train if manifest and manifest.train else int(named) if named.isdigit() else 0
    of_augmented = train.parent.parent.name.endswith(AUGMENTED)
    for folder, augmented in ((FOLDER, of_augmented), (FOLDER + AUGMENTED, True)):
        path = recipe.output_dir / folder / "codescore.json"
        scored = read_result(_Scored, path, f"cogex codescore {recipe.path}")
        models = scored.models if scored else {}
        if base := models.get("base"):
            yield Line(0, augmented, "base", base)
        if name := _selected(recipe, models):
            yield Line(rows, augmented, name, models[name])
        elif augmented == of_augmented:
            trained = recipe.output_dir.is_dir()
            yield Line(rows, augmented, "not scored" if trained else "not trained", None)


def _selected(recipe: Recipe, models: dict[str, Any]) -> str | None:
    selection = read_result(Selection, recipe.output_dir / "selection.json", "cogex select")
    wanted = ["best", selection.best if selection else None, *reversed(models)]
    return next((name for name in wanted if name in models and name != "base"), None)


def print_summary(lines: Sequence[Line], console: Console) -> None:
    """Print a row for each line, and draw the F1 over the number of rows."""
    table = Table(
        "training rows", "model", "CodeJudge", "the study's", "F1, rescaled", "the study's"
    )
    for line in lines:
        judge, f1 = PUBLISHED.get(line.rows, (None, None)) if not line.augmented else (None, None)
        table.add_row(
            ("none" if line.rows == 0 else f"{line.rows:,}")
            + (", augmented" if line.augmented else ""),
            line.model,
            _shown(_judged(line)),
            _number(judge),
            _shown(_rescaled(line)),
            _number(f1),
        )
    console.print(table)
    console.print(
        "In brackets: 95% intervals. The study split by row, scored at temperature 0.1 and asked "
        "its judge once; docs/arxivdl.md names all differences."
    )
    if drawn := [line for line in lines if _rescaled(line)]:
        _draw(drawn)
        console.print(f"{PICTURE}: the picture of it", markup=False)


Figure = tuple[float, Sequence[float]]


def _judged(line: Line) -> Figure | None:
    judge = (line.figures or {}).get("codejudge")
    return (judge["score"], judge["interval"]) if judge and judge["judged"] else None


def _rescaled(line: Line) -> Figure | None:
    """The rescaled F1 and its interval; rescaling is linear."""
    bert = (line.figures or {}).get("codebertscore")
    return (bert["f1_rescaled"], [2 * end - 1 for end in bert["interval"]]) if bert else None


def _shown(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    value, (low, high) = figure
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _draw(lines: Sequence[Line]) -> None:
    from matplotlib import rc_context

    from validation.report.pictures import BLUE, GREEN, RED, STYLE, as_svg, new_figure

    with rc_context(STYLE):
        figure, axes = new_figure("training rows", "CodeBERTScore F1, rescaled")
        axes.plot(list(PUBLISHED), [f1 for _, f1 in PUBLISHED.values()], "^:", color=RED,
                  label="the study")  # fmt: skip
        for augmented, color, name in ((False, BLUE, "here"), (True, GREEN, "here, augmented")):
            own = [(line.rows, _rescaled(line)) for line in lines if line.augmented == augmented]
            points = [(rows, *figure) for rows, figure in own if figure]
            if points:
                across, means, ends = zip(*points, strict=True)
                low = [mean - end[0] for mean, end in zip(means, ends, strict=True)]
                high = [end[1] - mean for mean, end in zip(means, ends, strict=True)]
                axes.errorbar(across, means, [low, high], fmt="o-", color=color, capsize=3,
                              label=name)  # fmt: skip
        axes.set_xscale("symlog", linthresh=100)
    with whole_file(PICTURE) as file:
        file.write(as_svg(figure, "CodeBERTScore by training rows"))
