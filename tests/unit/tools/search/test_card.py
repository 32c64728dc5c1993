"""A task card says what is wrong with it, and every card of the folder can be read."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.errors import UserError
from tools.search.card import HubSource, read_card

CARDS = sorted((Path(__file__).parents[4] / "tasks").glob("*.yml"))
PAPER = {"cola", "emotion", "sst2", "coin", "word_sorting", "sum", "svamp", "csqa", "siqa"}

GOOD: dict[str, Any] = {
    "version": 1,
    "instruction": "Add.",
    "data": {"train": {"generator": "sum", "seed": 1, "rows": 30}},
    "input": "{{ input }}",
    "answer": "{{ target }}",
    "split": {"train": 5, "dev": 10, "test": 5},
}


def write(folder: Path, card: Any) -> Path:
    path = folder / "card.yml"
    path.write_text(yaml.safe_dump(card))
    return path


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_card_can_be_read(path: Path) -> None:
    card = read_card(path)
    assert card.instruction == " ".join(card.instruction.split())  # one line, as users write it


def test_the_papers_nine_tasks_are_there() -> None:
    assert {path.stem for path in CARDS} >= PAPER


def test_hub_data_is_pinned() -> None:
    for path in CARDS:
        for source in (read_card(path).data.train, read_card(path).data.test):
            if isinstance(source, HubSource):
                assert len(source.revision) == 40


def test_good_card(tmp_path: Path) -> None:
    assert read_card(write(tmp_path, GOOD)).split.seed == 42


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temprature": 1}, r"card.yml: `temprature`: is no key of a task card;"),
        ({"version": None}, r"`version`: "),
        ({"instruction": ""}, r"`instruction`: "),
        ({"metric": "accuracy"}, r"`metric`: "),
        ({"tolerance": -1}, r"`tolerance`: "),
        ({"tolerance": float("inf")}, r"`tolerance`: "),
        ({"split": {"train": 5, "dev": 10}}, r"`split.test`: is missing"),
        ({"split": {"train": 0, "dev": 10, "test": 5}}, r"`split.train`: "),
        ({"data": {"train": {}}}, r"`data.train`: must have one of the keys `file`, `hub` and"),
        ({"data": {"train": {"file": "a", "hub": "a/b"}}}, r"`data.train`: must have one of"),
        ({"data": {"train": {"file": "a", "row": "b"}}}, r"`data.train.row`: is no key"),
        (
            {"data": {"train": {"hub": "a/b", "revision": "main", "split": "train"}}},
            r"`data.train.revision`: ",
        ),
        ({"data": {"train": {"hub": "a/b", "revision": "0" * 40}}}, r"`data.train.split`: is miss"),
        ({"data": {"train": {"generator": "no", "seed": 1, "rows": 1}}}, r"`data.train.generator`"),
        ({"extra": 1, "another": 2}, r"\(and 1 more\)"),
    ],
)
def test_faulty_card_is_refused_with_file_and_key(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_card(write(tmp_path, GOOD | change))


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "", "2024-13-01", "\x00"])
def test_no_card_at_all(tmp_path: Path, text: str) -> None:
    path = tmp_path / "card.yml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"card\.yml: "):
        read_card(path)


def test_card_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such task card"):
        read_card(tmp_path / "card.yml")
