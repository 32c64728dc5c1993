"""One answer from several: the majority, or a seeded random choice between equals."""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tools.search.metrics import Metric


def derived_seed(*parts: Any) -> int:
    """Return a 31-bit seed that depends on the parts alone.

    Each request has its own seed, so that its sample does not depend on other requests or their
    order. Some servers take no more bits.
    """
    text = json.dumps(parts, ensure_ascii=False)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


@dataclass(frozen=True)
class Majority:
    """The answer of several, and how it came about."""

    answer: Any  # None if nobody has one
    votes: tuple[tuple[Any, int], ...]  # each different answer, as it was first written; most first
    tie: bool  # the answer was drawn at random among those with the most votes


def vote(answers: Sequence[Any], metric: Metric, seed: int) -> Majority:
    """Return the most frequent answer.

    Answers with the same vote key are the same. Ties are broken at random, as in the paper, by the
    seed.
    """
    ballots: dict[str, list[Any]] = {}
    for answer in answers:
        key = metric.vote_key(answer)
        if key is not None:
            ballots.setdefault(key, []).append(answer)
    given = sorted(ballots.values(), key=len, reverse=True)  # equal ones stay in their order
    leading = [same[0] for same in given if len(same) == len(given[0])]
    answer = random.Random(seed).choice(leading) if leading else None
    return Majority(answer, tuple((same[0], len(same)) for same in given), len(leading) > 1)
