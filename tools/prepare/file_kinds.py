"""Tells a file's kind by its first bytes: unpacks it, reads its table, or says what to do with it.

Packed files (gzip, bzip2, xz, zstd, lz4, a zip of one file) are unpacked. Parquet, Arrow (file,
stream, the folder of `save_to_disk`), CSV and TSV become JSON lines, so that all that follows reads
one kind. Other kinds that people hold are named.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Any

from tools.errors import UserError

_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
}
_TABLES = {b"PAR1": "Parquet", b"ARROW1": "Arrow", b"\xff\xff\xff\xff": "Arrow stream"}
_SAVE = "save the rows as JSON lines where you made it"
# who cannot be read here, and what to do
_NAMED = {
    b"PK\x05\x06": ("an empty zip archive", "make or download it again"),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "unpack it (7z x) and give the file in it"),
    b"Rar!": ("a RAR archive", "unpack it (unrar x) and give the file in it"),
    b"SQLite format 3": ("an SQLite database", "export its table as CSV (sqlite3 -header -csv)"),
    b"\x80\x02": ("a Python pickle", _SAVE),
    b"\x80\x03": ("a Python pickle", _SAVE),
    b"\x80\x04": ("a Python pickle", _SAVE),
    b"\x80\x05": ("a Python pickle", _SAVE),
    b"ORC": ("an ORC file", _SAVE),
    b"Obj\x01": ("an Avro file", _SAVE),
    b"\x89HDF": ("an HDF5 file", _SAVE),
    b"\x93NUMPY": ("a NumPy array", _SAVE),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", "save its sheet as CSV in UTF-8"),
    b"%PDF": ("a PDF", "give the dataset's own file"),
    b"\x89PNG": ("a picture", "give the dataset's own file"),
    b"\xff\xd8\xff": ("a picture", "give the dataset's own file"),
}
_BESIDE = re.compile(r"/$|^__MACOSX/|(?:^|/)\.")  # in a zip: folders and what systems add
_BROKEN = (
    OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zlib.error, lzma.LZMAError,
    zipfile.BadZipFile,
)  # fmt: skip


def unpacked(path: Path, data: bytes) -> tuple[str, bytes]:
    """Return the name and the bytes of what a file holds, unpacked where it is packed.

    Raises UserError if it is damaged, holds several files, or is of a kind that cannot be read.
    """
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
    if named := _starts(_NAMED, data):
        raise UserError(f"{path} is {named[0]}, not rows: {named[1]}.")
    if data[257:262] == b"ustar":
        raise UserError(f"{path} is a tar archive: unpack it (tar xf) and give the file in it.")
    return name, data


def _starts(kinds: dict[bytes, Any], data: bytes) -> Any:
    return next((kind for start, kind in kinds.items() if data.startswith(start)), None)


def _decompressed(how: str, data: bytes) -> bytes:
    if how in ("zstd", "lz4"):
        import pyarrow  # type: ignore[import-untyped]

        with pyarrow.input_stream(pyarrow.py_buffer(data), compression=how) as stream:
            return bytes(stream.read())
    return {"gzip": gzip.decompress, "bz2": bz2.decompress, "xz": lzma.decompress}[how](data)


def _only_member(path: Path, data: bytes) -> tuple[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [name for name in archive.namelist() if not _BESIDE.search(name)]
        if "[Content_Types].xml" in names:
            raise UserError(f"{path} is an Office document: save its sheet as CSV in UTF-8.")
        if len(names) != 1:
            raise UserError(
                f"{path} is a zip archive of {len(names)} files ({', '.join(names[:5])}): unpack "
                "it and give the one that holds the rows."
            )
        return names[0], archive.read(names[0])


def as_json_lines(path: Path, data: bytes) -> str | None:
    """Return a table's rows as JSON lines; None for another kind of file.

    Raises UserError if the table is damaged.
    """
    if kind := _starts(_TABLES, data):
        try:
            return _json_lines(_table_rows(kind, data))
        except Exception as error:  # Arrow raises its own, and OSError
            what = " ".join(str(error).split())[:200]
            raise UserError(
                f"{path}: is a damaged {kind} file: {what}. Make or download it again."
            ) from None
    return None


def _table_rows(kind: str, data: bytes) -> Iterable[Any]:
    import pyarrow
    from pyarrow import parquet

    source = pyarrow.BufferReader(data)
    if kind == "Parquet":
        return parquet.read_table(source).to_pylist()
    reader = pyarrow.ipc.open_file if kind == "Arrow" else pyarrow.ipc.open_stream
    return reader(source).read_all().to_pylist()


def folder_json_lines(path: Path) -> str:
    """Return the rows of a folder of `save_to_disk` as JSON lines.

    Raises UserError for any other folder.
    """
    if (path / "dataset_dict.json").is_file():
        splits = ", ".join(sorted(item.name for item in path.iterdir() if item.is_dir()))
        raise UserError(f"{path} holds several splits ({splits}). Give the folder of one of them.")
    if not (path / "state.json").is_file():
        files = sorted(item.name for item in path.iterdir() if item.is_file())[:5]
        raise UserError(
            f"{path} is a folder. Give the file in it that holds the rows"
            + (f" (it has {', '.join(files)})." if files else ", such as data.json.")
        )
    from datasets import load_from_disk

    try:
        return _json_lines(load_from_disk(str(path)).with_format("arrow")[:].to_pylist())
    except Exception as error:  # Arrow and datasets raise their own
        what = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: is a damaged dataset folder: {what}. Save it again.") from None


def csv_json_lines(path: Path, name: str, text: str) -> str | None:
    """Return the rows of CSV or TSV as JSON lines; None if neither name nor first line says CSV.

    A line with more or fewer cells than the header becomes a list, which is no row.
    Raises UserError if the quotes are unbalanced.
    """
    header = text.partition("\n")[0]
    separator = max("\t,;", key=header.count)
    is_named = PurePath(name).suffix.lower() in (".csv", ".tsv")
    names = [cell.strip().strip('"') for cell in header.split(separator)]
    if not is_named and (text[:1] in "[{" or len(names) < 2 or "instruction" not in names):
        return None
    csv.field_size_limit(1 << 30)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        columns, *rows = (line for line in lines if line)
    except csv.Error as error:
        raise UserError(
            f"{path}, line {lines.line_num}: is not valid CSV: {error}. Correct its quotes."
        ) from None
    except ValueError:
        raise UserError(f"{path} holds no line of a table. Make or download it again.") from None
    return _json_lines(
        dict(zip(columns, row, strict=True)) if len(row) == len(columns) else row for row in rows
    )


def _json_lines(rows: Iterable[Any]) -> str:
    return "\n".join(json.dumps(row, ensure_ascii=False, default=_as_text) for row in rows)


def _as_text(value: Any) -> str:
    """Return what JSON cannot hold (a date, a Decimal, bytes) as text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")  # a lone surrogate is refused, as not UTF-8
    return str(value)
