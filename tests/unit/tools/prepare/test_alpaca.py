"""Preparing Alpaca: what is its own; the rest is shared with CoGEX and tested there."""

import json
from pathlib import Path
from typing import Any

import pytest

from prompt_strategies.alpaca_layout import LAYOUT_VERSION, render_completion, render_prompt
from tools.errors import UserError
from tools.prepare.alpaca import prepare_alpaca
from tools.prepare.pipeline import CHARACTERS_PER_TOKEN


def make_row(number: int = 0, /, **changes: Any) -> dict[str, Any]:
    """A row as the hub has it; a change to `...` leaves the field out."""
    row = {
        "instruction": f"Name animal {number}.",
        "input": "",
        "output": "A wolf.",
        "text": "Below is an instruction …",
    }
    return {key: value for key, value in (row | changes).items() if value is not ...}


def read_lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def prepare(folder: Path, rows: list[Any], **options: Any) -> dict[str, Any]:
    """Prepare `rows` into `folder`/out, with an empty validation set unless told."""
    source = folder / "alpaca_data.json"
    source.write_text(json.dumps(rows), encoding="utf-8")
    return prepare_alpaca(source, folder / "out", **({"val_size": 0} | options))


def test_a_row_keeps_its_text_and_loses_the_field_text(tmp_path: Path) -> None:
    rows = [make_row(input=" a\n b ", output="\r\n  Two\r\n\nlines.\n \n"), make_row(1, input=...)]
    summary = prepare(tmp_path, rows)
    first = {"instruction": "Name animal 0.", "input": " a\n b ", "output": "  Two\n\nlines."}
    second = {"instruction": "Name animal 1.", "input": "", "output": "A wolf."}
    expected = [{"id": "row-0", **first}, {"id": "row-1", **second}]
    assert read_lines(tmp_path / "out/train.jsonl") == expected
    assert summary["normalised"] == 1
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert (manifest["format"], manifest["layout_version"]) == ("alpaca", LAYOUT_VERSION)


def test_an_unusable_row_is_rejected(tmp_path: Path) -> None:
    odd = {
        "empty: output": make_row(1, output=" \n"),
        "missing: output": make_row(2, output=...),
        "wrong type: output": make_row(3, output={"answer": 1}),
        "empty: instruction": make_row(4, instruction=""),
    }
    prepare(tmp_path, [make_row(0), *odd.values()])
    assert read_lines(tmp_path / "out/rejected.jsonl") == [
        {"index": index, "reason": reason, "row": row}
        for index, (reason, row) in enumerate(odd.items(), 1)
    ]


def test_rows_of_cogex_are_refused(tmp_path: Path) -> None:
    row = make_row(output=..., code_prompt=">>> f()", code_output="{'answer': 1}")
    with pytest.raises(UserError, match=r"missing: output.*instruction, input and output"):
        prepare(tmp_path, [row])
    assert not (tmp_path / "out").exists()


def test_length_is_that_of_alpacas_text(tmp_path: Path) -> None:
    length = len(render_prompt("Name animal 0.") + render_completion("A wolf."))
    room = -length % CHARACTERS_PER_TOKEN
    rows = [make_row(output="A wolf." + "!" * extra) for extra in (room, room + 1)]
    prepare(tmp_path, rows, sequence_len=(length + room) // CHARACTERS_PER_TOKEN)
    assert [row["index"] for row in read_lines(tmp_path / "out/flagged.jsonl")] == [1]
