"""How sure a share of rows is, and whether two shares on the same rows differ."""

import math
from collections.abc import Sequence
from typing import Any

Z95 = 1.959963984540054  # the standard normal's 97.5% quantile
ALPHA = 0.05  # below this p-value two shares differ


def wilson(right: int, total: int) -> tuple[float, float]:
    """Return Wilson's 95% score interval of a share (E. B. Wilson, 1927, JASA 22:209-212).

    `total` must be positive. Both ends are within 0 and 1.
    """
    share, z = right / total, Z95
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    return max(0.0, middle - half), min(1.0, middle + half)


def paired_rates(
    first: Sequence[float], second: Sequence[float], sizes: Sequence[int]
) -> tuple[float, float, float]:
    """Compare two sums over the same rows, each for a unit of the rows' sizes.

    Returns by how much the second's sum for a unit is above the first's, and the 95% interval of
    that. Rows are what is drawn, not units: the standard error is that of a ratio of two means
    (W. G. Cochran, Sampling Techniques, 3rd edition, 1977, chapter 6). Needs two rows or more.
    """
    rows, units = len(sizes), sum(sizes)
    changes = [new - old for old, new in zip(first, second, strict=True)]
    rate = math.fsum(changes) / units
    left = [change - rate * size for change, size in zip(changes, sizes, strict=True)]
    half = Z95 * math.sqrt(rows / (rows - 1) * math.fsum(each * each for each in left)) / units
    return rate, rate - half, rate + half


def paired(first: Sequence[bool], second: Sequence[bool]) -> dict[str, Any]:
    """Compare two shares on the same rows: by how much the second is above, and the p-value.

    The p-value is McNemar's exact one (Q. McNemar, 1947, Psychometrika 12:153-157): it counts the
    rows in which one holds and the other does not. `interval` is that of the difference, at 95%
    (A. Agresti and Y. Min, 2005, Statistics in Medicine 24:729-740).
    """
    rows = len(first)
    gained = sum(new and not old for old, new in zip(first, second, strict=True))
    lost = sum(old and not new for old, new in zip(first, second, strict=True))
    changed = gained + lost
    tail = sum(math.comb(changed, count) for count in range(min(gained, lost) + 1))
    p_value = min(1.0, 2 * tail / 2**changed)
    up, down, of = gained + 0.5, lost + 0.5, rows + 2
    middle = (up - down) / of
    half = Z95 * math.sqrt(up + down - (up - down) ** 2 / of) / of
    return {
        "rows": rows,
        "gained": gained,
        "lost": lost,
        "difference": (gained - lost) / rows,
        "interval": [max(-1.0, middle - half), min(1.0, middle + half)],
        "p_value": p_value,
        "differs": p_value < ALPHA,
    }
