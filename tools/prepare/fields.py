"""What a field of a published row becomes: text, or the reason why the row cannot be used."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from prompt_strategies.base import PublishedField

PreparedRow = dict[str, str]
Change = tuple[str, str, Callable[[str], str]]  # a column, what is done to it, the function


class RejectedError(Exception):
    """The row cannot be used; the message is its reason."""


@dataclass
class ReadRow:
    """The columns of a row, what the file calls each, and what was changed in them."""

    texts: PreparedRow = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)


def read_fields(
    row: dict[str, Any], declared: Sequence[PublishedField], tidying: Sequence[Change] = ()
) -> ReadRow:
    """Return a published row as its columns. Raises RejectedError.

    Reasons and changes name the field as the file does.
    """
    read = ReadRow()
    for each in declared:
        _read_field(row, each, read)
    line_ends = [(column, "CRLF made LF", _unix) for column in read.texts]
    for column, what, change in [*line_ends, *tidying]:
        changed = change(read.texts[column])
        if changed != read.texts[column]:
            read.texts[column] = changed
            read.changes.append(f"{what}: {read.names[column]}")
    for each in declared:
        name, text = read.names[each.column], read.texts[each.column]
        if each.required and not text.strip():
            raise RejectedError(f"empty: {name}")
        refuse_surrogates(name, text)
    return read


def _read_field(row: dict[str, Any], each: PublishedField, read: ReadRow) -> None:
    given = [name for name in each.names if row.get(name) is not None]
    name = read.names[each.column] = given[0] if given else each.names[0]
    if each.required and not given:
        raise RejectedError(f"missing: {name}")
    value = row.get(name)
    if each.kinds and given and not isinstance(value, each.kinds):
        raise RejectedError(f"wrong type: {name}")
    text = "" if not each.required and _is_nothing(value) else as_text(name, value)
    read.texts[each.column] = text
    if name in row and not isinstance(value, str):
        what = "made a Python literal" if text else "made empty"
        read.changes.append(f"{_kind(value)} {what}: {name}")
    elif value and not text:
        read.changes.append(f"white space made empty: {name}")


def _kind(value: Any) -> str:
    kinds = {type(None): "null", bool: "true or false", list: "list", dict: "object"}
    return kinds.get(type(value), "number")


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n")


def _is_nothing(value: Any) -> bool:
    """Say whether a JSON value holds no text: null, false, white space, or a list of such alone."""
    if isinstance(value, list | dict):
        inner = value.values() if isinstance(value, dict) else value
        return all(item is None or (isinstance(item, str) and not item.strip()) for item in inner)
    return value is None or value is False or (isinstance(value, str) and not value.strip())


def as_text(name: str, value: Any) -> str:
    """Return a string as it is, None as "", any other JSON value as a Python literal.

    Raises RejectedError for a value that has no such literal.
    """
    if value is None or isinstance(value, str):
        return value or ""
    try:
        json.dumps(value, allow_nan=False)  # nan and inf are no Python literals
        return repr(value)
    except ValueError:
        raise RejectedError(f"unusable number: {name}") from None
    except RecursionError:
        raise RejectedError(f"nested too deep: {name}") from None


def without_blank_ends(text: str) -> str:
    """Drop the blank lines before and after a text."""
    lines = text.split("\n")
    written = [number for number, line in enumerate(lines) if line.strip()]
    return "\n".join(lines[written[0] : written[-1] + 1]) if written else ""


def refuse_surrogates(name: str, text: str) -> None:
    """Raise RejectedError if a text cannot be written as UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise RejectedError(f"not UTF-8: {name}") from None
