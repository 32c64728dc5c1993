"""Ranks candidates by their accuracy on rows, without scoring every candidate on every row.

- `rank_all` scores every candidate on every row, as the paper does.
- `race` scores the candidates that are still in it on the same growing set of rows. After each
  round it drops those that the rows seen so far place clearly below the best (a race on paired
  differences: O. Maron and A. Moore, 1993, NIPS 6; A. W. Moore and M. S. Lee, 1994, ICML), and as
  many more as its budget asks for, the worst first (successive halving: Z. Karnin, T. Koren and
  O. Somekh, 2013, ICML; K. Jamieson and A. Talwalkar, 2016, arXiv 1502.07943). Because the rows are
  shared, easy rows favour no candidate. Training rows that were scored before count as rows seen.
- `reaches` decides which candidates have a given accuracy, by a Hoeffding race (Maron and Moore,
  1993) with Serfling's bound (1974, Annals of Statistics 2:39-48) for rows drawn without
  replacement.

Candidates and rows are indexes here: `evaluate` returns a 0/1 matrix of shape (candidates, rows).
The rows must be in a random order.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

Evaluate = Callable[[Sequence[int], Sequence[int]], np.ndarray]

SHARE = 0.25  # of all evaluations: the most that a race takes
LARGE, LARGE_SHARE = 100_000, 0.15  # the same of so many evaluations and more
LEAST_ROWS = 50  # for each candidate, even if that is a larger share
TOLERANCE = 0.01  # of accuracy: candidates closer than that are as good
SIGMAS = 3.0  # standard errors of a difference that make it clear
FIRST_ROWS = 10  # of a race; each round doubles the rows
REACHES_ROWS = 20  # in the first round of `reaches`
ERROR = 0.05  # the chance that `reaches` is wrong about a candidate, in each round
BLOCK = 50  # rows that `rank_all` scores at a time, so that one sees how it stands


@dataclass(frozen=True)
class Ranking:
    """The candidates that were left at the end, best first, and the scores of all candidates.

    `right` holds which rows each candidate got right, 1 or 0, and -1 where it was not scored:
    (candidates, rows). Equal candidates are in the order of their indexes.
    """

    order: tuple[int, ...]
    right: np.ndarray
    ties: int = 0  # candidates that the budget dropped although equal to one that stayed

    @property
    def hits(self) -> list[int]:
        """How many rows each candidate got right."""
        return (self.right == 1).sum(axis=1).tolist()

    @property
    def rows(self) -> list[int]:
        """On how many rows each candidate was scored."""
        return (self.right >= 0).sum(axis=1).tolist()

    @property
    def evaluations(self) -> int:
        """How many pairs of candidate and row were scored."""
        return sum(self.rows)


class _Tally:
    """Scores candidates on further rows, and keeps what they got right."""

    def __init__(self, evaluate: Evaluate, candidates: int, rows: int) -> None:
        self.evaluate = evaluate
        self.right = np.full((candidates, rows), -1, dtype=np.int8)

    def score(self, candidates: Sequence[int], start: int, stop: int) -> None:
        """Score candidates on the rows from `start` to `stop`."""
        self.right[candidates, start:stop] = self.evaluate(candidates, range(start, stop))

    def ranking(self, candidates: Sequence[int], ties: int = 0) -> Ranking:
        hits, rows = (self.right == 1).sum(axis=1), (self.right >= 0).sum(axis=1)
        order = _best_first(candidates, hits / np.maximum(rows, 1))
        return Ranking(tuple(order), self.right, ties)


def _best_first(candidates: Sequence[int], scores: np.ndarray) -> list[int]:
    return sorted(candidates, key=lambda index: (-scores[index], index))


def rank_all(evaluate: Evaluate, candidates: int, rows: int) -> Ranking:
    """Score every candidate on every row: the exhaustive search of the paper."""
    tally = _Tally(evaluate, candidates, rows)
    for start in range(0, rows, BLOCK):
        tally.score(range(candidates), start, min(rows, start + BLOCK))
    return tally.ranking(range(candidates))


def race(
    evaluate: Evaluate, candidates: int, rows: int, keep: int, paid: np.ndarray | None = None
) -> Ranking:
    """Return the ranking of the candidates that are left, at least `keep` of them if there are.

    `paid` is what they got right on other rows, 0 or 1, of shape (candidates, such rows). It ends
    on the last row, or once it is clear which are the best `keep` and which of them is the best.
    Those are then scored on the other rows, too, as far as the budget goes.
    """
    tally = _Tally(evaluate, candidates, rows)
    before = np.zeros((candidates, 0), np.int8) if paid is None else paid
    budget = most_evaluations(candidates, rows)
    alive, start, ties = list(range(candidates)), 0, 0
    stops = _stops(rows)
    for place, stop in enumerate(stops):
        seen = np.concatenate([before, tally.right[:, :start]], axis=1)
        below = partial(_is_below, before, tally.right[:, :start], rows)
        order = _best_first(alive, seen.sum(axis=1))
        if seen.shape[1]:
            first, last = order[0], order[min(keep, len(order)) - 1]
            order = [*order[:keep], *(i for i in order[keep:] if not below(i, last))]
            if start and len(order) <= keep and all(below(i, first) for i in order[1:]):
                alive = order
                break
        affordable = budget / (len(stops) - place) / (stop - start)
        limit = max(keep, 2, int(affordable))
        ties += equal_beyond(order, seen.sum(axis=1).tolist(), limit)
        alive = sorted(order[:limit])
        tally.score(alive, start, stop)
        budget -= len(alive) * (stop - start)
        start = stop
    if start < rows and len(alive) * (rows - start) <= budget:
        tally.score(alive, start, rows)
    return tally.ranking(alive, ties)


def most_evaluations(candidates: int, rows: int) -> float:
    """Return how many evaluations a race may take."""
    every = candidates * rows
    share = LARGE_SHARE if every >= LARGE else SHARE
    return min(every, max(share * every, LEAST_ROWS * candidates))


def _stops(rows: int) -> list[int]:
    stops = [FIRST_ROWS]
    while stops[-1] < rows:
        stops.append(2 * stops[-1])
    return [*stops[:-1], rows]


def _is_below(before: np.ndarray, seen: np.ndarray, rows: int, one: int, best: int) -> bool:
    """Whether one candidate is clearly not better than another by more than `TOLERANCE`.

    That is about all `rows` rows, of which they were scored on `seen`, and on others `before`. What
    they differ by on the rest is predicted from both, as the mean of a sample predicts that of
    another: with the variance of the rows in which they differ, times 1 / n + 1 / rest. One such
    row and another are added, because few rows tell little (A. Agresti and Y. Min, 2005).
    """
    rest = rows - seen.shape[1]  # never 0: a race has ended then
    gaps = [part[best].astype(int) - part[one] for part in (before, seen)]
    n = sum(map(len, gaps))
    ahead = sum(int(gap.sum()) for gap in gaps) / n
    differ = sum(int(np.abs(gap).sum()) for gap in gaps)
    predicted = (int(gaps[1].sum()) + rest * ahead) / rows
    error = rest / rows * math.sqrt((differ + 1) / (n + 2) * (1 / n + 1 / rest))
    return bool(predicted + TOLERANCE > SIGMAS * error)


def equal_beyond(order: Sequence[int], hits: Sequence[int], kept: int) -> int:
    """Return how many candidates beyond the first `kept` are as good as the last of those."""
    return sum(hits[index] == hits[order[kept - 1]] for index in order[kept:])


def reaches(
    evaluate: Evaluate, candidates: int, rows: int, least: float
) -> tuple[list[bool], Ranking]:
    """Decide for each candidate whether it gets at least the share `least` of the rows right.

    Scores it on doubling numbers of rows until Serfling's bound decides, or all rows are scored.
    The ranking holds the scores; its order is by share of the scored rows.
    """
    tally = _Tally(evaluate, candidates, rows)
    open_ = list(range(candidates)) if least > 0 else []  # every candidate reaches 0
    start, stop = 0, min(REACHES_ROWS, rows)
    while open_ and start < rows:
        tally.score(open_, start, stop)
        radius = _serfling(stop, rows)
        shares = (tally.right[:, :stop] == 1).mean(axis=1)
        open_ = [index for index in open_ if abs(shares[index] - least) <= radius]
        start, stop = stop, min(rows, 2 * stop)
    ranking = tally.ranking(range(candidates))
    passed = [hits >= least * seen for hits, seen in zip(ranking.hits, ranking.rows, strict=True)]
    return passed, ranking


def _serfling(seen: int, rows: int) -> float:
    """Bound the distance between the share of `seen` rows and that of all rows, but for `ERROR`.

    Serfling's P(mean of sample - mean of all >= t) <= exp(-2 n t^2 / (1 - (n - 1) / N)).
    """
    return math.sqrt((1 - (seen - 1) / rows) * math.log(1 / ERROR) / (2 * seen))
