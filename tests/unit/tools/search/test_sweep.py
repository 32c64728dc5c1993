"""A sweep reads off tables what smaller searches would have found."""

import json
from typing import Any

import numpy as np
import pytest

from tools.search.sweep import CRITERIA, DRAWS, Tables, sweep


def tables(accuracies: Any, rows: tuple[int, int, int] = (60, 300, 400), seed: int = 0) -> Tables:
    """Candidates that are right on so many rows, one for each training row or two."""
    rng = np.random.default_rng(seed)
    shares = np.array(accuracies)[:, None]
    train, dev, test = ((rng.random((len(shares), size)) < shares).astype(np.int8) for size in rows)
    return Tables(train, dev, test, [row % len(shares) for row in range(rows[0])])


def point(swept: dict[str, Any], criterion: str, candidates: int, dev_rows: int) -> dict[str, Any]:
    [found] = [
        item
        for item in swept["points"]
        if (item["criterion"], item["candidates"], item["dev_rows"])
        == (criterion, candidates, dev_rows)
    ]
    return found


def test_the_largest_point_is_the_search_itself_and_has_no_spread() -> None:
    made = tables(np.linspace(0.2, 0.9, 40))
    swept = sweep(made, 42)
    whole = point(swept, "mean", 60, 300)
    best = int(made.dev.sum(axis=1).argmax())
    assert whole["accuracy"] == {"mean": pytest.approx(made.test[best].mean()), "deviation": 0.0}
    assert whole["different_candidates"] == 40
    sizes = {(item["candidates"], item["dev_rows"]) for item in swept["points"]}
    assert sizes == {(few, rows) for few in (10, 50, 60) for rows in (50, 200, 300)}
    assert len(swept["points"]) == 9 * len(CRITERIA)
    assert swept["draws"] == DRAWS
    assert json.loads(json.dumps(swept)) == swept


def test_more_candidates_and_rows_find_better_programs_and_it_says_so() -> None:
    swept = sweep(tables([0.1] * 38 + [0.9] * 2, rows=(40, 300, 400)), 42)
    few, many = (point(swept, "mean", size, 300) for size in (10, 40))
    assert few["accuracy"]["mean"] < 0.6 < many["accuracy"]["mean"]
    assert few["rank"]["mean"] > many["rank"]["mean"]
    assert few["regret"]["mean"] == pytest.approx(swept["best_on_test"] - few["accuracy"]["mean"])
    assert "a difference beyond chance" in swept["conclusions"][0]
    assert swept["conclusions"][0].startswith("10 to 40 candidates: +")


def test_what_makes_no_difference_is_seldom_called_one() -> None:
    told = []
    for seed in range(20):
        swept = sweep(tables([0.5] * 30, rows=(60, 300, 300), seed=seed), 42)
        *ends, lower, _ = swept["conclusions"]
        told += [sentence.endswith("no difference can be told") for sentence in ends]
        # all candidates are scored on the same rows, so that the interval ranks as the mean does
        assert lower.endswith("the same programs are kept in each draw")
    assert len(told) == 40 and sum(told) >= 35


def test_together_counts_the_training_rows_of_its_draw() -> None:
    made = tables([0.5] * 4, rows=(60, 50, 100))
    made.train[2] = 1
    assert point(sweep(made, 42), "together", 60, 50)["accuracy"]["mean"] == pytest.approx(
        made.test[2].mean()
    )


def test_training_rows_without_a_program_are_no_candidates() -> None:
    made = tables([0.2, 0.9], rows=(20, 60, 100))
    made = Tables(made.train, made.dev, made.test, [None] * 18 + [0, 1])
    swept = sweep(made, 42)
    assert {item["candidates"] for item in swept["points"]} == {2}
    assert point(swept, "mean", 2, 60)["different_candidates"] == 2
