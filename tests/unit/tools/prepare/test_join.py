"""Joined folders: quotas, duplicates, what is kept away from training, one kind of rows."""

import json
from pathlib import Path
from typing import Any

import pytest

from tools.errors import UserError
from tools.files import sha256
from tools.prepare.folder import write_folder
from tools.prepare.join import FILES, join


def _row(asked: str, answer: str = "1", name: str = "") -> dict[str, str]:
    code = "def f():\n    return g()\n\n>>> f()"
    given = {"id": name or asked, "instruction": asked, "input": ""}
    return {**given, "code": code, "output": f"{{'answer': {answer}}}", "family": "made"}


def _folder(
    path: Path, train: list[Any], val: list[Any], unseen: list[Any], kind: str = "cogex"
) -> str:
    files = {name: rows for name, rows in zip(FILES, (train, val, unseen), strict=True) if rows}
    write_folder(path, files, {"format": kind}, hashed=list(files))
    return str(path)


def told_counts(manifest: dict[str, Any]) -> tuple[int, ...]:
    names = ("read", "train", "val", "unseen", "rejected", "not_drawn")
    return tuple(manifest[name] for name in names)


def _read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def parts(tmp_path: Path) -> list[str]:
    a = [_row(f"a{n}") for n in range(20)]
    b = [_row("a0", name="again"), _row("a1", "2"), _row("v1"), _row("u"), _row("a2", "3", "a3")]
    return [
        _folder(tmp_path / "a", a, [_row(f"v{n}") for n in range(10)], []),
        _folder(tmp_path / "b", b, [_row("w"), _row("v0"), _row("u", "5")], [_row("u")]),
    ]


def test_all_rows_are_joined_and_what_is_kept_away_is_not_trained_on(
    parts: list[str], tmp_path: Path
) -> None:
    manifest = join(parts, tmp_path / "out")
    train, val, unseen = (_read(tmp_path / "out" / name) for name in FILES)
    assert [row["id"] for row in train] == [f"a{n}" for n in range(20)] + ["a1-20", "a3-21"]
    assert [row["id"] for row in val] == [*(f"v{n}" for n in range(10)), "w"]
    assert [row["instruction"] for row in unseen] == ["u"] and train[0]["family"] == "made"
    told = {(Path(line["file"]).stem, line["row"]["id"]): line["reason"]
            for line in _read(tmp_path / "out" / "rejected.jsonl")}  # fmt: skip
    assert told == {
        ("val", "v0"): "duplicate of v0",
        ("val", "u"): "its task is in unseen.jsonl",
        ("train", "again"): "duplicate of a0",
        ("train", "v1"): "its task is in val.jsonl",
        ("train", "u"): "its task is in unseen.jsonl",
    }
    assert told_counts(manifest) == (39, 22, 11, 1, 5, 0)


def test_a_quota_draws_by_seed_and_validation_in_proportion(
    parts: list[str], tmp_path: Path
) -> None:
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        made = join([f"{parts[0]}:10", parts[1]], tmp_path / name, seed=seed)
    train = {name: _read(tmp_path / name / "train.jsonl") for name in ("one", "same", "other")}
    assert train["one"] == train["same"] != train["other"]
    assert told_counts(made) == (39, 12, 6, 1, 5, 15)
    manifest = json.loads((tmp_path / "one" / "manifest.json").read_text())
    first = manifest["parts"][0]
    assert first["taken"] == {"train": 10, "val": 5}
    assert first["rows"] == {"train": 20, "val": 10}
    assert first["sha256"]["train.jsonl"] == sha256(Path(parts[0]) / "train.jsonl")
    assert manifest["sha256"]["unseen.jsonl"] == sha256(tmp_path / "one" / "unseen.jsonl")


def test_what_cannot_be_joined_is_told(parts: list[str], tmp_path: Path) -> None:
    other = _folder(tmp_path / "c", [_row("c")], [_row("d")], [], kind="alpaca")
    for inputs, said in (
        ([parts[0], other], "alpaca"),
        ([f"{parts[0]}:21"], "20 rows"),
        ([f"{parts[0]}:0"], "1 row or more"),
        ([str(tmp_path / "none")], "no such file"),
    ):
        with pytest.raises(UserError, match=said):
            join(inputs, tmp_path / "out")
    with pytest.raises(UserError, match="overwritten"):
        join(parts, Path(parts[1]))
    assert not (tmp_path / "out").exists()
