"""Does each dataset's `type` load as Axolotl loads it, and if not, for what true reason?

Axolotl swallows a ModuleNotFoundError, also one raised inside the strategy's own module, and says
"unhandled prompt tokenization strategy" in its place.
"""

import importlib
import importlib.util
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tools.models  # noqa: F401 - Axolotl, imported in the functions, must find it loaded
from prompt_strategies.base import CompletionStrategy, modules_of_working_folder
from tools.recipe import Recipe
from validation.verdict import VerdictRow

OWN_TYPE = "a type of your own is written package.module, with a function `load` in that module"


def check_strategy(recipe: Recipe) -> list[VerdictRow]:
    """Load the strategies of both dataset entries, and compare the entries."""
    return [
        _check_entry(recipe, "training", recipe.training),
        _check_entry(recipe, "validation", recipe.validation),
        _check_alike(recipe.training, recipe.validation),
    ]


def is_axolotls_own(entry: dict[str, Any]) -> bool:
    """Say whether a dataset entry's `type` is one that comes with Axolotl."""
    from axolotl.utils.data.wrappers import DATASET_HANDLERS

    kind = entry.get("type")
    if not isinstance(kind, str):
        return isinstance(kind, dict)  # which defines a prompt in place
    first = kind.split(":")[0].split(".")[0]
    module = f"axolotl.prompt_strategies.{first}"
    return first in DATASET_HANDLERS or importlib.util.find_spec(module) is not None


def _check_entry(recipe: Recipe, check: str, entry: dict[str, Any]) -> VerdictRow:
    kind = entry.get("type")
    if not kind:
        return VerdictRow(check, "the entry has no `type`", "fail", f"give it one: {OWN_TYPE}")
    if is_axolotls_own(entry):
        return VerdictRow(check, f"{kind} is Axolotl's own: its rows are not checked", "note")
    try:
        strategy = _load(recipe, entry)
    except Exception as error:  # a module may raise anything when it is imported
        todo = f"correct the module, or the entry: {OWN_TYPE}"
        return VerdictRow(check, f"{kind}: {_cause(error)}", "fail", todo)
    if not isinstance(strategy, CompletionStrategy):
        value = f"{kind} is no CompletionStrategy: its rows are not checked"
        return VerdictRow(check, value, "note")
    return VerdictRow(check, f"{kind}, trained on: {strategy.train_on}")


def _check_alike(training: dict[str, Any], validation: dict[str, Any]) -> VerdictRow:
    for key in ("type", "roles_to_train"):
        ours, theirs = training.get(key) or None, validation.get(key) or None
        if ours != theirs:
            return VerdictRow(
                "both alike",
                f"`{key}` is {ours} for training, {theirs} for validation",
                "fail",
                f"give both entries the same `{key}`: else validation measures another task",
            )
    return VerdictRow("both alike", "same `type` and `roles_to_train`")


def _load(recipe: Recipe, entry: dict[str, Any]) -> Any:
    """Return what Axolotl gets for the entry. Raises whatever keeps it from loading.

    No tokenizer is loaded yet: a strategy of this project stores it and does not use it here.
    """
    from axolotl.prompt_strategies import load
    from axolotl.utils.dict import DictDefault

    with _quiet(), modules_of_working_folder():
        strategy = load(entry["type"], None, DictDefault(recipe.values), DictDefault(entry))
        if strategy is None:
            importlib.import_module(entry["type"])  # raises what Axolotl has swallowed
            raise ValueError("Axolotl finds no such type")
    return strategy


@contextmanager
def _quiet() -> Iterator[None]:
    """Log no error that is reported as a finding."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(level)


def _cause(error: Exception) -> str:
    """Return an error's kind and text, with the file and line that raised it."""
    what = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, SyntaxError):
        return what  # names file and line itself
    files = [
        (frame.filename, frame.lineno)
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(("<", str(Path(importlib.__file__).parent)))
    ]
    file, line = files[-1]
    if file == __file__ or "axolotl" in Path(file).parts:
        return what  # raised by the look-up, not by a module that was found
    return f"{what} ({file}, line {line})"
