"""Spoilt rows and prepared files: refused in one message, or right."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_strategies import tokenise
from prompt_strategies.alpaca import AlpacaStrategy
from prompt_strategies.cogex import CogexStrategy
from tests.unit.properties.conftest import ROOT
from tests.unit.properties.mutations import (
    FRAGMENTS,
    examples,
    mutated,
    no_traceback,
    rewritten,
    spoilt,
)
from tools.files import sha256
from tools.models import load_recipe_tokenizer
from tools.prepare.alpaca import prepare_alpaca
from tools.prepare.cogex import prepare_cogex
from tools.prepared_rows import read_prepared_rows
from tools.recipe import Recipe, read_recipe
from tools.tiny.corpus import write_cogex_rows
from validation.preflight.data import check_data
from validation.preflight.engine_rows import check_engine_rows
from validation.preflight.tokenized import Tokenized, tokenize
from validation.preflight.tokens import check_tokens

SAMPLE = json.loads((ROOT / "data/sample/data.json").read_text())
DATA = Path("data/tiny")
SPLITS = ("train.jsonl", "val.jsonl")


@examples(15)
@given(data=st.data())
def test_published_row_is_kept_as_strings_or_rejected(data: st.DataObject) -> None:
    rows = [
        row if number % 3 else data.draw(mutated(row)) for number, row in enumerate(SAMPLE[:16])
    ]
    text = json.dumps(rows).encode()
    if data.draw(st.integers(0, 9)) == 0:
        text = data.draw(spoilt(text))
    source, out = Path("rows.json"), Path("rows")
    source.write_bytes(text)
    with no_traceback():
        summary = prepare_cogex(source, out, val_size=2)
        kept = [row for name in SPLITS for row in read_prepared_rows(out / name)]
        assert all(type(row[field]) is str for row in kept for field in CogexStrategy.columns)
        rejected = (out / "rejected.jsonl").read_text().count("\n")
        assert summary["source"]["rows"] == len(kept) + rejected


# what a reader that guesses types would guess: dates alone in a column, or numbers, lists, nulls
DATES = st.sampled_from(
    ["2024-01-02", "2024-01-02T10", "2023-05-01 10:11", "2024-01-02T10:11:12.123+02:00",
     "9999-12-31T00:00:00Z", "2024-01-02\n", "2024-01-02\n\n", "2024-02-30", "2024-01-02Z\n"]
)  # fmt: skip
GUESSED = [
    DATES,
    st.datetimes().map(str),
    st.dates().map(str),
    st.integers().map(str),
    st.sampled_from(["true", "null", "[1]", '{"a": 1}', "nan", "1e5"]),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip),
]


@examples(30)
@given(data=st.data())
def test_the_engine_reads_back_each_text_that_prepare_has_written(data: st.DataObject) -> None:
    texts = data.draw(st.sampled_from(GUESSED))
    given = [
        {"id": f"{number}", "instruction": data.draw(texts), "input": data.draw(texts)}
        | {"output": data.draw(texts).strip("\n") or "x"}
        for number in range(data.draw(st.integers(2, 6)))
    ]
    Path("rows.json").write_text(json.dumps(given))
    prepare_alpaca(Path("rows.json"), Path("rows"), val_size=0)
    rows = read_prepared_rows(Path("rows/train.jsonl"), AlpacaStrategy.columns)
    wanted = [{key: text.replace("\r\n", "\n") for key, text in row.items()} for row in given]
    assert [row["input"] for row in rows] == [row["input"] for row in wanted]
    entry = {"path": "rows/train.jsonl", "ds_type": "json"}
    verdict = check_engine_rows(entry, AlpacaStrategy, rows)
    assert verdict.verdict == "ok", verdict.found


@pytest.fixture(scope="module")
def recipe(folder: Path) -> Recipe:
    """The tiny recipe with 36 rows, 12 of them for validation."""
    (folder / "models").symlink_to(ROOT / "models")
    write_cogex_rows(DATA / "data.json", 36, 42)
    prepare_cogex(DATA / "data.json", DATA, val_size=12)
    shutil.copytree(DATA, "whole")
    text = (ROOT / "recipes/cogex-tiny.yml").read_text()
    path = folder / "recipe.yml"
    path.write_text(text.replace("validation_rows: 144", "validation_rows: 12"))
    return read_recipe(path)


@examples(15)
@given(data=st.data())
def test_prepared_rows_called_sound_are_apart_and_encoded_without_loss(
    recipe: Recipe, data: st.DataObject
) -> None:
    shutil.copytree("whole", DATA, dirs_exist_ok=True)
    tokenizer = load_recipe_tokenizer(recipe)
    name = data.draw(st.sampled_from([*SPLITS * 3, "manifest.json"]))
    whole = (DATA / name).read_bytes()
    if data.draw(st.integers(0, 9)) == 0:
        changed = data.draw(spoilt(whole))
    elif name == "manifest.json":
        changed = json.dumps(data.draw(mutated(json.loads(whole)))).encode()
    else:
        changed = data.draw(spoilt_line(whole.decode()))
    (DATA / name).write_bytes(changed)
    if name != "manifest.json" and data.draw(st.integers(0, 4)):
        seal()
    with no_traceback():
        both = tokenize(recipe, tokenizer)
        found = check_data(recipe, both) + check_tokens(recipe, tokenizer, both)
        json.dumps([vars(item) for item in found], allow_nan=False)
        if all(item.verdict != "fail" for item in found):
            assert_sound(both, tokenizer)


@st.composite
def spoilt_line(draw: st.DrawFn, text: str) -> bytes:
    """Draw prepared rows of which one is changed, or stands there twice."""
    lines = text.split("\n")[:-1]
    at = draw(st.integers(0, len(lines) - 1))
    row = json.loads(lines[at])
    act = draw(st.sampled_from(["row", "twice", "line", *["field"] * 6]))
    if act == "row":
        lines[at] = json.dumps(draw(mutated(row)))
    elif act == "twice":
        place = draw(st.integers(0, len(lines)))
        lines.insert(place, json.dumps(draw(mutated(row)) | {"id": row["id"]}))
    elif act == "line":
        lines[at] = draw(rewritten(lines[at], lines))
    else:
        field = draw(st.sampled_from(CogexStrategy.columns))
        lines[at] = json.dumps(row | {field: draw(rewritten(row[field], [*FRAGMENTS, "\ud800"]))})
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")


def seal() -> None:
    """Put the files' hashes into the manifest, so that a check looks further than at those."""
    manifest = json.loads((DATA / "manifest.json").read_text())
    manifest["sha256"] = {name: sha256(DATA / name) for name in SPLITS}
    (DATA / "manifest.json").write_text(json.dumps(manifest))


def assert_sound(both: Tokenized, tokenizer: Any) -> None:
    """Read the files once more, without the project's readers."""
    names, tasks = [], []
    for split in (both.train, both.val):
        rows = [json.loads(line) for line in split.path.read_text().split("\n") if line.strip()]
        assert len(rows) == len(split.rows) == len(split.input_ids)
        names += [row["id"] for row in rows]
        tasks.append({(row["instruction"], row["input"]) for row in rows})
        for row, ids, labels in zip(rows, split.input_ids, split.labels, strict=True):
            assert all(type(row[field]) is str for field in CogexStrategy.columns)
            assert tokenise.decode(tokenizer, ids.tolist()).startswith(
                f"### Instruction\n{row['instruction']}\n### Input\n{row['input']}\n### Code\n"
            )
            assert ids[-1] == labels[-1] == tokenizer.eos_token_id
            assert (ids == tokenizer.eos_token_id).sum() == 1
    assert len(set(names)) == len(names) and not tasks[0] & tasks[1]
