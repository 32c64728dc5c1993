"""Results are kept by key, and a damaged line costs that one result."""

from pathlib import Path

import pytest

from tools.kept import Kept


@pytest.fixture
def path(tmp_path: Path) -> Path:
    kept = Kept(tmp_path / "new/kept.jsonl")
    kept.put("a", {"text": "\ud800 naïve\n", "f1": 0.5})
    kept.put("b", [1])
    return kept.path


def test_what_is_put_is_there_again(path: Path) -> None:
    kept = Kept(path)
    assert kept.get("a") == {"text": "\ud800 naïve\n", "f1": 0.5}
    assert kept.get("b") == [1] and kept.get("c") is None


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_that_was_cut_off_costs_one_result(path: Path, cut: int) -> None:
    path.write_bytes(path.read_bytes()[:-cut])
    kept = Kept(path)
    assert kept.get("a") and kept.get("b") == ([1] if cut == 1 else None)
    kept.put("c", 3)
    again = Kept(path)
    assert again.get("a") and again.get("c") == 3


@pytest.mark.parametrize(
    "line",
    [
        '{"key": "c", "value": 1}',
        '{"key": "c", "sha256": "0", "value": 1}',
        "[]",
        "\xff",
        "[" * 9999,
    ],
)
def test_a_line_that_is_no_result_is_ignored(path: Path, line: str) -> None:
    path.write_bytes(path.read_bytes() + line.encode("latin-1") + b"\n")
    kept = Kept(path)
    assert kept.get("c") is None and kept.get("b") == [1]


def test_a_value_that_was_changed_is_ignored(path: Path) -> None:
    path.write_text(path.read_text().replace('"f1": 0.5', '"f1": 0.9'))
    assert Kept(path).get("a") is None
