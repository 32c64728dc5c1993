"""Reads the rows of a file: JSON, JSON lines, CSV, TSV, Parquet or Arrow, packed or not.

JSON values may stand in an array, in an object around one array, or one behind the other. Packed
files and tables are known by their first bytes, CSV and TSV by their name.
"""

import bz2
import csv
import gzip
import hashlib
import io
import json
import lzma
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from tools.errors import UserError, remedy

_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK": "zip",
}
_TABLES = {b"PAR1": "Parquet", b"ARROW1": "Arrow", b"\xff\xff\xff\xff": "Arrow stream"}
_BESIDE = re.compile(r"/$|^__MACOSX/|(?:^|/)\.")  # in a zip: folders and what systems add
_BROKEN = (OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError,
           zipfile.BadZipFile)  # fmt: skip
_BETWEEN = re.compile(r"[ \t\r\n,]*")
_OF_A_ROW = {"instruction", "task_id", "prompt"}  # an object with one of them is no wrapper


@dataclass(frozen=True)
class SourceFile:
    """A file in memory: its hash, and its rows, which may be any JSON value."""

    path: Path
    sha256: str
    rows: list[Any]


class DoubledKey(dict[str, Any]):
    """A JSON object that names a key twice, itself or in an object inside it; the last counts."""


def read_source_file(path: Path, otherwise: str = "download it, or correct the path") -> SourceFile:
    """Read a file whole.

    A number that is NaN or infinite reads as such a float. Raises UserError if the file is not
    there (`otherwise` says what to do), cannot be read, or holds no rows.
    """
    if path.is_dir():
        rows = _saved_rows(path)
        digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
        return SourceFile(path, digest, rows)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file; {remedy(path, otherwise)}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. Check the path.") from None
    digest = hashlib.sha256(data).hexdigest()
    name, data = _unpacked(path, data)
    if kind := _starts(_TABLES, data):
        rows = _table_rows(path, kind, data)
    elif PurePath(name).suffix.lower() in (".csv", ".tsv"):
        rows = _csv_rows(path, _text(path, data))
    else:
        rows = _json_rows(path, _text(path, data))
    if not rows:
        raise UserError(f"{path} holds no rows. Make or download it again.")
    return SourceFile(path, digest, rows)


def _starts(kinds: dict[bytes, str], data: bytes) -> str | None:
    return next((kind for start, kind in kinds.items() if data.startswith(start)), None)


def _unpacked(path: Path, data: bytes) -> tuple[str, bytes]:
    """Return the name and the bytes of what a file holds, unpacked where it is packed."""
    name = path.name
    while how := _starts(_PACKED, data):
        try:
            if how == "zip":
                name, data = _only_member(path, data)
            else:
                name, data = PurePath(name).stem, _decompressed(how, data)
        except _BROKEN as error:
            raise UserError(
                f"{path}: is a damaged {how} file: {error}. Make or download it again."
            ) from None
    return name, data


def _only_member(path: Path, data: bytes) -> tuple[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [name for name in archive.namelist() if not _BESIDE.search(name)]
        if len(names) != 1:
            raise UserError(
                f"{path} is a zip archive of {len(names)} files ({', '.join(names[:3])}): unpack "
                "it and give the one that holds the rows; of a workbook, save the sheet as CSV."
            )
        return names[0], archive.read(names[0])


def _decompressed(how: str, data: bytes) -> bytes:
    if how in ("zstd", "lz4"):
        import pyarrow  # type: ignore[import-untyped]

        with pyarrow.input_stream(pyarrow.py_buffer(data), compression=how) as stream:
            return bytes(stream.read())
    return {"gzip": gzip.decompress, "bz2": bz2.decompress, "xz": lzma.decompress}[how](data)


def _saved_rows(path: Path) -> list[Any]:
    from datasets import load_from_disk

    try:
        return _as_json(load_from_disk(str(path)).to_list())
    except Exception as error:  # not one either, several splits, or damaged
        raise UserError(
            f"{path} is a folder, and not of one split that `save_to_disk` wrote "
            f"({_short(error)}). Give the file in it that holds the rows."
        ) from None


def _table_rows(path: Path, kind: str, data: bytes) -> list[Any]:
    import pyarrow
    from pyarrow import parquet

    source = pyarrow.BufferReader(data)
    try:
        if kind == "Parquet":
            return _as_json(parquet.read_table(source).to_pylist())
        reader = pyarrow.ipc.open_file if kind == "Arrow" else pyarrow.ipc.open_stream
        return _as_json(reader(source).read_all().to_pylist())
    except Exception as error:  # Arrow raises its own, and OSError
        raise UserError(
            f"{path}: is a damaged {kind} file: {_short(error)}. Make or download it again."
        ) from None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _as_json(rows: list[Any]) -> list[Any]:
    """Return rows with text in place of what JSON cannot hold: dates, decimals, bytes."""

    def as_text(value: Any) -> str:
        # a lone surrogate is refused, as not UTF-8
        return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)

    return list(json.loads(json.dumps(rows, default=as_text)))


