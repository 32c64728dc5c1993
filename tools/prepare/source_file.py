"""Reads a dataset file row by row: a JSON array, JSON values, an object holding one array, a table.

The values may stand one a line, several on a line or over lines, with or without commas. A table is
Parquet, Arrow, CSV or TSV; a file may be packed: see `tools.prepare.file_kinds`.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tools.errors import UserError, remedy
from tools.prepare.file_kinds import as_json_lines, csv_json_lines, folder_json_lines, unpacked

_BLANK = re.compile(r"[ \t\r\n]*")
_CONTROLS = bytes({*range(32)} - set(b"\t\n\r\f\x1b"))  # no text file has them
_CLOSING = {"[": "]", "{": "}"}


class SourceRow(NamedTuple):
    """One JSON value of a dataset file: parsed, and as the file has it.

    `end` is where it ends, in characters from the start of the file. With `doubled_key` an
    object in the row names a key twice, and `value` lacks what the first of them held.
    """

    value: Any
    text: str
    end: int
    doubled_key: bool


@dataclass(frozen=True)
class SourceFile:
    """A dataset file in memory; `array` is where its array begins, None for values."""

    path: Path
    sha256: str
    text: str
    array: int | None

    def rows(self) -> Iterator[SourceRow]:
        """Yield every row in file order.

        A number that is NaN, infinite or over 4,300 digits reads as a float that is not
        finite. Raises UserError, with row and line, at a row that is not JSON.
        """
        return _rows_of_values(self) if self.array is None else _rows_of_array(self, self.array)


def read_source_file(path: Path) -> SourceFile:
    """Read a dataset file whole and find where its rows are.

    Raises UserError if the file cannot be read, is of no kind that can, or holds no list of rows.
    """
    try:
        if path.is_dir():
            text = folder_json_lines(path)
            return SourceFile(path, hashlib.sha256(text.encode()).hexdigest(), text, None)
        data = path.read_bytes()
    except FileNotFoundError:
        todo = remedy(path, "download the dataset's file, or give the path where it lies")
        raise UserError(f"{path}: there is no such file; {todo}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. Check the path.") from None
    digest = hashlib.sha256(data).hexdigest()
    name, data = unpacked(path, data)
    table = as_json_lines(path, data)
    if table is None:
        text = decoded(path, data)
        table = csv_json_lines(path, name, text)
    if table is not None:
        return SourceFile(path, digest, table, None)
    return SourceFile(path, digest, text, _find_array(path, text))


def decoded(path: Path, data: bytes) -> str:
    """Return the text of a file in UTF-8. Raises UserError, which says what it is instead."""
    head = data[:1024].removeprefix(b"\xef\xbb\xbf").strip()
    if not head and not data.removeprefix(b"\xef\xbb\xbf").strip():
        raise UserError(f"{path} is empty ({len(data)} bytes). Download it again.")
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        raise UserError(
            f"{path} is a git-lfs pointer, not the data. Run `git lfs pull` in its repository, "
            "or download the file itself."
        )
    if head.startswith(b"<"):
        raise UserError(
            f"{path} is a web page (it starts with '<'), not JSON. Download the raw file: on "
            "the Hugging Face hub its address has /resolve/, not /blob/."
        )
    # JSON and CSV begin with ASCII, which UTF-16 and UTF-32 write with zero bytes
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or data[:4].count(0) in (2, 3):
        raise UserError(f"{path} is UTF-16 or UTF-32, not UTF-8, from byte 0. Save it as UTF-8.")
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        if len(head.translate(None, _CONTROLS)) < len(head):
            raise UserError(
                f"{path} is no text: it begins with the bytes {data[:8].hex(' ')}. Give JSON, JSON "
                "lines, CSV, Parquet or Arrow."
            ) from None
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path} is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}, line "
            f"{line}. Convert it (from Latin-1: iconv -f LATIN1 -t UTF-8), or download it again."
        ) from None


def _find_array(path: Path, text: str) -> int | None:
    """Return where the array of rows begins, or None if the file is JSON lines."""
    start = _skip_blanks(text, 0)
    if text[start] == "[":
        return start
    try:
        value, end, _ = _decode_at(text, start)
    except (json.JSONDecodeError, RecursionError) as error:
        if text[start] == "{" and _looks_like_lines(text):
            return None  # reading the lines names the broken one
        raise _not_json(path, text, error, "the file") from None
    if not isinstance(value, dict):
        raise UserError(
            f"{path} holds {text[start : start + 20]!r}, which is no list of rows. Give a JSON "
            "array of objects, or one object a line."
        )
    if isinstance(value.get("instruction"), list | dict):
        raise UserError(
            f'{path} holds columns, not rows. Turn it: python -c "import pandas; pandas.read_json('
            f"'{path}').to_json('rows.jsonl', orient='records', lines=True)\""
        )
    # an object with an instruction is itself a row, whatever list its input is
    if _skip_blanks(text, end) < len(text) or "instruction" in value:
        return None
    return _array_of_rows(path, text, start)


def _array_of_rows(path: Path, text: str, start: int) -> int:
    """Return where the one array of an object begins; arrays of other things are passed over."""
    arrays = [(name, at) for name, at in _members(text, start) if text[at] == "["]
    of_rows = [item for item in arrays if text[_skip_blanks(text, item[1] + 1)] == "{"]
    found = of_rows or arrays
    if len(found) != 1:
        names = ", ".join(name for name, _ in found)
        held = f"{len(found)} arrays ({names})" if found else "no arrays"
        todo = f": jq .{found[0][0]} {path.name} > rows.json" if found else "."
        raise UserError(
            f"{path} is an object that holds {held}, and exactly one is read as the rows. Save "
            f"that array alone{todo}"
        )
    return found[0][1]


def _rows_of_array(source: SourceFile, start: int) -> Iterator[SourceRow]:
    text, at, index = source.text, start, 0
    while True:
        at = _skip_blanks(text, at + 1)
        if index == 0 and text[at : at + 1] == "]":
            break
        try:
            value, end, doubled = _decode_at(text, at)
        except (json.JSONDecodeError, RecursionError) as error:
            raise _not_json(source.path, text, error, f"row {index} (counted from 0)") from None
        yield SourceRow(value, text[at:end], end, doubled)
        index += 1
        at = _skip_blanks(text, end)
        if text[at : at + 1] == "]":
            break
        if text[at : at + 1] != ",":
            missing = json.JSONDecodeError("Expecting ',' or ']'", text, at)
            raise _not_json(source.path, text, missing, f"what follows row {index - 1}")
    rest = _skip_blanks(text, at + 1)
    # an object around the array was parsed whole before
    if start == _skip_blanks(text, 0) and rest < len(text):
        line = text.count("\n", 0, rest) + 1
        raise UserError(
            f"{source.path} goes on after the end of its array, at line {line}: "
            f"{text[rest : rest + 20]!r}. Give one array, or one object a line."
        )


def _rows_of_values(source: SourceFile) -> Iterator[SourceRow]:
    text, at, index = source.text, _skip_blanks(source.text, 0), 0
    while at < len(text):
        try:
            value, end, doubled = _decode_at(text, at)
        except (json.JSONDecodeError, RecursionError) as error:
            what = error.msg if isinstance(error, json.JSONDecodeError) else "it nests too deep"
            raise UserError(
                f"{source.path}: line {text.count(chr(10), 0, at) + 1} (row {index}, counted from "
                f"0) is not valid JSON: {what}. Correct or remove that row, or download the file "
                "again."
            ) from None
        yield SourceRow(value, text[at:end], end, doubled)
        index += 1
        at = _skip_blanks(text, end)
        if text[at : at + 1] == ",":  # of an array without its brackets
            at = _skip_blanks(text, at + 1)


class _DoubledKeyError(Exception):
    """An object names a key twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _DoubledKeyError
    return value


