"""Rows that need knowledge: counts, what is held out, true outputs, the same bytes twice."""

import json
from pathlib import Path
from typing import Any

import pytest

from tools.errors import UserError
from tools.files import sha256
from tools.knowledge.families import read_families
from tools.prepare.knowledge import prepare_knowledge

HELD_OUT = {family.name for family in read_families() if family.held_out}
PROGRAMS = {p.source: p for family in read_families() for p in family.programs}
SIZES = {"rows_per_family": 8, "val_per_family": 2, "unseen_per_family": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("knowledge")
    prepare_knowledge(folder, **SIZES)
    return folder


def _read(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def test_held_out_families_are_in_unseen_alone(folder: Path) -> None:
    train, val, unseen = (_read(folder, name) for name in ("train", "val", "unseen"))
    assert {row["family"] for row in unseen} == HELD_OUT
    assert {row["family"] for row in train} == {row["family"] for row in val}
    assert HELD_OUT.isdisjoint(row["family"] for row in train)
    seen = len(read_families()) - len(HELD_OUT)
    assert (len(train), len(val), len(unseen)) == (8 * seen, 2 * seen, 3 * len(HELD_OUT))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["train"], manifest["val"], manifest["unseen"]) == (8 * seen, 2 * seen, 45)
    assert manifest["families"]["rhyme"] == {"unseen": 3}
    ids = [row["id"] for row in (*train, *val, *unseen)]
    assert len(set(ids)) == len(ids)


def test_validation_asks_about_other_items(folder: Path) -> None:
    for family in ("capital", "plural", "definition"):
        outputs = {
            name: [eval(row["output"])["answer"] for row in _read(folder, name)
                   if row["family"] == family]
            for name in ("train", "val")
        }  # fmt: skip
        flat = {
            name: {word for answer in answers for word in ([answer], answer)[type(answer) is list]}
            for name, answers in outputs.items()
        }
        assert flat["train"] and flat["train"].isdisjoint(flat["val"]), family


def test_each_output_is_what_the_program_returns(folder: Path) -> None:
    for row in (*_read(folder, "train"), *_read(folder, "unseen")):
        source, _, call = row["code"].rpartition("\n\n>>> ")
        scope = PROGRAMS[source].scope
        assert repr(eval(call, scope)) == row["output"], row["id"]


def test_same_seed_same_bytes(folder: Path, tmp_path: Path) -> None:
    prepare_knowledge(tmp_path / "again", **SIZES)
    prepare_knowledge(tmp_path / "other", **SIZES, seed=1)
    for name in ("train.jsonl", "val.jsonl", "unseen.jsonl", "manifest.json"):
        assert sha256(tmp_path / "again" / name) == sha256(folder / name)
        assert sha256(tmp_path / "other" / name) != sha256(folder / name)


def test_used_up_items_are_counted_and_never_repeat_validation(tmp_path: Path) -> None:
    manifest = prepare_knowledge(tmp_path, rows_per_family=200)
    assert manifest["families"]["speech_act"]["train"] == 25 * 4  # items and wordings
    assert manifest["train"] == sum(each.get("train", 0) for each in manifest["families"].values())
    train, val = (
        {(row["family"], row["code"].partition(">>> ")[2]) for row in _read(tmp_path, name)}
        for name in ("train", "val")
    )
    assert train.isdisjoint(val)
    with pytest.raises(UserError, match="1 or more"):
        prepare_knowledge(tmp_path, rows_per_family=0)
