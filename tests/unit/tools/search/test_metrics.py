"""What counts as the same answer, and the interval around a share."""

import sys
from pathlib import Path
from typing import Any

import pytest

from tools.errors import UserError
from tools.search.metrics import load_metric, normalise


@pytest.mark.parametrize(
    ("answer", "expected", "same"),
    [
        ("Yes.", "yes", True),
        (["bird", "Cat"], "bird cat", True),
        ("bird, cat", "bird cat", True),
        (("a", ["b", "c"]), "a b c", True),
        ("  (A) ", "A", True),
        (-3, "3", False),
        ("-3", "-3", True),
        (1.5, "15", False),
        (["cat", "bird"], "bird cat", False),
        ("catbird", "cat bird", False),
        (None, "none", False),
        ({"a": 1}, "a 1", True),
        ("+", "+", True),
        ("-", "+", False),
        (None, "+", False),
        ("", "+", False),
    ],
)
def test_exact(answer: Any, expected: str, same: bool) -> None:
    assert load_metric("exact").matches(answer, expected) is same


@pytest.mark.parametrize(
    ("answer", "expected", "same"),
    [
        (51, "51.0", True),
        ("1,234", "1234", True),
        (51.0005, "51", True),
        (51.002, "51", False),
        ("51 dollars", "51", False),
        (True, "1", False),
        ([51], "51", False),
        ("nan", "nan", False),
        (float("inf"), "51", False),
        (10**400, "51", False),
        (None, "0", False),
    ],
)
def test_numeric(answer: Any, expected: str, same: bool) -> None:
    assert load_metric("numeric", 0.001).matches(answer, expected) is same


def test_votes_are_the_same_where_answers_are() -> None:
    exact, numeric = load_metric("exact"), load_metric("numeric")
    assert numeric.matches(154884, "154884") and not numeric.matches(154885, "154884")
    assert exact.vote_key(["A", "b"]) == exact.vote_key("a b.") == "a b"
    assert exact.vote_key(None) is exact.vote_key([]) is exact.vote_key(" ") is None
    assert exact.vote_key("+") != exact.vote_key("-")
    assert numeric.vote_key(51) == numeric.vote_key("51.0")
    assert numeric.vote_key("many") is None


def test_own_metric_beside_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The `cogex` command does not look into the working folder by itself."""
    own = "def same(answer, expected):\n    return str(answer)[:1] == expected[:1]\n"
    (tmp_path / "beside_the_card.py").write_text(own)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [item for item in sys.path if item not in ("", str(tmp_path))])
    metric = load_metric("beside_the_card.same")
    assert metric.matches("abc", "axe") and not metric.matches("abc", "box")


@pytest.mark.parametrize("answer", ["a", None])
def test_own_metric_that_raises_is_one_message(answer: Any) -> None:
    metric = load_metric("math.sqrt")
    with pytest.raises(UserError, match=r"metric: math.sqrt\(.*, 'b'\): TypeError: .* also None"):
        metric.matches(answer, "b")


@pytest.mark.parametrize("name", ["no.such.module", "os.path.no_such_function", "math.pi"])
def test_metric_that_is_not_there(name: str) -> None:
    with pytest.raises(UserError, match=f"metric: {name}: "):
        load_metric(name)


def test_normalised_text_stays_as_it_is() -> None:
    for text in ("Straße 12", "a-b", "x_y", "1.5.2", " + "):
        assert normalise(normalise(text)) == normalise(text)
