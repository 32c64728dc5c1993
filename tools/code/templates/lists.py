"""Lists: access, sums and counts, filters, changes, search."""

import itertools
import math
from collections.abc import Iterator

from tools.code.templates.parts import (
    CHANGES,
    CONDITIONS,
    INTEGERS,
    NOT_EMPTY,
    Change,
    Condition,
    Template,
    template,
)


def templates() -> Iterator[Template]:
    """Yield the templates of this category."""
    for condition in CONDITIONS:
        yield from _by_condition(condition)
    for change in CHANGES:
        yield from _by_change(change)
    for index, change in enumerate(CHANGES):
        for condition in (CONDITIONS[index], CONDITIONS[(index + 4) % len(CONDITIONS)]):
            yield _changed_where(change, condition)
    for k in (2, 3, 4):
        yield from _by_number(k)
    yield from _plain()


def _by_condition(c: Condition) -> Iterator[Template]:
    test = c.code.format(x="number")
    if c.name != "nonzero":  # it would be the sum of all
        yield template(
            f"sum_{c.name}(numbers)",
            f"Return the sum of the numbers that are {c.words}.",
            f"total = 0\nfor number in numbers:\n    if {test}:\n        total += number\n"
            "return total",
            lambda xs: sum(filter(c.holds, xs)),
            *INTEGERS,
        )
    yield template(
        f"count_{c.name}(numbers)",
        f"Count the numbers that are {c.words}.",
        f"return sum(1 for number in numbers if {test})",
        lambda xs: [c.holds(x) for x in xs].count(True),
        *INTEGERS,
    )
    if c.name != "odd":  # the mini suite's filter_even
        yield template(
            f"without_{c.name}(numbers)",
            f"Return the list without the numbers that are {c.words}.",
            f"kept = []\nfor number in numbers:\n    if not ({test}):\n"
            "        kept.append(number)\nreturn kept",
            lambda xs: [x for x in xs if not c.holds(x)],
            *INTEGERS,
        )
    yield template(
        f"first_{c.name}(numbers)",
        f"Return the first number that is {c.words}, None if there is none."
        if "end" not in c.words
        else "Return the first number that is positive and ends in 2, None if there is none.",
        f"for number in numbers:\n    if {test}:\n        return number\nreturn None",
        lambda xs: next(filter(c.holds, xs), None),
        *INTEGERS,
    )
    yield template(
        f"positions_of_{c.name}(numbers)",
        f"Return the positions of the numbers that are {c.words}.",
        f"return [i for i, number in enumerate(numbers) if {test}]",
        lambda xs: [i for i in range(len(xs)) if c.holds(xs[i])],
        *INTEGERS,
    )


def _by_change(c: Change) -> Iterator[Template]:
    code = c.code.format(x="number")
    yield template(
        f"all_{c.name}(numbers)",
        f"Return a list of each number {c.words}.",
        f"return [{code} for number in numbers]",
        lambda xs: list(map(c.apply, xs)),
        *INTEGERS,
    )
    yield template(
        f"total_{c.name}(numbers)",
        f"Return the sum of each number {c.words}.",
        f"total = 0\nfor number in numbers:\n    total += {code}\nreturn total",
        lambda xs: sum(map(c.apply, xs)),
        *INTEGERS,
    )


def _changed_where(change: Change, c: Condition) -> Template:
    return template(
        f"{change.name}_if_{c.name}(numbers)",
        f"Return a list of each number {change.words} of those that are {c.words}.",
        f"return [{change.code.format(x='number')} for number in numbers "
        f"if {c.code.format(x='number')}]",
        lambda xs: [change.apply(x) for x in filter(c.holds, xs)],
        *INTEGERS,
    )


def _by_number(k: int) -> Iterator[Template]:
    yield template(
        f"first_{k}(items)",
        f"Return the first {k} items of a list.",
        f"return items[:{k}]",
        lambda xs: [x for i, x in enumerate(xs) if i < k],
        *INTEGERS,
    )
    yield template(
        f"last_{k}(items)",
        f"Return the last {k} items of a list.",
        f"return items[-{k}:]",
        lambda xs: [x for i, x in enumerate(xs) if i >= len(xs) - k],
        *INTEGERS,
    )
    ordinal = {2: "second", 3: "third", 4: "fourth"}[k]
    yield template(
        f"every_{ordinal}(items)",
        f"Return every {ordinal} item of a list, from the first on.",
        f"return items[::{k}]",
        lambda xs: [x for i, x in enumerate(xs) if i % k == 0],
        *INTEGERS,
    )
    yield template(
        f"repeat_each_{k}_times(items)",
        f"Return a list with each item {k} times in a row.",
        f"result = []\nfor item in items:\n    result.extend([item] * {k})\nreturn result",
        lambda xs: [x for x in xs for _ in range(k)],
        *INTEGERS,
    )
    yield template(
        f"item_{k}(items)",
        f"Return the item at position {k}, None if there is none.",
        f"if len(items) <= {k}:\n    return None\nreturn items[{k}]",
        lambda xs: dict(enumerate(xs)).get(k),
        *INTEGERS,
    )


