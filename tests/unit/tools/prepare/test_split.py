"""Validation is made of whole groups, as near to the size asked for as they allow."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tools.prepare.split import choose_validation


def grouped(sizes: list[int]) -> list[list[int]]:
    rows = iter(range(sum(sizes)))
    return [list(itertools.islice(rows, size)) for size in sizes]


@given(
    sizes=st.lists(st.integers(1, 7), min_size=2, max_size=8),
    share=st.floats(0, 0.99),
    seed=st.integers(-3, 3),
)
def test_validation_is_the_nearest_size_that_groups_allow(
    sizes: list[int], share: float, seed: int
) -> None:
    groups, wanted = grouped(sizes), int(share * sum(sizes))
    sums = {sum(part) for n in range(len(sizes)) for part in itertools.combinations(sizes, n)}
    chosen = choose_validation(groups, wanted, seed)
    assert len(chosen) == max(total for total in sums if total <= wanted)
    assert all(chosen.issuperset(group) or chosen.isdisjoint(group) for group in groups)


def test_large_and_small_groups_are_as_likely_to_validate() -> None:
    groups = grouped([1, 2] * 200)
    chosen = choose_validation(groups, 300, 42)
    for size in (1, 2):  # 100 of 200 expected, standard deviation 5
        assert 80 <= sum(chosen.issuperset(group) for group in groups if len(group) == size) <= 120
