"""The figures of a benchmark: how many tasks are solved, and pass@k."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from typing import Any

PASS_AT = (1, 10, 100)  # if every task has that many samples


def summarise(
    name: str,
    tasks: Sequence[str],
    samples: Sequence[tuple[str, str, str | None]],
    *,
    valid: int,
    ks: Sequence[int],
    reported: Collection[str] | None = None,
) -> dict[str, Any]:
    """Return a model's figures on all tasks; pass@k is about those `reported`, else about all.

    A sample is its task's id, its verdict, and the verdict on the program that was taken out of it,
    if there is one. `valid` samples are Python as they stand.
    """

    def solved(verdicts: Sequence[str]) -> dict[str, Any]:
        passed: dict[str, list[bool]] = {task: [] for task in tasks}
        for (task, _, _), verdict in zip(samples, verdicts, strict=True):
            passed[task].append(verdict == "passed")
        about = {task: passed[task] for task in tasks if reported is None or task in reported}
        return {
            "tasks_attempted": sum(map(bool, passed.values())),
            "tasks_passed": sum(map(any, passed.values())),
            "pass_at_k": pass_at_k(about, ks),
        }

    first = [verdict for _, verdict, _ in samples]
    taken = sum(other is not None for _, _, other in samples)
    again = solved([other or verdict for _, verdict, other in samples])
    return {
        "name": name,
        "samples": len(samples),
        **solved(first),
        "syntax_valid": valid,
        "failures": {kind: n for kind, n in Counter(first).most_common() if kind != "passed"},
        "taken_out": {"samples": taken, **again, "syntax_valid": valid + taken},
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
