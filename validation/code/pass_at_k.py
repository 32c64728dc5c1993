"""The figures of a benchmark: how many tasks are solved, and pass@k."""

import math
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from typing import Any

PASS_AT = (1, 10, 100)  # if every task has that many samples


def figures(
    passed: Mapping[str, Sequence[bool]],
    ks: Sequence[int] = PASS_AT,
    reported: Collection[str] | None = None,
) -> dict[str, Any]:
    """Return the figures of all samples; `reported` are the tasks that pass@k is about, else all.

    `passed` has a bool for each sample of each task.
    """
    about = {name: each for name, each in passed.items() if reported is None or name in reported}
    return {
        "tasks_attempted": sum(map(bool, passed.values())),
        "tasks_passed": sum(map(any, passed.values())),
        "pass_at_k": pass_at_k(about, ks),
    }


def pass_at_k(
    passed: Mapping[str, Sequence[bool]], ks: Sequence[int] = PASS_AT
) -> dict[str, float]:
    """Return pass@k for each k of `ks` that every task has samples for.

    `passed` has a bool for each sample of each task. If c of n samples pass, the unbiased estimate
    is 1 - C(n - c, k) / C(n, k) (Chen et al. 2021, equation 1). The result is its mean over tasks.
    """
    least = min(map(len, passed.values()), default=0)
    return {
        str(k): float(sum(_estimate(each, k) for each in passed.values()) / len(passed))
        for k in ks
        if k <= least
    }


def _estimate(passed: Sequence[bool], k: int) -> Fraction:
    failed = len(passed) - sum(passed)
    return 1 - Fraction(math.comb(failed, k), math.comb(len(passed), k))
