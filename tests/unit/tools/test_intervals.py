"""Intervals cover, and two shares differ where more rows changed than chance explains."""

import random
from typing import Any

import pytest

from tools.intervals import paired, paired_rates, wilson


def _rows(rng: random.Random, rows: int, first: float, second: float, alike: float) -> Any:
    """Two columns with these shares, which agree by chance and, for a part of the rows, always."""
    columns: tuple[list[bool], list[bool]] = ([], [])
    for _ in range(rows):
        draw = rng.random()
        other = draw if rng.random() < alike else rng.random()
        columns[0].append(draw < first)
        columns[1].append(other < second)
    return columns


@pytest.mark.parametrize("rows", [30, 240, 1000])
def test_what_is_the_same_is_called_a_difference_once_in_twenty_at_most(rows: int) -> None:
    rng = random.Random(5)
    found = [paired(*_rows(rng, rows, 0.7, 0.7, 0.6))["differs"] for _ in range(2000)]
    assert sum(found) <= 100


def test_five_points_are_found_on_a_thousand_rows_that_mostly_agree() -> None:
    rng = random.Random(1)
    found = [paired(*_rows(rng, 1000, 0.70, 0.75, 0.8)) for _ in range(200)]
    assert sum(item["differs"] for item in found) >= 160
    inside = [item["interval"][0] <= 0.05 <= item["interval"][1] for item in found]
    assert 180 <= sum(inside) <= 200


def test_rates_of_the_same_rows_differ_by_chance_once_in_twenty() -> None:
    """Rows of other sizes, whose values mostly follow the row: a true change, and none."""
    rng = random.Random(4)
    outside = {0.0: 0, 0.02: 0}
    for change in [*outside] * 1000:
        sizes = [rng.randint(20, 400) for _ in range(60)]
        first = [size * rng.gammavariate(2, 0.1) for size in sizes]
        second = [
            size * change + old * rng.gauss(1, 0.1) for size, old in zip(sizes, first, strict=True)
        ]
        rate, low, high = paired_rates(first, second, sizes)
        assert low <= rate <= high
        outside[change] += not low <= change <= high
    assert all(30 <= count <= 75 for count in outside.values()), outside


@pytest.mark.parametrize(
    ("gained", "lost", "p_value"),  # 2 * (1 + 10) / 2**10, and so on
    [(0, 0, 1.0), (5, 0, 0.0625), (6, 0, 0.03125), (1, 9, 0.021484375), (3, 3, 1.0)],
)
def test_p_value_is_mcnemars_exact_one(gained: int, lost: int, p_value: float) -> None:
    first = [False] * gained + [True] * lost + [True] * 50
    second = [True] * gained + [False] * lost + [True] * 50
    found = paired(first, second)
    assert (found["gained"], found["lost"]) == (gained, lost)
    assert found["p_value"] == pytest.approx(p_value)
    assert found["interval"][0] <= found["difference"] <= found["interval"][1]


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),
    ],
)
def test_wilson(right: int, total: int, low: float, high: float) -> None:
    """81 of 263 is the example of Newcombe (1998), table I, method 3."""
    assert wilson(right, total) == pytest.approx((low, high), abs=5e-5)
