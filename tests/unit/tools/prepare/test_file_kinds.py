"""Every kind of file that holds rows gives the same rows; every other is named with its remedy."""

import bz2
import csv
import gzip
import io
import json
import lzma
import pickle
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from pyarrow import parquet

from tests.unit.tools.prepare.test_cogex import make_row, read_lines
from tools.errors import UserError
from tools.prepare.cogex import prepare_cogex
from tools.prepare.source_file import read_source_file

ROWS = [make_row(i, input="größer\n\u2028 2024-01-02", id=f"2024-01-0{i + 1}") for i in range(4)]
TABLE = pyarrow.Table.from_pylist(ROWS)
JSON = json.dumps(ROWS).encode()


def written(write: Callable[[Any], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def arrow(make: Callable[..., Any]) -> bytes:
    def write(buffer: Any) -> None:
        with make(buffer, TABLE.schema) as writer:
            writer.write_table(TABLE)

    return written(write)


def packed(how: str) -> bytes:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, how) as stream:
        stream.write(JSON)
    return sink.getvalue().to_pybytes()


def zipped(members: dict[str, bytes]) -> bytes:
    def write(buffer: Any) -> None:
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)

    return written(write)


def separated(delimiter: str, rows: list[list[str]] | None = None) -> bytes:
    text = io.StringIO(newline="")
    lines = rows or [list(ROWS[0]), *(list(row.values()) for row in ROWS)]
    csv.writer(text, delimiter=delimiter).writerows(lines)
    return text.getvalue().encode()


LINES = [json.dumps(row) for row in ROWS]
KINDS: dict[str, bytes] = {
    "a.parquet": written(lambda buffer: parquet.write_table(TABLE, buffer)),
    "a.arrow": arrow(pyarrow.ipc.new_file),
    "stream.arrow": arrow(pyarrow.ipc.new_stream),
    "a.gz": gzip.compress(JSON),
    "two.gz": gzip.compress(JSON[:99]) + gzip.compress(JSON[99:]),
    "a.bz2": bz2.compress(JSON),
    "a.xz": lzma.compress(JSON),
    "a.zst": packed("zstd"),
    "a.lz4": packed("lz4"),
    "a.zip": zipped({"__MACOSX/._a": b"x", "a/": b"", "a/.DS_Store": b"x", "a/data.json": JSON}),
    "parquet.zip": zipped({"a": written(lambda buffer: parquet.write_table(TABLE, buffer))}),
    "csv.gz": gzip.compress(separated(",")),
    "a.csv": b"\xef\xbb\xbf" + separated(","),
    "excel.csv": separated(";"),
    "a.tsv": separated("\t"),
    "named.txt": separated(","),
    "one-line.jsonl": "".join(LINES).encode(),
    "commas.json": ", ".join(LINES).encode(),
    "commas-at-ends.json": (",\n".join(LINES) + ",\n").encode(),
    "indented.jsonl": "\n".join(json.dumps(row, indent=2) for row in ROWS).encode(),
    "data.json": json.dumps({"version": [1], "data": ROWS, "columns": ["a"]}).encode(),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    source = tmp_path / name.replace("named", "rows")
    source.write_bytes(KINDS[name])
    summary = prepare_cogex(source, tmp_path / "out", val_size=1)
    rows = sorted(
        (row["id"], row["input"].replace("\r\n", "\n"))
        for file in ("train.jsonl", "val.jsonl")
        for row in read_lines(tmp_path / "out" / file)
    )
    assert rows == [(f"{row['id']}\n", row["input"]) for row in ROWS]
    assert summary.rejected == 0


def test_a_folder_of_save_to_disk_is_read_and_other_folders_are_named(tmp_path: Path) -> None:
    made = datasets.Dataset.from_list(ROWS)
    made.select([2, 0]).save_to_disk(tmp_path / "saved")
    assert [row.value for row in read_source_file(tmp_path / "saved").rows()] == [ROWS[2], ROWS[0]]
    datasets.DatasetDict(train=made, test=made).save_to_disk(tmp_path / "splits")
    with pytest.raises(UserError, match=r"several splits \(test, train\)"):
        read_source_file(tmp_path / "splits")
    (tmp_path / "saved/data-00000-of-00001.arrow").write_bytes(b"x")
    with pytest.raises(UserError, match="is a damaged dataset folder"):
        read_source_file(tmp_path / "saved")
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/rows.json").touch()
    with pytest.raises(UserError, match=r"is a folder. Give the file in it.*\(it has rows.json\)"):
        read_source_file(tmp_path / "plain")


def test_a_value_that_json_cannot_hold_becomes_text(tmp_path: Path) -> None:
    row = make_row(input=date(2024, 1, 2), instruction=b"a", code_output=b"\xff")
    parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "a")
    [found] = read_source_file(tmp_path / "a").rows()
    assert (found.value["input"], found.value["instruction"]) == ("2024-01-02", "a")
    with pytest.raises(UserError, match="1 not UTF-8: code_output"):
        prepare_cogex(tmp_path / "a", tmp_path / "out", val_size=1)


