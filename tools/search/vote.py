"""One answer from several: the majority, or a seeded random choice between equals."""

import hashlib
import json
import random
from collections.abc import Sequence
from typing import Any

from tools.search.metrics import Metric


def derived_seed(*parts: Any) -> int:
    """Return a 31-bit seed that depends on the parts alone.

    Each request has its own seed, so that its sample does not depend on other requests or their
    order. Some servers take no more bits.
    """
    text = json.dumps(parts, ensure_ascii=False)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def vote(answers: Sequence[Any], metric: Metric, seed: int) -> Any:
    """Return the most frequent answer, as it was first written; None if there is no answer.

    Answers with the same vote key are the same. Ties are broken at random, as in the paper, by the
    seed.
    """
    ballots: dict[str, list[Any]] = {}
    for answer in answers:
        key = metric.vote_key(answer)
        if key is not None:
            ballots.setdefault(key, []).append(answer)
    most = max(map(len, ballots.values()), default=0)
    leading = [given[0] for given in ballots.values() if len(given) == most]
    return random.Random(seed).choice(leading) if leading else None