def _integer(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:  # over 4,300 digits, which Python does not convert
        return math.inf


_STRICT = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer)
_LENIENT = json.JSONDecoder(parse_int=_integer)


def _decode_at(text: str, at: int) -> tuple[Any, int, bool]:
    """Return the JSON value that begins at `at`, where it ends, and if a key is doubled."""
    try:
        value, end = _STRICT.raw_decode(text, at)
        return value, end, False
    except _DoubledKeyError:
        value, end = _LENIENT.raw_decode(text, at)
        return value, end, True


def _members(text: str, at: int) -> Iterator[tuple[str, int]]:
    """Yield each key of the object at `at`, and where its value begins; it is known to be JSON."""
    at = _skip_blanks(text, at + 1)
    while text[at] != "}":
        key, at, _ = _decode_at(text, at)
        at = _skip_blanks(text, _skip_blanks(text, at) + 1)
        yield key, at
        _, at, _ = _decode_at(text, at)
        at = _skip_blanks(text, at)
        if text[at] == ",":
            at = _skip_blanks(text, at + 1)


def _skip_blanks(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match else at


def _looks_like_lines(text: str) -> bool:
    """Tell JSON lines with a broken first line from one broken object."""
    first, _, rest = text.lstrip().partition("\n")
    try:
        second = json.loads(rest.lstrip().partition("\n")[0])
    except (ValueError, RecursionError):
        return False
    return isinstance(second, dict) and not first.rstrip().endswith("[")


def _not_json(
    path: Path, text: str, error: json.JSONDecodeError | RecursionError, what: str
) -> UserError:
    if isinstance(error, RecursionError):
        return UserError(
            f"{path}: {what} nests too deep to be read (about 1,000 levels). Correct the file "
            "there, or download it again."
        )
    cut_off = (
        _skip_blanks(text, error.pos) == len(text)
        or error.msg.startswith("Unterminated string")
        or not text[-64:].rstrip().endswith(_CLOSING.get(text[_skip_blanks(text, 0)], ""))
    )
    advice = (
        "The file is cut off: download it again."
        if cut_off
        else "Correct the file there, or download it again."
    )
    return UserError(
        f"{path}: {what} is not valid JSON at line {error.lineno}, column {error.colno}: "
        f"{error.msg}. {advice}"
    )
