"""A task card says what is wrong with it, and every card of the folder can be read."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.errors import UserError
from tools.search.card import read_card

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


def test_every_card_of_the_folder_is_read_and_the_papers_nine_are_there() -> None:
    cards = {path.stem: read_card(path) for path in CARDS}
    assert cards.keys() >= PAPER
    for card in cards.values():
        assert card.instruction == " ".join(card.instruction.split())  # one line, as users write it


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temprature": 1}, r"card.yml: `temprature`: is not a key of a task card;"),
        ({"version": None}, r"`version`: "),
        ({"instruction": ""}, r"`instruction`: "),
        ({"metric": "accuracy"}, r"`metric`: "),
        ({"tolerance": float("inf")}, r"`tolerance`: "),
        ({"split": {"train": 0, "dev": 10, "test": 5}}, r"`split.train`: "),
        ({"data": {"train": {}}}, r"`data.train`: must have one of the keys `file`, `hub` and"),
        ({"data": {"train": {"file": "a", "hub": "a/b"}}}, r"`data.train`: must have one of"),
        ({"data": {"train": {"file": "a", "row": "b"}}}, r"`data.train.row`: is not a key"),
        (
            {"data": {"train": {"hub": "a/b", "revision": "main", "split": "train"}}},
            r"`data.train.revision`: ",
        ),
        ({"data": {"train": {"hub": "a/b", "revision": "0" * 40}}}, r"`data.train.split`: is miss"),
        ({"data": {"train": {"generator": "no", "seed": 1, "rows": 1}}}, r"`data.train.generator`"),
        ({"chains": [{"input": "a", "answer": "b"}]}, r"`chains.0.reasoning`: is missing"),
        ({"definitions": "x = 1"}, r"`definitions`: .* must be Python functions and nothing else"),
        ({"definitions": "def f(:"}, r"`definitions`: .* must be Python functions"),
    ],
)
def test_faulty_card_is_refused_with_file_and_key(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_card(write(tmp_path, GOOD | change))


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "", "2024-13-01", "\x00", None])
def test_no_card_at_all(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "card.yml"
    if text is not None:
        path.write_text(text)
    what = "there is no such task card" if text is None else ""
    with pytest.raises(UserError, match=rf"card\.yml: {what}"):
        read_card(path)
