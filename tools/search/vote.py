"""One answer from several: the majority, and a seeded random choice where there is none."""

import hashlib
import json
import random
from collections.abc import Sequence
from typing import Any

from tools.search.metrics import Metric


def derived_seed(*parts: Any) -> int:
    """Return a 31-bit seed that the parts decide, and nothing else.

    Each request gets its own, so that it is sampled alike whatever else is asked, and when. Not
    every server takes more bits.
    """
    text = json.dumps(parts, ensure_ascii=False)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def vote(answers: Sequence[Any], metric: Metric, seed: int) -> Any:
    """Return the answer that most give, as the first of them wrote it; None if nobody answers.

    Answers are the same where the metric's vote key is. Ties are broken at random, as the paper
    does, with the seed.
    """
    ballots: dict[str, list[Any]] = {}
    for answer in answers:
        key = metric.vote_key(answer)
        if key is not None:
            ballots.setdefault(key, []).append(answer)
    most = max(map(len, ballots.values()), default=0)
    leading = [given[0] for given in ballots.values() if len(given) == most]
    return random.Random(seed).choice(leading) if leading else None
