"""The model card: `README.md` in `best/` or an export, so that an upload shows what it is.

Its figures are those of the run. It names what was not measured.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCardData, metadata_load, try_to_load_from_cache
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from prompt_strategies.layout import render_prompt
from tools.errors import UserError
from tools.files import sha256, whole_file
from tools.intervals import wilson
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


def write_card(facts: RunFacts, folder: Path | None = None, merged: float | None = None) -> Path:
    """Write the card of a run's `best/`, or into another folder; return its path.

    `merged` is the perplexity of the model that the folder holds in place of the adapter. Raises
    UserError if there is no `best/`.
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
    card = environment.get_template("model_card.md.j2").render(_context(facts, merged))
    path = (folder or facts.best.folder) / "README.md"
    with whole_file(path) as file:
        file.write(card)
    return path


def _context(facts: RunFacts, merged: float | None) -> dict[str, Any]:
    recipe = facts.recipe
    train, strategy = Path(recipe.training["path"]), declared_strategy(recipe, recipe.training)
    programs = strategy is not None and strategy.task == "program"
    return {
        "facts": facts,
        "front_matter": _front_matter(facts, merged).to_yaml(),
        "merged": merged,
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


def _front_matter(facts: RunFacts, merged: float | None) -> ModelCardData:
    """What the hub reads; no `license`, which is the uploader's to choose."""
    recipe = facts.recipe
    dataset = _dataset(recipe)
    results = list(_results(facts, merged))
    return ModelCardData(
        model_name=recipe.output_dir.name if results else None,
        eval_results=results or None,
        base_model=recipe.base_model if _is_on_hub(recipe.base_model) else None,
        library_name="peft" if recipe.adapter and merged is None else "transformers",
        pipeline_tag="text-generation",
        datasets=[dataset] if dataset else None,
        tags=["axolotl", "cogex", *([recipe.adapter] if recipe.adapter else [])],
    )


def _results(facts: RunFacts, merged: float | None) -> Iterator[EvalResult]:
    """Yield perplexity and exact answers on the validation rows, as the hub's pages show them."""
    rows = Path(facts.recipe.validation["path"])
    about: dict[str, Any] = {
        "task_type": "text-generation",
        "dataset_type": _dataset(facts.recipe) or "local",
        "dataset_name": f"{rows.parent.name}, validation rows",
        "dataset_args": {"sha256": facts.selection.validation.sha256} if facts.selection else None,
    }
    perplexity = merged or (facts.chosen.perplexity if facts.chosen else None)
    if perplexity:
        yield EvalResult(**about, metric_type="perplexity", metric_value=round(perplexity, 5))
    if facts.check and not facts.check.partial:
        emulator = facts.check.emulator
        named = "answers as reasoner" if emulator else "answers"
        for name, mode in ((named, facts.check), ("answers as emulator", emulator)):
            share = mode.measures.get("answer_exact") if mode else None
            if share and share.rows:
                low, high = wilson(share.count, share.rows)
                yield EvalResult(
                    **about,
                    metric_type="exact_match",
                    metric_name=f"{name}, 95% interval {low:.3f} to {high:.3f}",
                    metric_value=round(share.count / share.rows, 4),
                )


def _is_on_hub(base: str) -> bool:
    return base.count("/") == 1 and base.split("/")[0] not in LOCAL


def _dataset(recipe: Recipe) -> str | None:
    """The hub's dataset, if the rows lie in the folder that the README fills from it."""
    strategy = declared_strategy(recipe, recipe.training)
    filled = strategy and Path(recipe.training["path"]).parts[:2] == ("data", strategy.dataset)
    return strategy.hub_dataset if strategy and filled else None


def _licence(base: str) -> str | None:
    """Return the licence of a base: as listed here, else as its own card names it, if that is here.

    The card is README.md in the base's folder, or in the cache of the hub's files.
    """
    for start, name in BASE_LICENCES.items():
        if base.startswith(start):
            return name
    path: Any = Path(base) / "README.md"
    try:
        if not path.is_file():
            path = try_to_load_from_cache(base, "README.md") if _is_on_hub(base) else None
        metadata = metadata_load(path) if isinstance(path, Path | str) else None
    except (OSError, ValueError, yaml.YAMLError):
        return None
    metadata = metadata or {}
    named = metadata.get("license_name") or metadata.get("license")
    return str(named) if named else None


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
