"""Every kind of file that holds rows gives the same rows; every other gets one message."""

import bz2
import csv
import gzip
import io
import json
import lzma
import math
import tempfile
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from tools.errors import UserError
from tools.prepare.source_file import DoubledKey, read_source_file

ROWS = [
    {"id": f"2024-01-0{number}", "instruction": "größer\n\u2028", "output": "2024-01-02"}
    for number in range(1, 4)
]
TABLE = pyarrow.Table.from_pylist(ROWS)
JSON = json.dumps(ROWS).encode()
LINES = [json.dumps(row) for row in ROWS]


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


def separated(delimiter: str) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows([[*ROWS[0]], *(row.values() for row in ROWS)])
    return text.getvalue().encode()


PARQUET = written(lambda buffer: parquet.write_table(TABLE, buffer))
KINDS: dict[str, bytes] = {
    "a.parquet": PARQUET,
    "a.arrow": arrow(pyarrow.ipc.new_file),
    "stream.arrow": arrow(pyarrow.ipc.new_stream),
    "two.gz": gzip.compress(JSON[:99]) + gzip.compress(JSON[99:]),
    "a.bz2": bz2.compress(JSON),
    "a.xz": lzma.compress(JSON),
    "a.zst": packed("zstd"),
    "a.lz4": packed("lz4"),
    "a.zip": zipped({"__MACOSX/._a": b"x", "a/": b"", "a/.DS_Store": b"x", "a/data.json": JSON}),
    "parquet.zip": zipped({"a": PARQUET}),
    "csv.csv.gz": gzip.compress(separated(",")),
    "a.csv": b"\xef\xbb\xbf" + separated(","),
    "excel.csv": separated(";"),
    "a.tsv": separated("\t"),
    "array.json": f"\ufeff[\r\n{',\r\n'.join(LINES)}\r\n]\r\n".encode(),
    "lines.jsonl": ("\n" + "\r\n\n  ".join(LINES)).encode(),
    "one-line.jsonl": "".join(LINES).encode(),
    "commas.json": (",\n".join(LINES) + ",\n").encode(),
    "indented.jsonl": "\n".join(json.dumps(row, indent=2) for row in ROWS).encode(),
    "data.json": json.dumps({"version": [1], "data": ROWS, "columns": ["a"]}).encode(),
}


def read(folder: Path, content: bytes, name: str = "rows.json") -> list[Any]:
    (folder / name).write_bytes(content)
    return read_source_file(folder / name).rows


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, KINDS[name], name) == ROWS