def _text(path: Path, data: bytes) -> str:
    """Return the text of a file in UTF-8. Raises UserError, which says what it is instead."""
    head = data[:1024].removeprefix(b"\xef\xbb\xbf").strip()
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
    try:
        if b"\0" in head:  # as in UTF-16 and in most binary files
            raise UnicodeDecodeError("utf-8", data, data.index(b"\0"), 0, "")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path} is neither text in UTF-8 nor a table that is read here: byte "
            f"0x{data[error.start]:02x} at offset {error.start}, line {line}. Save it as JSON "
            "lines in UTF-8 (a text in Latin-1: iconv -f LATIN1 -t UTF-8)."
        ) from None


def _csv_rows(path: Path, text: str) -> list[Any]:
    """Return the rows of CSV or TSV; one with other cells than the header is a list."""
    separator = max("\t,;", key=text.partition("\n")[0].count)
    csv.field_size_limit(1 << 30)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        columns, *rows = [line for line in lines if line] or [[]]
    except csv.Error as error:
        raise UserError(
            f"{path}, line {lines.line_num}: is not valid CSV: {error}. Correct its quotes."
        ) from None
    return [
        dict(zip(columns, row, strict=True)) if len(row) == len(columns) else row for row in rows
    ]


def _json_rows(path: Path, text: str) -> list[Any]:
    """Return the values of a text; of one value the rows that it holds."""
    values, at = [], _skip(text, 0)
    while at < len(text):
        try:
            value, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise _not_json(path, text, at, error) from None
        values.append(value)
        at = _skip(text, end)
    match values:
        case [list(rows)]:
            return rows
        case [dict(value)]:
            return _rows_within(path, value)
    return values


def _skip(text: str, at: int) -> int:
    match = _BETWEEN.match(text, at)
    return match.end() if match else at


def _rows_within(path: Path, value: dict[str, Any]) -> list[Any]:
    """Return the one array of objects that an object holds; without one it is a row itself."""
    arrays = {
        name: rows
        for name, rows in value.items()
        if isinstance(rows, list) and rows and isinstance(rows[0], dict)
    }
    if not arrays or _OF_A_ROW & value.keys():
        return [value]
    if len(arrays) > 1:
        raise UserError(
            f"{path} is an object that holds {len(arrays)} arrays ({', '.join(arrays)}), and one "
            f"is read as the rows. Save that one alone: jq .{next(iter(arrays))} {path.name}"
        )
    return next(iter(arrays.values()))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs) or any(isinstance(each, DoubledKey) for each in value.values()):
        return DoubledKey(value)
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _not_json(path: Path, text: str, at: int, error: ValueError | RecursionError) -> UserError:
    line, what = text.count("\n", 0, at) + 1, str(error)
    if isinstance(error, json.JSONDecodeError):
        line, what = error.lineno, f"{error.msg} (column {error.colno})"
    elif isinstance(error, RecursionError):
        what = "what begins there nests too deep"
    return UserError(
        f"{path}, line {line}: is not valid JSON: {what}. Correct it there, or download the file "
        "again: it may be cut off."
    )
