"""Keys of a recipe that a reader would miss: unknown, empty, or written twice."""

from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, get_args

import yaml
from pydantic import AliasChoices, BaseModel


def unknown_keys(values: dict[str, Any], model: type[BaseModel], where: str = "") -> Iterator[str]:
    """Yield a sentence for each key for which the model, or a model in it, has no field."""
    fields = _fields(model)
    for key, value in values.items():
        if key not in fields:
            near = get_close_matches(str(key), fields, n=1)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            yield f"`{where}{key}` is not a key of Axolotl{hint}"
        elif inner := _inner_model(fields[key]):
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, dict):
                    yield from unknown_keys(item, inner, f"{where}{key}.")


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    """Return the annotation of each name that the model reads, its aliases among them."""
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        others = alias.choices if isinstance(alias, AliasChoices) else [alias]
        fields |= {str(each): field.annotation for each in (name, *others) if each}
    return fields


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    """The first model in an annotation: for datasets SFTDataset, as Axolotl itself takes it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _inner_model(part))), None)


def empty_keys(value: dict[str, Any] | list[Any], where: str = "") -> Iterator[str]:
    """Yield the path of each key, at any depth, that has no value."""
    for key, child in value.items() if isinstance(value, dict) else enumerate(value):
        if child in (None, "", [], {}):
            yield f"{where}{key}"
        elif isinstance(child, dict | list):
            yield from empty_keys(child, f"{where}{key}.")


def repeated_keys(text: str) -> Iterator[str]:
    """Yield each key that is more than once in one mapping of a YAML text."""
    yield from _repeated(yaml.compose(text, yaml.SafeLoader))


def _repeated(node: Any) -> Iterator[str]:
    if isinstance(node, yaml.MappingNode):
        counts = Counter(key.value for key, _ in node.value)
        yield from (key for key, count in counts.items() if count > 1)
        for _, value in node.value:
            yield from _repeated(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated(item)
