"""What this repository reads from a recipe; Axolotl reads the rest."""

import math
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from tools.errors import UserError, remedy

RECIPES = Path("recipes")
LAUNCH_FOLDERS = ("deepspeed", "accelerate")  # beside the recipes, but no recipes


@dataclass(frozen=True)
class Recipe:
    """An Axolotl recipe. Its relative paths start at the working folder, as Axolotl takes them."""

    path: Path
    values: dict[str, Any]

    @property
    def base_model(self) -> str:
        """A local folder or a hub id."""
        return self._need("base_model", str)

    @property
    def output_dir(self) -> Path:
        """Where the run's checkpoints are."""
        return Path(self._need("output_dir", str))

    @property
    def sequence_len(self) -> int:
        """The longest row that is trained on, in tokens."""
        return self._need("sequence_len", int)

    @property
    def adapter(self) -> str | None:
        """`lora` or `qlora`; None where the whole model is trained."""
        return self.values.get("adapter")

    @property
    def validation_rows(self) -> int | None:
        """How many validation rows must have been prepared; None where the recipe does not say."""
        return whole(self, "validation_rows", 0) or None

    @property
    def training(self) -> dict[str, Any]:
        """The dataset entry of the training rows; the recipe must name exactly one."""
        return self._dataset("datasets", "training", "path, ds_type and type")

    @property
    def validation(self) -> dict[str, Any]:
        """The dataset entry of the validation rows; the recipe must name exactly one."""
        return self._dataset("test_datasets", "validation", "path, ds_type, split and type")

    def _dataset(self, key: str, what: str, keys: str) -> dict[str, Any]:
        match self.values.get(key):
            case [{"path": str(path)} as entry] if path:
                return entry
        raise UserError(
            f"{self.path}: `{key}` must name the one {what} file; give it one entry with {keys}"
        )

    def _need[T](self, key: str, kind: type[T]) -> T:
        value = self.values.get(key)
        if value in (None, ""):
            raise UserError(f"{self.path}: the key `{key}` is missing; add it to the recipe")
        if not isinstance(value, kind):
            raise UserError(
                f"{self.path}: `{key}: {value}` is {type(value).__name__}, not {kind.__name__}; "
                "correct it in the recipe"
            )
        return value


def recipes_in(folder: Path) -> list[Path]:
    """Return every recipe of a folder and below it, by name."""
    found = [*folder.rglob("*.yml"), *folder.rglob("*.yaml")]
    return sorted(path for path in found if path.parent.name not in LAUNCH_FOLDERS)


def find_recipe(named: Path) -> Path:
    """Return the recipe that a person means: its file, its bare name, its run folder or a part.

    A path that holds nothing of the kind is returned as it is. Raises UserError with the nearest
    name where a bare name, or one in `recipes`, is not there, or if several recipes write a folder.
    """
    if named.is_file():
        return named
    if named.is_dir():
        return _recipe_of(named)
    if named.parent not in (Path(), RECIPES):
        return named
    stem = named.name.removesuffix(".yml").removesuffix(".yaml")
    known = {path.stem: path for path in recipes_in(RECIPES)}
    if stem in known:
        return known[stem]
    if not known:
        todo = "the folder recipes is not here; run in the repository's folder"
    elif near := get_close_matches(stem, known, n=1):
        todo = f"did you mean {known[near[0]]}?"
    else:
        todo = "`ls recipes` shows them"
    raise UserError(f"{named}: there is no such recipe; {todo}")


def _recipe_of(folder: Path) -> Path:
    """Return the recipe whose run folder this is, or holds it; else the folder itself."""
    inside = {folder.resolve(), *folder.resolve().parents}
    found = []
    for path in recipes_in(RECIPES):
        try:
            run = read_recipe(path).output_dir.resolve()
        except UserError:  # it is not the one that was named
            continue
        if run in inside:
            found.append(path)
    if len(found) > 1:
        names = ", ".join(map(str, found))
        raise UserError(f"{folder}: is the run folder of several recipes; name one of {names}")
    return found[0] if found else folder


def read_recipe(path: Path) -> Recipe:
    """Read a recipe. Raises UserError if the file is not a YAML mapping."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        todo = remedy(path, "`ls recipes` shows them")
        raise UserError(f"{path}: there is no such recipe; {todo}") from None
    except IsADirectoryError:
        raise UserError(
            f"{path}: is a folder, and the run folder of no recipe in {RECIPES}; name a recipe, as "
            "recipes/cogex-tiny.yml"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}; is it a recipe?") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date as 2024-13-1
        what = " ".join(str(error).split())
        raise UserError(f"{path}: is not valid YAML; correct it there: {what}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: holds no keys; a recipe is a YAML mapping of Axolotl's keys")
    return Recipe(path, values)


def is_recipe(target: Path) -> bool:
    """Tell a recipe from a model folder, also one that is not there."""
    return target.suffix in {".yml", ".yaml"} or target.is_file()


def whole(recipe: Recipe, key: str, default: int = 1) -> int:
    """Return a whole number > 0 of the recipe, or the default. Raises UserError if malformed."""
    value = recipe.values.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(
            f"{recipe.path}: `{key}: {value}` must be a whole number above 0; correct it"
        )
    return value


def number(recipe: Recipe, key: str, default: float) -> float:
    """Return a number >= 0 of the recipe, or the default. Raises UserError if malformed."""
    value = recipe.values.get(key, default)
    try:
        value = float(value)  # YAML reads 3e-2 as text
    except (TypeError, ValueError, OverflowError):
        value = -1.0
    if not 0 <= value < math.inf:
        raise UserError(
            f"{recipe.path}: `{key}: {recipe.values[key]}` must be a number from 0 on; correct it"
        )
    return value
