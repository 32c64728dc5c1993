"""Algorithm 1 of the paper (arXiv 2405.16337): candidates, their scores, and the best k."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tools.errors import UserError
from tools.search.data import TaskRow
from tools.search.racing import Ranking, equal_beyond, race, rank_all, reaches
from tools.search.scoring import Scorer


@dataclass
class Proposed:
    """The candidates of a search, and counts of everything that was generated.

    `train` holds for each candidate which training rows it got right: 1, 0, and -1 where it was not
    scored. `by_row` names the candidate that was kept for each training row.
    """

    candidates: list[str] = field(default_factory=list)
    by_row: list[int | None] = field(default_factory=list)
    train: dict[str, np.ndarray] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    evaluations: int = 0


def search(scorer: Scorer) -> dict[str, Any]:
    """Search for a program for the scorer's task; return ranked programs, all scores and counts.

    Raises UserError if no generation holds a usable candidate.
    """
    proposed = propose(scorer)
    ranking = rank(scorer, proposed)
    best = ranking.order[: scorer.settings.top]
    rows = len(scorer.task.dev)
    return {
        "programs": [_scored(proposed, ranking, index) for index in best],
        "counts": dict(sorted(proposed.counts.items())) | {"candidates": len(proposed.candidates)},
        "evaluations": {
            "train": proposed.evaluations,
            "dev": ranking.evaluations,
            "dev_exhaustive": len(proposed.candidates) * rows,
        },
        "ties": {
            "rounds": ranking.ties,
            "not_kept": equal_beyond(ranking.order, ranking.hits, len(best)),
        },
        "candidates": [
            _scored(proposed, ranking, index) for index in range(len(proposed.candidates))
        ],
        "by_row": proposed.by_row,
    }


def _scored(proposed: Proposed, ranking: Ranking, index: int) -> dict[str, Any]:
    candidate = proposed.candidates[index]
    train, dev = proposed.train[candidate], ranking.right[index]
    return {"program": candidate, "train": _counted(train), "dev": _counted(dev)}


def _counted(right: np.ndarray) -> dict[str, Any]:
    """Count what a candidate got right; `by_row` has 1, 0, or - where it was not scored."""
    return {
        "right": int((right == 1).sum()),
        "rows": int((right >= 0).sum()),
        "by_row": "".join("-01"[value + 1] for value in right.tolist()),
    }


def propose(scorer: Scorer) -> Proposed:
    """Sample a candidate for each training row; sample again below alpha; keep the best seen."""
    proposed = Proposed()
    open_: Sequence[TaskRow] = scorer.task.train
    best: dict[TaskRow, str] = {}
    for attempt in range(scorer.settings.tries):
        written = [scorer.form.cut(text) for text in scorer.propose(open_, attempt)]
        proposed.counts["generated"] += len(written)
        proposed.counts["unparseable"] += written.count(None)
        passed = _score_on_train(scorer, [text for text in written if text], proposed)
        for row, candidate in zip(open_, written, strict=True):
            if candidate and (row not in best or _share(proposed, candidate, best[row])):
                best[row] = candidate
        open_ = [
            row
            for row, candidate in zip(open_, written, strict=True)
            if candidate is None or candidate not in passed
        ]
        if not open_:
            break
    proposed.counts["rows_below_alpha"] = len(open_)
    proposed.candidates = list(dict.fromkeys(best[row] for row in scorer.task.train if row in best))
    numbers = {candidate: number for number, candidate in enumerate(proposed.candidates)}
    proposed.by_row = [numbers[best[row]] if row in best else None for row in scorer.task.train]
    proposed.counts["duplicates"] = len(best) - len(proposed.candidates)
    if not proposed.candidates:
        raise UserError(
            f"{scorer.task.name}: none of {proposed.counts['generated']} generations holds a "
            f"{scorer.form.name} that can be used; was this model trained by one of the recipes?"
        )
    return proposed


def _share(proposed: Proposed, one: str, other: str) -> bool:
    """Whether the first candidate's share of training rows is above the second's."""
    (right, rows), (other_right, other_rows) = (
        ((proposed.train[candidate] == 1).sum(), (proposed.train[candidate] >= 0).sum())
        for candidate in (one, other)
    )
    return bool(right * max(other_rows, 1) > other_right * max(rows, 1))


def _score_on_train(scorer: Scorer, written: Sequence[str], proposed: Proposed) -> set[str]:
    """Score new candidates on the training rows; return those of `written` that reach alpha."""
    settings, rows = scorer.settings, scorer.task.train
    candidates = list(dict.fromkeys(written))
    evaluate = scorer.evaluate_on(candidates, rows, "scoring candidates on training rows")
    if settings.strategy == "race":
        passed, ranking = reaches(evaluate, len(candidates), len(rows), settings.alpha)
    else:
        ranking = rank_all(evaluate, len(candidates), len(rows))
        passed = [hits >= settings.alpha * len(rows) for hits in ranking.hits]
    new = [index for index, text in enumerate(candidates) if text not in proposed.train]
    proposed.evaluations += sum(ranking.rows[index] for index in new)
    for index in new:
        proposed.train[candidates[index]] = ranking.right[index]
    return {text for text, reached in zip(candidates, passed, strict=True) if reached}


def rank(scorer: Scorer, proposed: Proposed) -> Ranking:
    """Rank the candidates on the dev split, by the strategy of the settings."""
    rows, candidates = scorer.task.dev, proposed.candidates
    scorer.store.enter("dev", len(candidates) * len(rows))
    evaluate = scorer.evaluate_on(candidates, rows, "ranking candidates on dev rows")
    if scorer.settings.strategy == "exhaustive":
        return rank_all(evaluate, len(candidates), len(rows))
    train = np.array([proposed.train[candidate] for candidate in candidates])
    paid = train[:, (train >= 0).all(axis=0)]  # the rows that all were scored on
    return race(evaluate, len(candidates), len(rows), scorer.settings.top, paid)
