"""Keeps a text that is only a date a text in prepared files.

The engine reads JSON lines by Arrow's reader. Where each text of a column looks like a date, within
10 MB of the file, Arrow makes timestamps of them: `2024-01-02` comes back as a datetime, or as
`2024-01-02 00:00:00`. So such a text is written with a line break behind it, which Arrow takes for
no date, and who reads prepared rows takes it off again. A date that had line breaks behind it
before has one more in the file, so every text comes back as it was.
"""

import re
from typing import Any

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[ T][0-9:.+Z-]*)?\n*")


def to_file(text: str) -> str:
    """Return the text as a prepared file holds it."""
    return text + "\n" if _DATE.fullmatch(text) else text


def from_file(text: str) -> str:
    """Return the text that a prepared file holds."""
    return text[:-1] if text.endswith("\n") and _DATE.fullmatch(text) else text


def stored_texts(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of a prepared file with the texts that it holds."""
    return {key: from_file(text) if isinstance(text, str) else text for key, text in row.items()}
