"""`cogex search --sweep`: what a search would have found with fewer candidates or dev rows.

Every candidate is scored on every row once. Each smaller search reads its scores from these tables:
it takes the candidates of some training rows, ranks them on some dev rows by one criterion, and
looks its best program up among the test rows. Twenty draws of training and dev rows show the
spread.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

import numpy as np

from tools.intervals import Z95, wilson
from tools.search.racing import rank_all
from tools.search.scoring import Scorer

CANDIDATES = (10, 50, 100, 300)  # training rows, each of which gives a candidate
DEV_ROWS = (50, 200, 700)
DRAWS = 20
CRITERIA = {
    "mean": "share of the dev rows",
    "lower": "lower end of its 95% interval",
    "together": "share of training and dev rows",
}


@dataclass(frozen=True)
class Tables:
    """What each candidate got right, 1 or 0: (candidates, rows) of each split.

    `by_row` names the candidate of each training row, or None: such a row counts as none.
    """

    train: np.ndarray
    dev: np.ndarray
    test: np.ndarray
    by_row: Sequence[int | None]

    @property
    def written(self) -> list[tuple[int, int]]:
        """Training row and candidate of each row that gave one."""
        return [(row, index) for row, index in enumerate(self.by_row) if index is not None]


def swept(scorer: Scorer, result: dict[str, Any]) -> dict[str, Any]:
    """Score every candidate of an exhaustive search on the test rows, and read the sweep off."""
    found, rows = result["candidates"], scorer.task.test
    scorer.store.enter("sweep", len(found) * len(rows))
    programs = [item["program"] for item in found]
    evaluate = scorer.evaluate_on(programs, rows, "testing every candidate")
    train, dev = (_table(found, split) for split in ("train", "dev"))
    test = rank_all(evaluate, len(found), len(rows)).right
    return sweep(Tables(train, dev, test, result["by_row"]), scorer.settings.seed)


def _table(found: Sequence[dict[str, Any]], split: str) -> np.ndarray:
    return np.array([[int(bit) for bit in item[split]["by_row"]] for item in found], np.int8)


def sweep(tables: Tables, seed: int) -> dict[str, Any]:
    """Return a point for each number of candidates, of dev rows, and criterion.

    `accuracy` is that of the program that is kept, on the test rows; `rank` its place among all
    candidates there, 1 being the best; `regret` what it lacks to the best. Each has its mean and
    its standard deviation over the draws.
    """
    candidates = _sizes(CANDIDATES, len(tables.written))
    dev_rows = _sizes(DEV_ROWS, tables.dev.shape[1])
    points, picks = [], {}
    for criterion in CRITERIA:
        for few in candidates:
            for rows in dev_rows:
                key = (criterion, few, rows)
                drawn = [_pick(tables, *key, seed, draw) for draw in range(DRAWS)]
                picks[key] = [pick for pick, _ in drawn]
                points.append(_point(tables, key, picks[key], [count for _, count in drawn]))
    return {
        "draws": DRAWS,
        "seed": seed,
        "best_on_test": float(tables.test.mean(axis=1).max()),
        "points": points,
        "conclusions": _conclusions(tables, picks, candidates, dev_rows),
    }


def _sizes(planned: Sequence[int], there: int) -> list[int]:
    return [*(size for size in planned if size < there), there]


def _pick(
    tables: Tables, criterion: str, few: int, rows: int, seed: int, draw: int
) -> tuple[int, int]:
    """Return the program that is kept, and among how many different ones."""
    rng = random.Random(f"{seed}-{draw}")
    written = sorted(rng.sample(tables.written, few))
    dev = sorted(rng.sample(range(tables.dev.shape[1]), rows))
    train = [row for row, _ in written]
    alive = list(dict.fromkeys(index for _, index in written))
    hits, seen = tables.dev[alive][:, dev].sum(axis=1, dtype=int), len(dev)
    if criterion == "together":
        hits, seen = hits + tables.train[alive][:, train].sum(axis=1, dtype=int), seen + len(train)
    scores = [wilson(int(count), seen)[0] if criterion == "lower" else count for count in hits]
    return alive[int(np.argmax(scores))], len(alive)


def _point(
    tables: Tables, key: tuple[str, int, int], picks: Sequence[int], different: Sequence[int]
) -> dict[str, Any]:
    accuracy = tables.test.mean(axis=1)
    kept = accuracy[list(picks)]
    ranks = np.array([1 + int((accuracy > share).sum()) for share in kept])
    return {
        "criterion": key[0],
        "candidates": key[1],
        "dev_rows": key[2],
        "different_candidates": float(np.mean(different)),
        "accuracy": _spread(kept),
        "rank": _spread(ranks),
        "regret": _spread(accuracy.max() - kept),
    }


def _spread(values: np.ndarray) -> dict[str, float]:
    numbers = values.tolist()
    return {"mean": fmean(numbers), "deviation": pstdev(numbers)}


def _conclusions(
    tables: Tables, picks: dict[tuple[str, int, int], list[int]],
    candidates: Sequence[int], dev_rows: Sequence[int],
) -> list[str]:  # fmt: skip
    """Say for each axis what its ends differ by, the other axes at their largest."""
    most, all_dev = candidates[-1], dev_rows[-1]
    ends = [
        (f"{few} to {most} candidates", ("mean", few, all_dev), ("mean", most, all_dev))
        for few in candidates[:1]
        if few != most
    ]
    ends += [
        (f"{rows} to {all_dev} dev rows", ("mean", most, rows), ("mean", most, all_dev))
        for rows in dev_rows[:1]
        if rows != all_dev
    ]
    smallest = candidates[0], dev_rows[0]
    ends += [
        (f"mean to {words}, on the fewest rows", ("mean", *smallest), (name, *smallest))
        for name, words in CRITERIA.items()
        if name != "mean"
    ]
    return [_sentence(tables, what, picks[one], picks[other]) for what, one, other in ends]


def _sentence(tables: Tables, what: str, one: Sequence[int], other: Sequence[int]) -> str:
    """The difference by row, averaged over the draws; its interval covers the choice of rows."""
    if list(one) == list(other):
        return f"{what}: the same programs are kept in each draw"
    by_row = tables.test[list(other)].mean(axis=0) - tables.test[list(one)].mean(axis=0)
    mean, half = by_row.mean(), Z95 * by_row.std(ddof=1) / math.sqrt(len(by_row))
    verdict = "no difference can be told" if abs(mean) <= half else "a difference beyond chance"
    low, high = 100 * (mean - half), 100 * (mean + half)
    return (
        f"{what}: {100 * mean:+.1f} points on the test rows (95% interval {low:+.1f} to "
        f"{high:+.1f}): {verdict}"
    )
