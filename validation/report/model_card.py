"""The model card: `README.md` in `best/`, so that an upload of the folder shows what it is.

Its figures are those of the run. It names what was not measured.
"""

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from prompt_strategies.layout import render_prompt
from tools.errors import UserError
from tools.files import sha256, whole_file
from tools.prepared_rows import declared_strategy
from tools.recipe import Recipe
from tools.results import CheckFile, EmulationFigures, Reached, Share
from validation.check.check import COLLAPSE, EMULATION
from validation.check.measures import labels
from validation.inspect_rows import TEMPLATES, printable
from validation.report.facts import RunFacts, stale

# as the bases' own pages name them; a card can only point there
BASE_LICENCES = {
    "meta-llama/Llama-2-": "Llama 2 Community License",
    "codellama/": "Llama 2 Community License",
    "meta-llama/Llama-3.1-": "Llama 3.1 Community License",
    "models/tiny-base": "Apache-2.0",
}
LOCAL = ("models", "outputs", "data", ".", "..", "~", "")  # first folders of what is on no hub


def write_card(facts: RunFacts) -> Path:
    """Write the card of a run's `best/`, in place of an older one; return its path.

    Raises UserError if there is no `best/`.
    """
    if facts.best is None:
        folder = facts.recipe.output_dir / "best"
        raise UserError(
            f"{folder}: holds no checkpoint; run `cogex select {facts.recipe.path}` first"
        )
    environment = Environment(  # Markdown: `_code` keeps names apart
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"code": _code, "share": _share}
    card = environment.get_template("model_card.md.j2").render(_context(facts))
    path = facts.best.folder / "README.md"
    with whole_file(path) as file:
        file.write(card)
    return path


def _context(facts: RunFacts) -> dict[str, Any]:
    recipe = facts.recipe
    train, strategy = Path(recipe.training["path"]), declared_strategy(recipe, recipe.training)
    programs = strategy is not None and strategy.task == "program"
    return {
        "facts": facts,
        "front_matter": _front_matter(recipe).to_yaml(),
        "name": recipe.output_dir.name,
        "base": recipe.base_model,
        "values": recipe.values,
        "dataset": _dataset(recipe),
        "licence": _licence(recipe.base_model),
        "check": facts.check,
        "rows": facts.selection.validation.rows
        if facts.selection
        else facts.recipe.validation_rows,
        "data_licence": strategy.licence if strategy else None,
        "task": strategy.trained_to if strategy else "go on with texts",
        "emulates": programs,
        "recipe_sha256": sha256(recipe.path),
        "train": train,
        "train_sha256": facts.changed.get(str(train))
        or (sha256(train) if train.is_file() else None),
        "stale": list(stale(facts)),
        "prompt": render_prompt("{instruction}", "{input}") if programs else None,
        "labels": labels(facts.check.task) if facts.check else {},
        "collapse": COLLAPSE,
        "emulation": EMULATION,
        "emulated": _emulated(facts.check),
    }


def _front_matter(recipe: Recipe) -> ModelCardData:
    """What the hub reads; no `license`, which is the uploader's to choose."""
    dataset = _dataset(recipe)
    return ModelCardData(
        base_model=recipe.base_model if _is_on_hub(recipe.base_model) else None,
        library_name="peft" if recipe.adapter else "transformers",
        pipeline_tag="text-generation",
        datasets=[dataset] if dataset else None,
        tags=["axolotl", "cogex", *([recipe.adapter] if recipe.adapter else [])],
    )


def _is_on_hub(base: str) -> bool:
    return base.count("/") == 1 and base.split("/")[0] not in LOCAL


def _dataset(recipe: Recipe) -> str | None:
    """The hub's dataset, if the rows lie in the folder that the README fills from it."""
    strategy = declared_strategy(recipe, recipe.training)
    filled = strategy and Path(recipe.training["path"]).parts[:2] == ("data", strategy.dataset)
    return strategy.hub_dataset if strategy and filled else None


def _licence(base: str) -> str | None:
    return next((name for start, name in BASE_LICENCES.items() if base.startswith(start)), None)


def _emulated(check: CheckFile | None) -> list[tuple[str, EmulationFigures]]:
    """Each mode in which programs were run, with what came out."""
    modes = {"reasoner": check, "emulator": check.emulator if check else None}
    found = [(name, mode.emulation) for name, mode in modes.items() if mode and mode.emulation]
    return [(name, figures) for name, figures in found if figures.run]


def _share(item: Share | Reached | None) -> str:
    return f"{item.count / item.rows:.1%}" if item and item.rows else "-"


def _code(text: object) -> str:
    """A name as Markdown code: on one line, and nothing in it ends the code."""
    return "`" + printable(str(text)).replace("\n", " ").replace("`", "'") + "`"
