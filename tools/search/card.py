"""The schema of a task card: the task that a search finds a program for."""

import ast
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PositiveInt,
    Tag,
    ValidationError,
)

from tools.errors import UserError, remedy
from tools.python_text import parse
from tools.search.metrics import BUILT_IN


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileSource(_Strict):
    """Rows of a local file, of any kind that `cogex prepare` reads."""

    file: str


class HubSource(_Strict):
    """Rows of a dataset on the Hugging Face hub, at one commit."""

    hub: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    config: str | None = None
    split: str


class GeneratorSource(_Strict):
    """Rows made by a function of `tools.search.generators`, with its options."""

    generator: Literal["coin", "sum", "word_sorting", "operations", "tiny"]
    seed: int
    rows: PositiveInt
    options: dict[str, Any] = {}


_KINDS = ("file", "hub", "generator")


def _kind(value: Any) -> str | None:
    """The kind of source that a mapping describes: the one key of `_KINDS` that it has."""
    named = [kind for kind in _KINDS if isinstance(value, dict) and kind in value]
    return named[0] if len(named) == 1 else None


Source = Annotated[
    Annotated[FileSource, Tag("file")]
    | Annotated[HubSource, Tag("hub")]
    | Annotated[GeneratorSource, Tag("generator")],
    Discriminator(
        _kind,
        custom_error_type="source",
        custom_error_message="must have one of the keys `file`, `hub` and `generator`",
    ),
]


class Data(_Strict):
    """Where the rows are. Without `test` the test rows are taken from `train` as well."""

    train: Source
    test: Source | None = None


class Split(_Strict):
    """How many rows each split has; the rows are shuffled with the seed first."""

    train: PositiveInt
    dev: PositiveInt
    test: PositiveInt
    seed: int = 42


Text = Annotated[str, Field(min_length=1)]


class Chain(_Strict):
    """An example for prompts with a chain of thought (J. Wei et al., 2022, arXiv 2201.11903)."""

    input: Text
    reasoning: Text
    answer: Text


def _functions_alone(source: str) -> str:
    body = parse(source).body
    if not body or not all(isinstance(node, ast.FunctionDef) for node in body):
        raise ValueError("must be Python functions and nothing else")
    return source


class TaskCard(_Strict):
    """One task. `input` and `answer` are Jinja templates over the fields of a row.

    So is `length`, an integer that says how long or hard a row is. `prompt` is an engineered prompt
    for the base, a template over `instruction` and `input`. `definitions` are Python functions that
    define what programs for this task may leave undefined.
    """

    version: PositiveInt
    instruction: Text
    data: Data
    input: Text
    answer: Text
    length: Text | None = None
    prompt: Text | None = None
    chains: tuple[Chain, ...] = ()
    definitions: Annotated[Text, AfterValidator(_functions_alone)] | None = None
    metric: Annotated[str, Field(pattern=rf"^({'|'.join(BUILT_IN)}|\w+(\.\w+)+)$")] = "exact"
    tolerance: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    split: Split


def read_card(path: Path) -> TaskCard:
    """Read a task card. Raises UserError naming file and key, and what is wrong there."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        todo = remedy(path, "`ls tasks` shows them")
        raise UserError(f"{path}: there is no such task card; {todo}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}; is it a task card?") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = " ".join(str(error).split())
        raise UserError(f"{path}: is not valid YAML; correct it there: {what}") from None
    try:
        return TaskCard.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{path}: {_explain(error)}; correct the task card") from None


def _explain(error: ValidationError) -> str:
    """Name the first fault with its key."""
    first = error.errors()[0]
    keys = [str(part) for part in first["loc"]]
    if keys[:1] == ["data"] and len(keys) > 3:
        del keys[2]  # the kind of source, which is no key of the card
    what = {"missing": "is missing", "extra_forbidden": "is not a key of a task card"}.get(
        first["type"], first["msg"]
    )
    name = f"`{'.'.join(keys)}`" if keys else "the whole"
    return f"{name}: {what}"
