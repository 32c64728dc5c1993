"""Reads a dataset file row by row: a JSON array, JSON lines, or an object holding one array."""

import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tools.errors import UserError, remedy

_BLANK = re.compile(r"[ \t\r\n]*")
_LINE = re.compile(r"[^\n]+")
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
    """A dataset file in memory; `array` is where its array begins, None for JSON lines."""

    path: Path
    sha256: str
    text: str
    array: int | None

    def rows(self) -> Iterator[SourceRow]:
        """Yield every row in file order.

        A number that is NaN, infinite or over 4,300 digits reads as a float that is not
        finite. Raises UserError, with row and line, at a row that is not JSON.
        """
        return _rows_of_lines(self) if self.array is None else _rows_of_array(self, self.array)


def read_source_file(path: Path) -> SourceFile:
    """Read a UTF-8 dataset file whole and find where its rows are.

    Raises UserError if the file cannot be read, is not UTF-8 JSON or holds no list of rows.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        todo = remedy(path, "download the dataset's file, or give the path where it lies")
        raise UserError(f"{path}: there is no such file; {todo}") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder. Give the file in it, such as data.json.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. Check the path.") from None
    _refuse_what_is_no_data(path, data)
    text = _decode_utf8(path, data)
    return SourceFile(path, hashlib.sha256(data).hexdigest(), text, _find_array(path, text))


def _refuse_what_is_no_data(path: Path, data: bytes) -> None:
    """Refuse files that people often have in place of the data."""
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
    # JSON begins with ASCII, which UTF-16 and UTF-32 write with zero bytes
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or 0 in data[:4]:
        raise UserError(f"{path} is UTF-16 or UTF-32, not UTF-8, from byte 0. Save it as UTF-8.")


def _decode_utf8(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
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
    # an object with an instruction is itself a row, whatever list its input is
    if _skip_blanks(text, end) < len(text) or "instruction" in value:
        return None
    arrays = [at for at in _members(text, start) if text[at] == "["]
    if len(arrays) != 1:
        raise UserError(
            f"{path} is an object that holds {len(arrays) or 'no'} arrays, and exactly one is "
            "read as the rows. Save the array of rows alone."
        )
    return arrays[0]


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


def _rows_of_lines(source: SourceFile) -> Iterator[SourceRow]:
    index = 0
    for match in _LINE.finditer(source.text):
        line = match.group().strip(" \t\r")
        if not line:
            continue
        try:
            value, end, doubled = _decode_at(line, 0)
            if end < len(line):
                raise json.JSONDecodeError("more text after the row", line, end)
        except (json.JSONDecodeError, RecursionError) as error:
            what = error.msg if isinstance(error, json.JSONDecodeError) else "it nests too deep"
            raise UserError(
                f"{source.path}: line {source.text.count(chr(10), 0, match.start()) + 1} (row "
                f"{index}, counted from 0) is not valid JSON: {what}. JSON lines need one whole "
                "row a line: correct or remove that line, or download the file again."
            ) from None
        yield SourceRow(value, line, match.end(), doubled)
        index += 1


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


def _members(text: str, at: int) -> Iterator[int]:
    """Yield where each value of the object at `at` begins; the object is known to be JSON."""
    at = _skip_blanks(text, at + 1)
    while text[at] != "}":
        _, at, _ = _decode_at(text, at)  # the key
        at = _skip_blanks(text, _skip_blanks(text, at) + 1)
        yield at
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
