"""Splits rows at random so that no task is in both train and validation."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence

from tools.prepare.odd_texts import folded


def group_key(row: Mapping[str, str], given: Sequence[str]) -> tuple[str, ...]:
    """Return what makes rows one task: the fields that ask, `folded`."""
    return tuple(folded(row[field]) for field in given)


def group_rows(rows: Sequence[Mapping[str, str]], given: Sequence[str]) -> list[list[int]]:
    """Return the indexes of the rows of each task, in an order of the content alone."""
    groups: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        groups[group_key(row, given)].append(index)
    return [groups[key] for key in sorted(groups)]


def choose_validation(groups: list[list[int]], size: int, seed: int) -> set[int]:
    """Return the row indexes of random whole groups: `size` rows, or the nearest below.

    A subset sum over the shuffled groups: bit s of `reached` says that some of the groups
    so far have s rows together, and `last` names the group that first made it so.
    """
    order = list(groups)
    random.Random(str(seed)).shuffle(order)  # as a number, a seed would lose its sign
    reached, last = 1, {}
    for number, group in enumerate(order):
        new = (reached << len(group)) & ~reached & ((2 << size) - 1)
        reached |= new
        while new:
            total = new.bit_length() - 1
            last[total] = number
            new ^= 1 << total
        if size in last or not size:
            break
    chosen: set[int] = set()
    total = reached.bit_length() - 1
    while total:
        group = order[last[total]]
        chosen.update(group)
        total -= len(group)
    return chosen
