"""What a field of a published row becomes: text, or the reason why the row cannot be used."""

import json
from types import UnionType
from typing import Any

PreparedRow = dict[str, str]


class RejectedError(Exception):
    """The row cannot be used; the message is its reason."""


def required(
    row: dict[str, Any], name: str, spellings: tuple[str, ...], kind: type | UnionType
) -> Any:
    """Return the value of the first spelling that the row has. Raises RejectedError."""
    given = [row[key] for key in spellings if row.get(key) is not None]
    if not given:
        raise RejectedError(f"missing: {name}")
    if not isinstance(given[0], kind):
        raise RejectedError(f"wrong type: {name}")
    return given[0]


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
