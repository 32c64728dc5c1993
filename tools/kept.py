"""Keeps results by key in a file of JSON lines, so that nothing is computed or paid for twice."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any


class Kept:
    """JSON values by key; each is appended to the file as it comes.

    A line without its own right checksum, such as one that was cut off, is ignored.
    """

    def __init__(self, path: Path) -> None:
        """Read what is there."""
        self.path = path
        self._values: dict[str, Any] = {}
        content = path.read_bytes() if path.is_file() else b""
        self._cut_off = not content.endswith(b"\n") and bool(content)
        for line in content.splitlines():
            with suppress(ValueError, KeyError, TypeError, RecursionError):
                item = json.loads(line)
                if item["sha256"] == digest([item["key"], item["value"]]):
                    self._values[item["key"]] = item["value"]

    def get(self, key: str) -> Any:
        """Return the value of a key, None if there is none."""
        return self._values.get(key)

    def put(self, key: str, value: Any) -> None:
        """Keep a value; it is in the file when this returns. Raises OSError where that is full."""
        self._values[key] = value
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"key": key, "sha256": digest([key, value]), "value": value})
        with self.path.open("a", encoding="ascii") as file:
            file.write("\n" * self._cut_off + line + "\n")
        self._cut_off = False


def digest(value: Any) -> str:
    """The SHA-256 of a JSON value, its keys sorted, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
