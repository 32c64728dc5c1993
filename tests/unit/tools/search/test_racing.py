"""Racing on tables of scores: what it picks, what it costs, and what it never does."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from benchmarks.racing import paper_sized
from tools.search.racing import equal_beyond, most_evaluations, race, rank_all, reaches


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


def compare(scores: np.ndarray, paid: np.ndarray | None = None) -> tuple[float, float]:
    """Return the share of evaluations that a race takes, and the points that its pick loses."""
    accuracy = scores.mean(axis=1)
    raced = race(Counted(scores), *scores.shape, 1, paid)
    return raced.evaluations / scores.size, 100 * (accuracy.max() - accuracy[raced.order[0]])


def test_exhaustive_ranks_by_accuracy_and_then_by_index() -> None:
    scores = np.array([[0, 1, 0], [1, 1, 0], [1, 1, 1], [0, 1, 1]])
    ranking = rank_all(Counted(scores), 4, 3)
    assert ranking.order == (2, 1, 3, 0)
    assert (ranking.hits, ranking.rows, ranking.evaluations) == ([1, 2, 3, 2], [3] * 4, 12)


@pytest.mark.parametrize("keep", [1, 3])
def test_race_counts_what_it_scored_and_ranks_what_is_left(keep: int) -> None:
    evaluate = Counted(table(*np.linspace(0.1, 0.9, 60)))
    ranking = race(evaluate, 60, 400, keep)
    assert ranking.evaluations == evaluate.seen.sum() == sum(ranking.rows)
    assert ((ranking.right >= 0) == evaluate.seen).all()
    assert (ranking.right[evaluate.seen] == evaluate.table[evaluate.seen]).all()
    assert len(ranking.order) >= keep
    assert len({ranking.rows[index] for index in ranking.order}) == 1
    hits = [ranking.hits[index] for index in ranking.order]
    assert hits == sorted(hits, reverse=True)
    assert min(ranking.order) >= 50  # of 60, from bad to good


@pytest.mark.parametrize(
    ("candidates", "rows", "keep", "most"),
    [(300, 700, 1, 0.15), (300, 700, 3, 0.15), (30, 300, 1, 0.25), (30, 300, 3, 0.25)],
)
def test_race_takes_no_more_than_its_share(
    candidates: int, rows: int, keep: int, most: float
) -> None:
    """Candidates that differ by luck alone are the hardest to tell apart."""
    ranking = race(Counted(table(*[0.5] * candidates, rows=rows)), candidates, rows, keep)
    every = candidates * rows
    assert (
        0.6 * most * every
        < ranking.evaluations
        <= most * every
        == most_evaluations(candidates, rows)
    )
    for few, many in ((10, 100), (19, 160), (5, 150)):  # fewer rows would tell nothing
        assert most_evaluations(few, many) == 50 * few


@pytest.mark.parametrize(("candidates", "rows"), [(1, 1), (1, 50), (3, 50), (40, 30)])
def test_race_that_has_nothing_to_save_may_score_all(candidates: int, rows: int) -> None:
    assert most_evaluations(candidates, rows) == candidates * rows
    evaluate = Counted(table(*[0.5] * candidates, rows=rows))
    ranking = race(evaluate, candidates, rows, 3)
    assert len(ranking.order) >= min(3, candidates)
    assert ranking.evaluations >= 0.5 * candidates * rows or candidates == 1


def test_rows_that_were_paid_for_spare_others() -> None:
    """Half of the candidates are hopeless, and the training rows have shown it already."""
    scores = table(*[0.9] * 20, *[0.2] * 20, rows=400)
    alone = race(Counted(scores[:, 40:]), 40, 360, 1)
    informed = race(Counted(scores[:, 40:]), 40, 360, 1, scores[:, :40])
    assert informed.evaluations < alone.evaluations
    assert set(informed.rows[20:]) == {0} and set(alone.rows[20:]) != {0}
    assert informed.order[0] < 20


def test_race_picks_as_well_as_the_exhaustive_search() -> None:
    """On made tables of the paper's size: candidates that differ by luck alone to far apart."""
    kinds = product((0.0, 0.3, 0.8, 1.5), (False, True), range(3))
    made = [paper_sized(*kind) for kind in kinds]
    found = [compare(scores[:, 20:], scores[:, :20]) for scores in made]
    assert max(cost for cost, _ in found) <= 0.15
    assert np.mean([lost <= 1 for _, lost in found]) >= 0.95


RECORDED = sorted((Path(__file__).parents[2] / "fixtures").glob("scores-*.txt"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_race_on_the_recorded_scores_of_real_models(path: Path) -> None:
    lines = path.read_text().split()
    scores = np.array([list(map(int, line)) for line in lines], dtype=np.int8)
    candidates, rows = scores.shape
    found = []
    for seed in range(60):
        order = np.random.default_rng(seed).permutation(rows)
        shuffled = scores[:, order]
        found.append(compare(shuffled[:, 20:], shuffled[:, :20]))
    assert max(cost for cost, _ in found) <= (0.25 if candidates * rows >= 9000 else 0.36)
    assert np.mean([lost <= 1 for _, lost in found]) >= 0.95


def test_rows_that_were_paid_for_do_not_decide_on_those_that_count() -> None:
    """However many they are: the dev rows say the contrary."""
    paid = table(0.6, 0.5, rows=300)
    dev = np.array([[0] * 40, [1] * 40], np.int8)
    assert race(Counted(dev), 2, 40, 1, paid).order[0] == 1


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
    assert ranking.order[0] == 0
    assert sorted(ranking.rows)[-2] < 700  # none can be more than a point better
    clear = np.array([[row % 5 < index for row in range(700)] for index in range(5)], np.int8)
    assert race(Counted(clear), 5, 700, 1).ties == 0
    assert equal_beyond((2, 1, 3, 0), (5, 6, 7, 5), 3) == 1
    assert equal_beyond((2, 1, 3, 0), (5, 6, 7, 5), 2) == equal_beyond((0,), (1,), 1) == 0


def test_candidates_that_the_budget_drops_although_equal_are_counted() -> None:
    """Pairs of candidates that differ on every row, so that nothing is clear."""
    rows = np.arange(300) % 2
    scores = np.array([rows if index % 2 else 1 - rows for index in range(30)], np.int8)
    ranking = race(Counted(scores), 30, 300, 1)
    assert ranking.ties > 0 and ranking.evaluations <= 0.25 * scores.size


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