def _plain() -> Iterator[Template]:
    yield template(
        "first_item(items)",
        "Return the first item of a list that is not empty.",
        "return items[0]",
        lambda xs: next(iter(xs)),
        *NOT_EMPTY,
    )
    yield template(
        "last_item(items)",
        "Return the last item of a list, None if it is empty.",
        "if not items:\n    return None\nreturn items[-1]",
        lambda xs: dict(enumerate(xs)).get(len(xs) - 1),
        *INTEGERS,
    )
    yield template(
        "middle_item(items)",
        "Return the item in the middle of a list; of two, the later.",
        "return items[len(items) // 2]",
        lambda xs: xs[len(xs) >> 1],
        *NOT_EMPTY,
    )
    yield template(
        "product_of_list(numbers)",
        "Return the product of all numbers, 1 for none.",
        "product = 1\nfor number in numbers:\n    product *= number\nreturn product",
        math.prod,
        *INTEGERS,
    )
    yield template(
        "value_range(numbers)",
        "Return the largest number minus the smallest.",
        "return max(numbers) - min(numbers)",
        lambda xs: sorted(xs)[-1] - sorted(xs)[0],
        *NOT_EMPTY,
    )
    yield template(
        "second_largest(numbers)",
        "Return the second largest of the different numbers.",
        "return sorted(set(numbers))[-2]",
        lambda xs: max(x for x in xs if x < max(xs)),
        [3, 9, 9, 4],
        [1, 2],
        [5, -1, 0],
        [8, 8, 7],
    )
    yield template(
        "position_of_largest(numbers)",
        "Return the position of the largest number, of several the first.",
        """
            best = 0
            for i in range(1, len(numbers)):
                if numbers[i] > numbers[best]:
                    best = i
            return best
        """,
        lambda xs: xs.index(max(xs)),
        *NOT_EMPTY,
    )
    yield template(
        "running_totals(numbers)",
        "Return the sums of the first one, two, three numbers and so on.",
        """
            totals = []
            total = 0
            for number in numbers:
                total += number
                totals.append(total)
            return totals
        """,
        lambda xs: [sum(xs[: i + 1]) for i in range(len(xs))],
        *INTEGERS,
    )
    yield template(
        "steps(numbers)",
        "Return how much each number is above the one before.",
        "return [b - a for a, b in zip(numbers, numbers[1:])]",
        lambda xs: [xs[i] - xs[i - 1] for i in range(1, len(xs))],
        *INTEGERS,
    )
    yield template(
        "pairwise_sums(first, second)",
        "Add two lists of the same length, item by item.",
        "return [a + b for a, b in zip(first, second)]",
        lambda a, b: [a[i] + b[i] for i in range(len(a))],
        ([1, 2], [10, 20]),
        ([], []),
        ([5, -5, 0], [1, 2, 3]),
    )
    yield template(
        "dot_product(first, second)",
        "Return the sum of the products of two lists of the same length, item by item.",
        """
            total = 0
            for i in range(len(first)):
                total += first[i] * second[i]
            return total
        """,
        lambda a, b: sum(x * y for x, y in zip(a, b, strict=True)),
        ([1, 2, 3], [4, 5, 6]),
        ([], []),
        ([2, -1], [3, 7]),
    )
    yield template(
        "is_sorted(items)",
        "Check whether no item is smaller than the one before it.",
        """
            for i in range(1, len(items)):
                if items[i] < items[i - 1]:
                    return False
            return True
        """,
        lambda xs: xs == sorted(xs),
        [1, 2, 2, 5],
        *INTEGERS,
    )
    yield template(
        "common_items(first, second)",
        "Return the items of the first list that are in the second too.",
        "return [item for item in first if item in second]",
        lambda a, b: list(filter(set(b).__contains__, a)),
        ([1, 2, 3, 4], [4, 2, 9]),
        ([], [1]),
        ([5, 5], [5]),
        ([1], [2]),
    )
    yield template(
        "interleave(first, second)",
        "Put the items of two lists of the same length alternately into one.",
        """
            result = []
            for a, b in zip(first, second):
                result.append(a)
                result.append(b)
            return result
        """,
        lambda a, b: [x for pair in zip(a, b, strict=True) for x in pair],
        ([1, 2], [8, 9]),
        ([], []),
        (["a"], ["b"]),
    )
    yield template(
        "swap_ends(items)",
        "Return a list with its first and last item swapped.",
        """
            if len(items) < 2:
                return items
            return [items[-1]] + items[1:-1] + [items[0]]
        """,
        lambda xs: xs if len(xs) < 2 else [xs[-1], *xs[1:-1], xs[0]],
        *INTEGERS,
        [4],
    )
    yield template(
        "count_larger(numbers, limit)",
        "Count the numbers that are larger than a limit.",
        "return len([number for number in numbers if number > limit])",
        lambda xs, k: sum(x > k for x in xs),
        ([3, 8, 5], 4),
        ([], 0),
        ([1, 1], 1),
        ([9, 7], -2),
    )
    yield template(
        "append_total(numbers)",
        "Return a list with the sum of its numbers at the end.",
        "return numbers + [sum(numbers)]",
        lambda xs: [*xs, sum(xs)],
        *INTEGERS,
    )
    yield template(
        "item_pairs(items)",
        "Return the pairs of neighbours of a list as tuples.",
        "return [(items[i], items[i + 1]) for i in range(len(items) - 1)]",
        lambda xs: list(itertools.pairwise(xs)),
        *INTEGERS,
    )
    yield template(
        "largest_absolute(numbers)",
        "Return the number that is farthest from zero, of several the first.",
        "return max(numbers, key=abs)",
        lambda xs: sorted(xs, key=lambda x: -abs(x))[0],
        *NOT_EMPTY,
    )
