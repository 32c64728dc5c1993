"""Ranks candidates by their accuracy on rows, without scoring every candidate on every row.

- `rank_all` scores every candidate on every row, as the paper does.
- `race` is successive halving on shared rows (Karnin, Koren and Somekh, 2013, "Almost optimal
  exploration in multi-armed bandits"; Jamieson and Talwalkar, 2016, arXiv 1502.07943): all
  candidates are scored on the same growing set of rows, and after each round the better half
  continues. Because the rows are shared, easy rows favour no candidate.
- `reaches` decides which candidates have a given accuracy, by a Hoeffding race (Maron and Moore,
  1993) with Serfling's bound (1974, Annals of Statistics 2:39-48) for rows drawn without
  replacement.

Candidates and rows are indexes here: `evaluate` returns a 0/1 matrix of shape (candidates, rows).
The rows must be in a random order.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Evaluate = Callable[[Sequence[int], Sequence[int]], np.ndarray]

SHARE = 0.25  # of all evaluations: the most that a race takes if there are enough rows
LEAST_ROWS = 50  # in a first round: fewer would say too little
FIRST_ROWS = 20  # in the first round of `reaches`
ERROR = 0.05  # the chance that `reaches` is wrong about a candidate, in each round


@dataclass(frozen=True)
class Ranking:
    """The candidates scored on all rows, best first, and the scores of all candidates.

    For each candidate `hits` counts the rows that it got right and `rows` the rows that it was
    scored on. Equal candidates are in the order of their indexes.
    """

    order: tuple[int, ...]
    hits: tuple[int, ...]
    rows: tuple[int, ...]
    evaluations: int
    ties: int = 0  # candidates that left a race although equal to one that stayed


class _Tally:
    """Scores candidates on further rows, and keeps count."""

    def __init__(self, evaluate: Evaluate, candidates: int) -> None:
        self.evaluate = evaluate
        self.hits = np.zeros(candidates, dtype=int)
        self.rows = np.zeros(candidates, dtype=int)

    def score(self, candidates: Sequence[int], start: int, stop: int) -> None:
        """Add rows `start` to `stop` to each candidate's score."""
        right = self.evaluate(candidates, range(start, stop))
        self.hits[candidates] += right.sum(axis=1)
        self.rows[candidates] += stop - start

    def best_first(self, candidates: Sequence[int]) -> list[int]:
        shares = self.hits / np.maximum(self.rows, 1)
        return sorted(candidates, key=lambda index: (-shares[index], index))

    def ranking(self, candidates: Sequence[int], ties: int = 0) -> Ranking:
        hits, rows = tuple(self.hits.tolist()), tuple(self.rows.tolist())
        return Ranking(tuple(self.best_first(candidates)), hits, rows, sum(rows), ties)


def rank_all(evaluate: Evaluate, candidates: int, rows: int) -> Ranking:
    """Score every candidate on every row: the exhaustive search of the paper."""
    tally = _Tally(evaluate, candidates)
    tally.score(range(candidates), 0, rows)
    return tally.ranking(range(candidates))


def race(
    evaluate: Evaluate, candidates: int, rows: int, keep: int, share: float = SHARE
) -> Ranking:
    """Return the ranking of the candidates that reach the last row, at least `keep` of them.

    The number of rows doubles from round to round and that of candidates halves, but never falls
    below twice `keep`. The first round is as large as `share` of all evaluations allows, but has
    at least 50 rows: a race over few rows takes more than that share, up to all.
    """
    tally = _Tally(evaluate, candidates)
    alive, start, ties = list(range(candidates)), 0, 0
    for survivors, stop in schedule(candidates, rows, keep, share):
        order = tally.best_first(alive)
        ties += equal_beyond(order, tally.hits.tolist(), survivors)
        alive = sorted(order[:survivors])
        tally.score(alive, start, stop)
        start = stop
    return tally.ranking(alive, ties)


def equal_beyond(order: Sequence[int], hits: Sequence[int], kept: int) -> int:
    """Return how many candidates beyond the first `kept` are as good as the last of those."""
    return sum(hits[index] == hits[order[kept - 1]] for index in order[kept:])


def schedule(candidates: int, rows: int, keep: int, share: float = SHARE) -> list[tuple[int, int]]:
    """Return the rounds of a race: how many candidates continue, and up to which row."""
    first = rows
    while first > LEAST_ROWS and _cost(_rounds(candidates, rows, keep, first)) > (
        share * candidates * rows
    ):
        first -= 1
    return _rounds(candidates, rows, keep, first)


def _rounds(candidates: int, rows: int, keep: int, first: int) -> list[tuple[int, int]]:
    rounds = [(candidates, min(first, rows))]
    while rounds[-1][1] < rows:
        survivors, stop = rounds[-1]
        rounds.append(
            (min(survivors, max(2 * keep, math.ceil(survivors / 2))), min(rows, 2 * stop))
        )
    return rounds


def _cost(rounds: Sequence[tuple[int, int]]) -> int:
    starts = [0, *(stop for _, stop in rounds)]
    return sum(
        survivors * (stop - start) for (survivors, stop), start in zip(rounds, starts, strict=False)
    )


def reaches(
    evaluate: Evaluate, candidates: int, rows: int, least: float
) -> tuple[list[bool], Ranking]:
    """Decide for each candidate whether it gets at least the share `least` of the rows right.

    Scores it on doubling numbers of rows until Serfling's bound decides, or all rows are scored.
    The ranking holds the scores; its order is by share of the scored rows.
    """
    tally = _Tally(evaluate, candidates)
    open_ = list(range(candidates)) if least > 0 else []  # every candidate reaches 0
    start, stop = 0, min(FIRST_ROWS, rows)
    while open_ and start < rows:
        tally.score(open_, start, stop)
        radius = _serfling(stop, rows)
        open_ = [index for index in open_ if abs(tally.hits[index] / stop - least) <= radius]
        start, stop = stop, min(rows, 2 * stop)
    passed: list[bool] = (tally.hits >= least * tally.rows).tolist()
    return passed, tally.ranking(range(candidates))


def _serfling(seen: int, rows: int) -> float:
    """Bound the distance between the share of `seen` rows and that of all rows, but for `ERROR`.

    Serfling's P(mean of sample - mean of all >= t) <= exp(-2 n t^2 / (1 - (n - 1) / N)).
    """
    return math.sqrt((1 - (seen - 1) / rows) * math.log(1 / ERROR) / (2 * seen))