def test_a_line_of_csv_with_other_cells_than_the_header_is_rejected(tmp_path: Path) -> None:
    header, *rows = [list(ROWS[0]), *(list(row.values()) for row in ROWS)]
    (tmp_path / "a.csv").write_bytes(
        separated(",", [header, rows[0], [], rows[1][:-1], [*rows[2], "x"], rows[3]])
    )
    summary = prepare_cogex(tmp_path / "a.csv", tmp_path / "out", val_size=1)
    assert (summary.kept, summary.reasons) == (2, {"not an object": 2})


NAMED: dict[str, tuple[bytes, str]] = {
    "two in a zip": (zipped({"a.json": JSON, "b.json": JSON}), r"of 2 files \(a.json, b.json\)"),
    "none in a zip": (zipped({}), "an empty zip archive"),
    "Excel": (zipped({"[Content_Types].xml": b"", "xl/a.xml": b""}), "an Office document: save"),
    "tar": (bytes(257) + b"ustar\x0000", "a tar archive: unpack it"),
    "tar.gz": (gzip.compress(bytes(257) + b"ustar  \0"), "a tar archive: unpack it"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\x04", "a 7z archive"),
    "pickle": (pickle.dumps(ROWS), "a Python pickle"),
    "SQLite": (b"SQLite format 3\0\x10", "an SQLite database"),
    "PDF": (b"%PDF-1.7\n\xff", "a PDF"),
    "half a gzip": (gzip.compress(JSON)[:60], "a damaged gzip file"),
    "half a zip": (zipped({"a": JSON})[:99], "a damaged zip file"),
    "half a zst": (packed("zstd")[:40], "a damaged zstd file|is empty|not valid JSON"),
    "half a Parquet": (KINDS["a.parquet"][:200], "a damaged Parquet file"),
    "half an Arrow": (KINDS["a.arrow"][:200], "a damaged Arrow file"),
    "half a stream": (KINDS["stream.arrow"][:200], "a damaged Arrow stream file"),
    "binary": (b"\x93\x01\x02 whatever \xff", "is no text: it begins with the bytes 93 01 02"),
    "quotes": (b'instruction,input\n"a,b\n', "is not valid CSV: unexpected end of data"),
    "columns": (b'{"instruction": {"0": "a"}}', "holds columns, not rows"),
    "two lists": (
        json.dumps({"train": ROWS, "test": ROWS}).encode(),
        r"2 arrays \(train, test\).*jq .train rows.json",
    ),
}


@pytest.mark.parametrize("name", NAMED)
def test_a_kind_that_cannot_be_read_is_named_with_its_remedy(tmp_path: Path, name: str) -> None:
    content, says = NAMED[name]
    source = tmp_path / "rows.json"
    source.write_bytes(content)
    with pytest.raises(UserError, match=says) as caught:
        prepare_cogex(source, tmp_path / "out", val_size=1)
    assert str(source) in str(caught.value)
    assert "Latin-1" not in str(caught.value) and "UTF-16" not in str(caught.value)
    assert not (tmp_path / "out").exists()