def test_a_folder_of_save_to_disk_is_read_and_other_folders_are_named(tmp_path: Path) -> None:
    made = datasets.Dataset.from_list(ROWS)
    made.select([2, 0]).save_to_disk(tmp_path / "saved")
    assert read_source_file(tmp_path / "saved").rows == [ROWS[2], ROWS[0]]
    datasets.DatasetDict(train=made, test=made).save_to_disk(tmp_path / "splits")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/state.json").write_text("{")
    for name in ("splits", "damaged", ""):
        with pytest.raises(UserError, match=r"is a folder, .*Give the file in it"):
            read_source_file(tmp_path / name)


def test_values_that_json_cannot_hold_become_text(tmp_path: Path) -> None:
    row = {"a": date(2024, 1, 2), "b": b"a", "c": b"\xff", "d": math.inf}
    content = written(lambda buffer: parquet.write_table(pyarrow.Table.from_pylist([row]), buffer))
    [found] = read(tmp_path, content)
    assert found == {"a": "2024-01-02", "b": "a", "c": "\udcff", "d": math.inf}


def test_a_line_of_csv_with_other_cells_than_the_header_is_no_object(tmp_path: Path) -> None:
    rows = read(tmp_path, b"a,b\n1,2\n\n3\n4,5,6\n7,8\n", "a.csv")
    assert rows == [{"a": "1", "b": "2"}, ["3"], ["4", "5", "6"], {"a": "7", "b": "8"}]


@pytest.mark.parametrize(
    ("text", "doubled"),
    [
        ('{"a": 1, "a": 2}', True),
        ('{"a": {"x": 1, "x": 2}}', True),
        ('{"a": {"x": 1}, "x": 2}', False),
    ],
)
def test_a_doubled_key_is_seen(tmp_path: Path, text: str, doubled: bool) -> None:
    assert isinstance(read(tmp_path, f"[{text}]".encode())[0], DoubledKey) is doubled


def test_a_row_alone_is_no_object_around_its_input(tmp_path: Path) -> None:
    row = {"instruction": "a", "input": ROWS}
    assert read(tmp_path, json.dumps(row).encode()) == [row]


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "holds no rows"),
    "byte order mark alone": (b"\xef\xbb\xbf \n", "holds no rows"),
    "empty array": (b"[ ]", "holds no rows"),
    "web page": (b"\n<!DOCTYPE html><html>", "is a web page"),
    "git-lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid 1", "git lfs pull"),
    "UTF-16": (LINES[0].encode("utf-16"), "neither text in UTF-8 .* 0x00 at offset 3"),
    "UTF-16 without mark": (LINES[0].encode("utf-16-le"), "0x00 at offset 1, line 1"),
    "Latin-1": ('[\n"Größe"]'.encode("latin-1"), "0xf6 at offset 5, line 2"),
    "tar": (b"rows.json" + bytes(300), "0x00 at offset 9"),
    "plain text": (b"instructions follow", r"line 1: is not valid JSON: Expecting value \(column"),
    "two arrays": (
        json.dumps({"train": ROWS, "test": ROWS}).encode(),
        r"2 arrays \(train, test\).*jq .train rows.json",
    ),
    "cut in a row": (f"[{LINES[0]},\n{LINES[0][:40]}".encode(), "line 2: .*it may be cut off"),
    "cut after a row": (f"[\n{LINES[0]}\n".encode(), "line 3: is not valid JSON: Expecting ','"),
    "comma missing": (f"[{LINES[0]}\n{LINES[1]}]".encode(), r"line 2: .*\(column 1\)"),
    "broken line": (f"{LINES[0]}\n\n{LINES[0][:-5]}\n{LINES[1]}\n".encode(), "line 3: "),
    "text behind a row": (f"{LINES[0]}\n{LINES[1]} x\n".encode(), "line 2: .*Expecting value"),
    "nested": (f"{LINES[0]}\n".encode() + b'{"a":' * 100_000, "line 2: .* nests too deep"),
    "long number": (f'[1,\n{"9" * 5000}]'.encode(), "is not valid JSON: Exceeds the limit"),
    "two in a zip": (zipped({"a.json": JSON, "b.json": JSON}), r"of 2 files \(a.json, b.json\)"),
    "workbook": (zipped({"[Content_Types].xml": b"", "xl/a.xml": b""}), "save the sheet as CSV"),
    "half a gzip": (gzip.compress(JSON)[:60], "a damaged gzip file"),
    "half a zip": (zipped({"a": JSON})[:99], "a damaged zip file"),
    "half a Parquet": (PARQUET[:200], "a damaged Parquet file"),
    "half an Arrow": (KINDS["a.arrow"][:200], "a damaged Arrow file"),
    "half a stream": (KINDS["stream.arrow"][:200], "a damaged Arrow stream file"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_gets_one_message(tmp_path: Path, name: str) -> None:
    content, says = BAD[name]
    with pytest.raises(UserError, match=says) as caught:
        read(tmp_path, content)
    assert str(tmp_path / "rows.json") in str(caught.value)
    assert len(str(caught.value)) < 400


def test_bad_quotes_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 2: is not valid CSV: unexpected end of data"):
        read(tmp_path, b'a,b\n"c,d\n', "a.csv")
    with pytest.raises(UserError, match="there is no such file; download it"):
        read_source_file(tmp_path / "none")


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    content = b'{"rows": [{"instruction": "[a] {b}", "input": [true, {"c": -1.5e3}], "output": 1}]}'
    for end in range(1, len(content)):
        with pytest.raises(UserError, match="is not valid JSON"):
            read(tmp_path, content[:end])


@given(content=st.binary(max_size=60) | st.text('[]{}",:\\ \n01eN-tu', max_size=40).map(str.encode))
@settings(max_examples=60, deadline=None)
def test_hostile_bytes_are_read_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            assert read(Path(folder), content)
        except UserError as error:
            assert "rows.json" in str(error)
