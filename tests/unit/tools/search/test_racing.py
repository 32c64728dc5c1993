"""Racing on tables of scores: what it picks, what it costs, and what it never does."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from tools.search.racing import LEAST_ROWS, equal_beyond, race, rank_all, reaches, schedule


class Counted:
    """A table as `evaluate`, which refuses to score a pair twice."""

    def __init__(self, table: np.ndarray) -> None:
        self.table = table
        self.seen = np.zeros(table.shape, dtype=bool)

    def __call__(self, candidates: Sequence[int], rows: Sequence[int]) -> np.ndarray:
        grid = np.ix_(list(candidates), list(rows))
        assert not self.seen[grid].any(), "scored twice"
        self.seen[grid] = True
        return self.table[grid]


def table(*accuracies: float, rows: int = 400, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.random((len(accuracies), rows)) < np.array(accuracies)[:, None]).astype(np.int8)


def compare(scores: np.ndarray) -> tuple[float, float]:
    """Return the share of evaluations that a race takes, and the points that its pick loses."""
    accuracy = scores.mean(axis=1)
    raced = race(Counted(scores), *scores.shape, 1)
    return raced.evaluations / scores.size, 100 * (accuracy.max() - accuracy[raced.order[0]])


def paper_sized(spread: float, few_good: bool, seed: int) -> np.ndarray:
    """300 candidates by 700 rows, correlated by the rows' difficulty; `spread` is in logits."""
    rng = np.random.default_rng([seed, int(10 * spread), few_good])
    ability = rng.uniform(-1.5, 1.5) + spread * rng.standard_normal(300)
    ability[rng.random(300) < 0.6 * few_good] -= 2
    difficulty = rng.uniform(0.5, 2.5) * rng.standard_normal(700)
    logits = ability[:, None] - difficulty + 0.5 * rng.standard_normal((300, 700))
    return (rng.random((300, 700)) < 1 / (1 + np.exp(-logits))).astype(np.int8)


def test_exhaustive_ranks_by_accuracy_and_then_by_index() -> None:
    scores = np.array([[0, 1, 0], [1, 1, 0], [1, 1, 1], [0, 1, 1]])
    ranking = rank_all(Counted(scores), 4, 3)
    assert ranking.order == (2, 1, 3, 0)
    assert (ranking.hits, ranking.rows, ranking.evaluations) == ((1, 2, 3, 2), (3,) * 4, 12)


@pytest.mark.parametrize("keep", [1, 3])
def test_race_counts_what_it_scored_and_ends_with_finalists_on_all_rows(keep: int) -> None:
    evaluate = Counted(table(*np.linspace(0.1, 0.9, 60)))
    ranking = race(evaluate, 60, 400, keep)
    assert ranking.evaluations == evaluate.seen.sum() == sum(ranking.rows)
    assert len(ranking.order) >= keep
    for index in ranking.order:
        assert ranking.rows[index] == 400
        assert ranking.hits[index] == evaluate.table[index].sum()
    hits = [ranking.hits[index] for index in ranking.order]
    assert hits == sorted(hits, reverse=True)


@pytest.mark.parametrize(
    ("candidates", "rows", "keep"), [(300, 700, 1), (300, 700, 3), (64, 900, 5)]
)
def test_race_takes_a_quarter_at_most(candidates: int, rows: int, keep: int) -> None:
    ranking = race(Counted(table(*[0.5] * candidates, rows=rows)), candidates, rows, keep)
    assert 0.15 < ranking.evaluations / (candidates * rows) <= 0.25
    for few, many in ((10, 100), (300, 200), (5, 1000)):  # fewer rows would tell nothing
        assert schedule(few, many, 1)[0][1] >= LEAST_ROWS


@pytest.mark.parametrize(("candidates", "rows"), [(1, 1), (1, 700), (3, 700), (40, 30)])
def test_race_that_has_nothing_to_save_scores_all(candidates: int, rows: int) -> None:
    ranking = race(Counted(table(*[0.5] * candidates, rows=rows)), candidates, rows, 3)
    assert set(ranking.order) == set(range(candidates))
    assert ranking.evaluations == candidates * rows


def test_race_picks_as_well_as_the_exhaustive_search() -> None:
    """On made tables of the paper's size: candidates that differ by luck alone to far apart."""
    kinds = product((0.0, 0.3, 0.8, 1.5), (False, True), range(3))
    found = [compare(paper_sized(*kind)) for kind in kinds]
    assert max(cost for cost, _ in found) <= 0.25
    assert np.mean([lost <= 1 for _, lost in found]) >= 0.95


def test_race_on_the_recorded_scores_of_a_real_model() -> None:
    lines = (Path(__file__).parents[2] / "fixtures/scores-tiny-word_sorting.txt").read_text()
    scores = np.array([list(map(int, line)) for line in lines.split()], dtype=np.int8)
    assert scores.shape == (19, 160)
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(160)
        cost, lost = compare(scores[:, order])
        assert cost < 0.65
        assert lost <= 1


def test_candidates_are_compared_on_the_same_rows() -> None:
    """Rows differ much in difficulty, candidates little: only pairs tell them apart."""
    rng = np.random.default_rng(1)
    easy = rng.random(700) < 0.5
    scores = np.tile(easy.astype(np.int8), (300, 1))
    hard = np.flatnonzero(~easy)
    scores[7, hard[:12]] = 1
    rng.shuffle(scores.T)
    assert race(Counted(scores), 300, 700, 1).order[0] == 7


def test_equal_candidates_stay_in_their_order() -> None:
    ranking = race(Counted(np.ones((300, 700), int)), 300, 700, 1)
    assert ranking.order[:2] == (0, 1)
    assert ranking.ties == 300 - len(ranking.order)  # and it is told
    clear = np.array([[row % 5 < index for row in range(700)] for index in range(5)], np.int8)
    assert race(Counted(clear), 5, 700, 1).ties == 0
    assert equal_beyond((2, 1, 3, 0), (5, 6, 7, 5), 3) == 1
    assert equal_beyond((2, 1, 3, 0), (5, 6, 7, 5), 2) == equal_beyond((0,), (1,), 1) == 0


@pytest.mark.parametrize("least", [0.1, 0.5])
def test_reaches_tells_far_candidates_by_few_rows(least: float) -> None:
    scores = table(0.0, 0.95, 1.0, least, rows=400)
    evaluate = Counted(scores)
    passed, ranking = reaches(evaluate, 4, 400, least)
    assert passed[1:3] == [True, True]
    assert ranking.rows[1] <= 40
    assert ranking.rows[2] <= 40
    assert ranking.rows[3] > 100  # on the edge
    assert not passed[0]
    assert ranking.evaluations == evaluate.seen.sum()
    assert ranking.order[0] == 2


def test_reaches_is_exact_on_few_rows_and_seldom_wrong_on_many() -> None:
    scores = np.zeros((2, 10), dtype=np.int8)
    scores[0, :5] = scores[1, :4] = 1
    assert reaches(Counted(scores), 2, 10, 0.5)[0] == [True, False]
    passed, ranking = reaches(Counted(scores), 2, 10, 0.0)
    assert (passed, ranking.evaluations) == ([True, True], 0)  # nothing is asked
    scores = table(*[0.3] * 300, *[0.1] * 300, rows=300)
    truth = scores.mean(axis=1) >= 0.2
    passed, ranking = reaches(Counted(scores), 600, 300, 0.2)
    assert np.mean(truth == passed) >= 0.95
    assert ranking.evaluations < 0.7 * scores.size
