"""Algorithms: sorting, searching, two pointers, recursion, digits, dynamic programming."""

import bisect
import itertools
import math
import statistics
from collections.abc import Iterator
from typing import Any

from tools.code.templates.parts import (
    CHANGES,
    CONDITIONS,
    INTEGERS,
    NOT_EMPTY,
    Template,
    template,
)

_SORTED = ([1, 3, 5, 7, 9], [2, 4], [8], [-5, 0, 3, 11, 20, 21])
_NESTED: tuple[Any, ...] = ([3, [12, [-5, 7]], 10], [], [[2], [[15]]], [1, 42, [100, [9]], -21])
_TREES = ((5, (3, None, None), (8, None, (9, None, None))), None, (1, None, None),
          (4, (2, (1, None, None), (3, None, None)), None))  # fmt: skip


def templates() -> Iterator[Template]:
    """Yield the templates of this category."""
    yield from _sorting()
    yield from _searching()
    yield from _two_pointers()
    yield from _nested()
    yield from _trees()
    yield from _sequences()
    yield from _digits()
    yield from _others()
    yield from _counting_ways()


def _sorting() -> Iterator[Template]:
    orders = (
        ("ascending", "in rising order", "{a} > {b}", lambda x: x),
        ("descending", "in falling order", "{a} < {b}", lambda x: -x),
        (
            "by_size",
            "by their distance from zero, equal ones in their order",
            "abs({a}) > abs({b})",
            abs,
        ),
        (
            "by_last_digit",
            "by their remainder by 10, equal ones in their order",
            "{a} % 10 > {b} % 10",
            lambda x: x % 10,
        ),
        (
            "by_parity",
            "with the even ones first, else in their order",
            "{a} % 2 > {b} % 2",
            lambda x: x % 2,
        ),
    )
    for name, words, code, key in orders:
        yield template(
            f"bubble_sort_{name}(numbers)",
            f"Return numbers sorted {words}, by swapping neighbours.",
            f"""
                result = list(numbers)
                for end in range(len(result) - 1, 0, -1):
                    for i in range(end):
                        if {code.format(a="result[i]", b="result[i + 1]")}:
                            result[i], result[i + 1] = result[i + 1], result[i]
                return result
            """,
            lambda xs, k=key: sorted(xs, key=k),
            *INTEGERS,
        )
        yield template(
            f"insertion_sort_{name}(numbers)",
            f"Return numbers sorted {words}, by inserting one after another.",
            f"""
                result = []
                for number in numbers:
                    i = len(result)
                    while i > 0 and {code.format(a="result[i - 1]", b="number")}:
                        i -= 1
                    result.insert(i, number)
                return result
            """,
            lambda xs, k=key: sorted(xs, key=k),
            *INTEGERS,
        )
    for name, words, pick, reverse in (
        ("ascending", "in rising order", "min", False),
        ("descending", "in falling order", "max", True),
    ):
        yield template(
            f"selection_sort_{name}(numbers)",
            f"Return numbers sorted {words}, by taking out one after another.",
            f"""
                rest = list(numbers)
                result = []
                while rest:
                    chosen = {pick}(rest)
                    rest.remove(chosen)
                    result.append(chosen)
                return result
            """,
            lambda xs, r=reverse: sorted(xs, reverse=r),
            *INTEGERS,
        )
    yield template(
        "merge_sorted(first, second)",
        "Merge two lists in rising order into one in rising order.",
        """
            result = []
            i = 0
            j = 0
            while i < len(first) or j < len(second):
                if j == len(second) or (i < len(first) and first[i] <= second[j]):
                    result.append(first[i])
                    i += 1
                else:
                    result.append(second[j])
                    j += 1
            return result
        """,
        lambda a, b: sorted(a + b),
        ([1, 4], [2, 3]),
        ([], [5]),
        ([1, 1], [1]),
        ([7], []),
    )
    yield template(
        "merge_sort(numbers)",
        "Return numbers in rising order, by sorting each half and merging.",
        """
            if len(numbers) < 2:
                return numbers
            middle = len(numbers) // 2
            left = merge_sort(numbers[:middle])
            right = merge_sort(numbers[middle:])
            result = []
            while left and right:
                if left[0] <= right[0]:
                    result.append(left.pop(0))
                else:
                    result.append(right.pop(0))
            return result + left + right
        """,
        sorted,
        *INTEGERS,
    )
    yield template(
        "quick_sort(numbers)",
        "Return numbers in rising order, by dividing them at the first.",
        """
            if not numbers:
                return []
            pivot = numbers[0]
            smaller = [x for x in numbers[1:] if x < pivot]
            others = [x for x in numbers[1:] if x >= pivot]
            return quick_sort(smaller) + [pivot] + quick_sort(others)
        """,
        sorted,
        *INTEGERS,
    )


def _searching() -> Iterator[Template]:
    cases = *((xs, t) for xs in _SORTED for t in (xs[0], xs[-1], 6)), ([], 1)
    yield template(
        "binary_search(numbers, target)",
        "Return the position of a target in a list of different numbers "
        "in rising order, -1 if it is not there.",
        """
            low = 0
            high = len(numbers) - 1
            while low <= high:
                middle = (low + high) // 2
                if numbers[middle] == target:
                    return middle
                if numbers[middle] < target:
                    low = middle + 1
                else:
                    high = middle - 1
            return -1
        """,
        lambda xs, t: xs.index(t) if t in xs else -1,
        *cases,
    )
    for name, words, code, expected in (
        (
            "insert_position",
            "where a target can be inserted into a rising list, before equal numbers",
            "<",
            bisect.bisect_left,
        ),
        (
            "position_after",
            "where a target can be inserted into a rising list, behind equal numbers",
            "<=",
            bisect.bisect_right,
        ),
    ):
        yield template(
            f"{name}(numbers, target)",
            f"Return the position {words}.",
            f"""
                low = 0
                high = len(numbers)
                while low < high:
                    middle = (low + high) // 2
                    if numbers[middle] {code} target:
                        low = middle + 1
                    else:
                        high = middle
                return low
            """,
            expected,
            *cases,
            ([2, 2, 2], 2),
        )
    yield template(
        "linear_search(items, target)",
        "Return the first position of a target in a list, -1 if it is not there.",
        """
            for i in range(len(items)):
                if items[i] == target:
                    return i
            return -1
        """,
        lambda xs, t: next((i for i, x in enumerate(xs) if x == t), -1),
        ([4, 7, 7], 7),
        ([], 1),
        ([1, 2], 3),
    )
    yield template(
        "last_position(items, target)",
        "Return the last position of a target in a list, -1 if it is not there.",
        """
            for i in range(len(items) - 1, -1, -1):
                if items[i] == target:
                    return i
            return -1
        """,
        lambda xs, t: max((i for i, x in enumerate(xs) if x == t), default=-1),
        ([4, 7, 7], 7),
        ([], 1),
        ([3, 1, 2], 3),
    )
    for power, name in ((2, "square"), (3, "cube")):
        yield template(
            f"whole_{name}_root(n)",
            f"Return the largest integer whose {name} is not above n, by halving a range.",
            f"""
                low = 0
                high = n + 1
                while high - low > 1:
                    middle = (low + high) // 2
                    if middle ** {power} <= n:
                        low = middle
                    else:
                        high = middle
                return low
            """,
            lambda n, p=power: next(i for i in range(n + 1) if (i + 1) ** p > n),
            10,
            1,
            27,
            64,
            99,
        )
    yield template(
        "peak(numbers)",
        "Return the position of the largest number of a list that first rises, then falls.",
        """
            i = 0
            while i + 1 < len(numbers) and numbers[i + 1] > numbers[i]:
                i += 1
            return i
        """,
        lambda xs: xs.index(max(xs)),
        [1, 3, 5, 2],
        [4],
        [1, 2, 3],
        [9, 4, 1],
    )


def _two_pointers() -> Iterator[Template]:
    for condition in CONDITIONS:
        test = condition.code.format(x="number")
        yield template(
            f"move_{condition.name}_to_end(numbers)",
            f"Move the numbers that are {condition.words} behind the others, both in their order.",
            f"""
                front = []
                back = []
                for number in numbers:
                    if {test}:
                        back.append(number)
                    else:
                        front.append(number)
                return front + back
            """,
            lambda xs, c=condition: sorted(xs, key=c.holds),
            *INTEGERS,
        )
    yield template(
        "has_pair_with_sum(numbers, target)",
        "Check whether two numbers at different positions of a rising list add up to a target.",
        """
            left = 0
            right = len(numbers) - 1
            while left < right:
                total = numbers[left] + numbers[right]
                if total == target:
                    return True
                if total < target:
                    left += 1
                else:
                    right -= 1
            return False
        """,
        lambda xs, t: any(a + b == t for a, b in itertools.combinations(xs, 2)),
        (_SORTED[0], 8),
        (_SORTED[0], 7),
        (_SORTED[3], -5),
        ([], 0),
        ([4], 8),
    )
    yield template(
        "unique_sorted(numbers)",
        "Return a list in rising order without its repetitions.",
        """
            result = []
            for i in range(len(numbers)):
                if i == 0 or numbers[i] != numbers[i - 1]:
                    result.append(numbers[i])
            return result
        """,
        lambda xs: sorted(set(xs)),
        [1, 1, 2, 3, 3],
        [],
        [5, 5],
        [1, 2, 4],
    )
    yield template(
        "is_subsequence(part, whole)",
        "Check whether the characters of a text stand in another in their order.",
        """
            i = 0
            for character in whole:
                if i < len(part) and character == part[i]:
                    i += 1
            return i == len(part)
        """,
        lambda a, b: any("".join(c) == a for c in itertools.combinations(b, len(a))),
        ("ace", "abcde"),
        ("aec", "abcde"),
        ("", "x"),
        ("aa", "a"),
    )
    yield template(
        "squares_of_sorted(numbers)",
        "Return the squares of a rising list in rising order.",
        """
            left = 0
            right = len(numbers) - 1
            result = []
            while left <= right:
                if abs(numbers[left]) > abs(numbers[right]):
                    result.append(numbers[left] ** 2)
                    left += 1
                else:
                    result.append(numbers[right] ** 2)
                    right -= 1
            return result[::-1]
        """,
        lambda xs: sorted(x * x for x in xs),
        [-4, -1, 0, 3],
        [],
        [-2, -1],
        [1, 5],
    )
    yield template(
        "largest_container(heights)",
        "Return the largest area between two lines of a list of heights: their "
        "distance times the lower height.",
        """
            best = 0
            left = 0
            right = len(heights) - 1
            while left < right:
                best = max(best, (right - left) * min(heights[left], heights[right]))
                if heights[left] < heights[right]:
                    left += 1
                else:
                    right -= 1
            return best
        """,
        lambda h: max(
            ((j - i) * min(h[i], h[j]) for i, j in itertools.combinations(range(len(h)), 2)),
            default=0,
        ),
        [1, 8, 6, 2, 5, 4, 8, 3, 7],
        [1, 1],
        [],
        [4, 3, 2, 1, 4],
    )


def _leaves(nested: Any) -> list[int]:
    return [x for item in nested for x in _leaves(item)] if isinstance(nested, list) else [nested]


def _mapped(nested: Any, change: Any) -> Any:
    return (
        [_mapped(item, change) for item in nested] if isinstance(nested, list) else change(nested)
    )


def _nested() -> Iterator[Template]:
    for condition in CONDITIONS[::2]:
        name = f"nested_count_{condition.name}"
        yield template(
            f"{name}(items)",
            f"Count the numbers that are {condition.words} in a list of numbers and lists, "
            "at any depth.",
            f"""
                count = 0
                for item in items:
                    if isinstance(item, list):
                        count += {name}(item)
                    elif {condition.code.format(x="item")}:
                        count += 1
                return count
            """,
            lambda xs, c=condition: sum(map(c.holds, _leaves(xs))),
            *_NESTED,
        )
    for change in CHANGES[::2]:
        name = f"nested_{change.name}"
        yield template(
            f"{name}(items)",
            f"Return a list of numbers and lists with each number {change.words}, at any depth.",
            f"""
                result = []
                for item in items:
                    if isinstance(item, list):
                        result.append({name}(item))
                    else:
                        result.append({change.code.format(x="item")})
                return result
            """,
            lambda xs, c=change: _mapped(xs, c.apply),
            *_NESTED,
        )
    yield template(
        "nested_depth(items)",
        "Return how deep lists stand in each other: 1 for a list of numbers.",
        """
            deepest = 0
            for item in items:
                if isinstance(item, list):
                    deepest = max(deepest, nested_depth(item))
            return deepest + 1
        """,
        lambda xs: max(itertools.accumulate((c == "[") - (c == "]") for c in str(xs))),
        *_NESTED,
    )
    yield template(
        "flatten_deep(items)",
        "Return the numbers of a list of numbers and lists, at any depth, in one list.",
        """
            if not isinstance(items, list):
                return [items]
            result = []
            for item in items:
                result += flatten_deep(item)
            return result
        """,
        _leaves,
        *_NESTED,
    )


def _values(tree: Any) -> list[int]:
    return [] if tree is None else [*_values(tree[1]), tree[0], *_values(tree[2])]


def _trees() -> Iterator[Template]:
    what = "a tree, (value, left, right) or None"
    yield template(
        "tree_total(tree)",
        f"Return the sum of the values of {what}.",
        """
            if tree is None:
                return 0
            value, left, right = tree
            return value + tree_total(left) + tree_total(right)
        """,
        lambda t: sum(_values(t)),
        *_TREES,
    )
    yield template(
        "tree_size(tree)",
        f"Count the values of {what}.",
        "if tree is None:\n    return 0\nreturn 1 + tree_size(tree[1]) + tree_size(tree[2])",
        lambda t: len(_values(t)),
        *_TREES,
    )
    yield template(
        "tree_depth(tree)",
        f"Return the number of levels of {what}.",
        "if tree is None:\n    return 0\nreturn 1 + max(tree_depth(tree[1]), tree_depth(tree[2]))",
        lambda t: {None: 0, 5: 3, 1: 1, 4: 3}[t and t[0]],
        *_TREES,
    )
    yield template(
        "tree_in_order(tree)",
        f"Return the values of {what}, the left before and the right after each.",
        """
            if tree is None:
                return []
            value, left, right = tree
            return tree_in_order(left) + [value] + tree_in_order(right)
        """,
        _values,
        *_TREES,
    )
    yield template(
        "tree_leaves(tree)",
        f"Count the nodes without children of {what}.",
        """
            if tree is None:
                return 0
            if tree[1] is None and tree[2] is None:
                return 1
            return tree_leaves(tree[1]) + tree_leaves(tree[2])
        """,
        lambda t: str(t).count("None, None"),
        *_TREES,
    )
    yield template(
        "tree_contains(tree, target)",
        f"Check whether {what}, holds a value.",
        """
            if tree is None:
                return False
            if tree[0] == target:
                return True
            return tree_contains(tree[1], target) or tree_contains(tree[2], target)
        """,
        lambda t, v: v in _values(t),
        (_TREES[0], 9),
        (_TREES[0], 4),
        (None, 1),
        (_TREES[3], 1),
    )
    yield template(
        "mirror(tree)",
        f"Swap left and right everywhere in {what}.",
        "if tree is None:\n    return None\nreturn (tree[0], mirror(tree[2]), mirror(tree[1]))",
        lambda t: t and (t[0], *(_mirrored(part) for part in (t[2], t[1]))),
        *_TREES,
    )


def _mirrored(tree: Any) -> Any:
    return None if tree is None else (tree[0], _mirrored(tree[2]), _mirrored(tree[1]))


def _sequences() -> Iterator[Template]:
    for name, a, b in (("fibonacci", 0, 1), ("lucas", 2, 1), ("pell_like", 1, 3)):
        numbers = [a, b]
        while len(numbers) < 30:
            numbers.append(sum(numbers[-2:]))
        yield template(
            f"{name}(n)",
            f"Return number n, from 0 on, of the sequence {a}, {b}, ..., in which each number is "
            "the sum of the two before it.",
            f"a = {a}\nb = {b}\nfor _ in range(n):\n    a, b = b, a + b\nreturn a",
            lambda n, xs=numbers: xs[n],
            6,
            0,
            1,
            20,
        )
        yield template(
            f"{name}_below(limit)",
            f"Return the numbers below a limit of the sequence {a}, {b}, ..., in which "
            "each number is the sum of the two before it.",
            f"""
                result = []
                a = {a}
                b = {b}
                while a < limit or b < limit:
                    if a < limit:
                        result.append(a)
                    a, b = b, a + b
                return result
            """,
            lambda k, xs=numbers: [x for x in xs if x < k],
            10,
            0,
            2,
            50,
        )
    yield template(
        "pascal_row(n)",
        "Return row n, from 0 on, of Pascal's triangle.",
        """
            row = [1]
            for _ in range(n):
                row = [a + b for a, b in zip([0] + row, row + [0])]
            return row
        """,
        lambda n: [math.comb(n, k) for k in range(n + 1)],
        3,
        0,
        1,
        6,
    )
    yield template(
        "primes_below(n)",
        "Return the prime numbers below n, by striking out multiples.",
        """
            is_candidate = [True] * n
            primes = []
            for i in range(2, n):
                if is_candidate[i]:
                    primes.append(i)
                    for multiple in range(i * i, n, i):
                        is_candidate[multiple] = False
            return primes
        """,
        lambda n: [p for p in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29) if p < n],
        10,
        0,
        2,
        3,
        30,
    )
    yield template(
        "recursive_power(base, exponent)",
        "Return a base to a non-negative exponent, by squaring.",
        """
            if exponent == 0:
                return 1
            half = recursive_power(base, exponent // 2)
            if exponent % 2 == 0:
                return half * half
            return half * half * base
        """,
        lambda a, b: a**b,
        (2, 10),
        (5, 0),
        (3, 5),
        (-2, 3),
    )
    yield template(
        "count_hanoi_moves(n)",
        "Count the moves that a tower of Hanoi of n discs needs.",
        "if n == 0:\n    return 0\nreturn 2 * count_hanoi_moves(n - 1) + 1",
        lambda n: (1 << n) - 1,
        3,
        0,
        1,
        10,
    )


def _digits() -> Iterator[Template]:
    yield template(
        "digit_sum(n)",
        "Return the sum of the digits of an integer of 0 or more.",
        "total = 0\nwhile n > 0:\n    total += n % 10\n    n = n // 10\nreturn total",
        lambda n: sum(map(int, str(n))),
        123,
        0,
        9,
        9090,
    )
    yield template(
        "reverse_digits(n)",
        "Return the integer of the digits of another in reverse order.",
        """
            result = 0
            while n > 0:
                result = result * 10 + n % 10
                n = n // 10
            return result
        """,
        lambda n: int(str(n)[::-1]),
        123,
        5,
        120,
        9001,
    )
    yield template(
        "count_digits(n)",
        "Count the digits of a positive integer.",
        "count = 0\nwhile n > 0:\n    count += 1\n    n = n // 10\nreturn count",
        lambda n: len(str(n)),
        123,
        1,
        10,
        99999,
    )
    yield template(
        "is_armstrong(n)",
        "Check whether an integer is the sum of its digits, each to the power of their number.",
        """
            digits = [int(digit) for digit in str(n)]
            return sum(digit ** len(digits) for digit in digits) == n
        """,
        lambda n: n in (1, 153, 370, 9474),
        153,
        154,
        1,
        10,
        9474,
    )
    for digit in (0, 7, 9):
        yield template(
            f"count_digit_{digit}(n)",
            f"Count the digit {digit} in a positive integer.",
            f"""
                count = 0
                while n > 0:
                    if n % 10 == {digit}:
                        count += 1
                    n = n // 10
                return count
            """,
            lambda n, d=digit: str(n).count(str(d)),
            7079,
            1,
            90,
            777,
            1000,
        )
    for base, name in ((2, "binary"), (3, "ternary"), (8, "octal")):
        yield template(
            f"to_{name}(n)",
            f"Write an integer of 0 or more in base {base}, as text.",
            f"""
                if n == 0:
                    return '0'
                digits = ''
                while n > 0:
                    digits = str(n % {base}) + digits
                    n = n // {base}
                return digits
            """,
            lambda n, b=base: {
                2: f"{n:b}",
                8: f"{n:o}",
                3: {10: "101", 0: "0", 1: "1", 80: "2222"}[n],
            }[b],
            10,
            0,
            1,
            80,
        )
        yield template(
            f"from_{name}(text)",
            f"Read a text in base {base} as an integer.",
            f"value = 0\nfor digit in text:\n    value = value * {base} + int(digit)\nreturn value",
            lambda s, b=base: int(s, b),
            "101",
            "0",
            "1",
            "1110",
        )


def _others() -> Iterator[Template]:
    yield template(
        "largest_subarray_sum(numbers)",
        "Return the largest sum of neighbours of a list that is not empty.",
        """
            best = numbers[0]
            current = numbers[0]
            for number in numbers[1:]:
                current = max(number, current + number)
                best = max(best, current)
            return best
        """,
        lambda xs: max(sum(xs[i:j]) for i, j in itertools.combinations(range(len(xs) + 1), 2)),
        *NOT_EMPTY,
    )
    yield template(
        "longest_rise(numbers)",
        "Return the length of the longest run of neighbours in which each is larger "
        "than the one before.",
        """
            longest = 0
            current = 0
            for i in range(len(numbers)):
                if i > 0 and numbers[i] > numbers[i - 1]:
                    current += 1
                else:
                    current = 1
                longest = max(longest, current)
            return longest
        """,
        lambda xs: max(
            (
                j - i
                for i, j in itertools.combinations(range(len(xs) + 1), 2)
                if all(a < b for a, b in itertools.pairwise(xs[i:j]))
            ),
            default=0,
        ),
        *INTEGERS,
    )
    yield template(
        "is_balanced(text)",
        "Check whether the round brackets of a text open and close in order.",
        """
            open_brackets = 0
            for character in text:
                if character == '(':
                    open_brackets += 1
                elif character == ')':
                    open_brackets -= 1
                    if open_brackets < 0:
                        return False
            return open_brackets == 0
        """,
        lambda s: s in ("(a)(b)", "", "((()))"),
        "(a)(b)",
        "(()",
        "",
        ")(",
        "((()))",
    )
    yield template(
        "permutations_of(items)",
        "Return all orders of the items of a list, as lists.",
        """
            if not items:
                return [[]]
            result = []
            for i in range(len(items)):
                for rest in permutations_of(items[:i] + items[i + 1:]):
                    result.append([items[i]] + rest)
            return result
        """,
        lambda xs: list(map(list, itertools.permutations(xs))),
        [1, 2],
        [],
        [5],
        [1, 2, 3],
    )
    yield template(
        "subsets(items)",
        "Return all sublists of a list, without its first item before with it.",
        """
            if not items:
                return [[]]
            rest = subsets(items[1:])
            return rest + [[items[0]] + part for part in rest]
        """,
        lambda xs: [
            [x for i, x in enumerate(xs) if n >> (len(xs) - 1 - i) & 1] for n in range(2 ** len(xs))
        ],
        [1, 2],
        [],
        ["a"],
        [1, 2, 3],
    )
    yield template(
        "roman_value(text)",
        "Return the value of a Roman numeral.",
        """
            values = {'I': 1, 'V': 5, 'X': 10, 'L': 50, 'C': 100, 'D': 500, 'M': 1000}
            total = 0
            for i in range(len(text)):
                value = values[text[i]]
                if i + 1 < len(text) and value < values[text[i + 1]]:
                    total -= value
                else:
                    total += value
            return total
        """,
        lambda s: {"XIV": 14, "III": 3, "MCMXCIV": 1994, "LVIII": 58}[s],
        "XIV",
        "III",
        "MCMXCIV",
        "LVIII",
    )
    yield template(
        "count_inversions(numbers)",
        "Count the pairs of positions of which the first has the larger number.",
        """
            count = 0
            for i in range(len(numbers)):
                for j in range(i):
                    if numbers[j] > numbers[i]:
                        count += 1
            return count
        """,
        lambda xs: sum(a > b for a, b in itertools.combinations(xs, 2)),
        *INTEGERS,
    )
    yield template(
        "two_sum(numbers, target)",
        "Return the first positions (i, j), i < j, whose numbers add up to a "
        "target, by the smallest j; None if there are none.",
        """
            seen = {}
            for j in range(len(numbers)):
                if target - numbers[j] in seen:
                    return (seen[target - numbers[j]], j)
                seen.setdefault(numbers[j], j)
            return None
        """,
        lambda xs, t: next(
            ((i, j) for j in range(len(xs)) for i in range(j) if xs[i] + xs[j] == t), None
        ),
        ([2, 7, 11, 15], 9),
        ([3, 3], 6),
        ([], 0),
        ([1, 2], 9),
        ([5, 1, 4, 1], 5),
    )
    yield template(
        "median(numbers)",
        "Return the number in the middle of a sorted list, of two their mean.",
        """
            ordered = sorted(numbers)
            middle = len(ordered) // 2
            if len(ordered) % 2 == 1:
                return ordered[middle]
            return (ordered[middle - 1] + ordered[middle]) / 2
        """,
        statistics.median,
        *NOT_EMPTY,
    )
    yield template(
        "majority_item(items)",
        "Return the item that makes up more than half of a list, None if there is none.",
        """
            for item in items:
                if items.count(item) * 2 > len(items):
                    return item
            return None
        """,
        lambda xs: next((x for x in set(xs) if xs.count(x) > len(xs) / 2), None),
        [1, 2, 1],
        [],
        [1, 2],
        [4],
    )
    yield template(
        "look_and_say(text)",
        "Describe a text of digits: for each run its length and digit.",
        """
            result = ''
            i = 0
            while i < len(text):
                j = i
                while j < len(text) and text[j] == text[i]:
                    j += 1
                result += str(j - i) + text[i]
                i = j
            return result
        """,
        lambda s: "".join(f"{len(list(g))}{k}" for k, g in itertools.groupby(s)),
        "1211",
        "1",
        "",
        "333",
    )
    yield template(
        "power_modulo(base, exponent, modulus)",
        "Return the remainder of base to the power of exponent by a modulus.",
        """
            result = 1
            for _ in range(exponent):
                result = result * base % modulus
            return result
        """,
        pow,
        (3, 4, 5),
        (2, 10, 1000),
        (7, 3, 10),
        (5, 1, 3),
    )


def _counting_ways() -> Iterator[Template]:
    for k, words, ways in (
        (2, "1 or 2", [1, 1, 2, 3, 5, 8, 13, 21]),
        (3, "1, 2 or 3", [1, 1, 2, 4, 7, 13, 24, 44]),
    ):
        yield template(
            f"stair_ways_{k}(n)",
            f"Count the ways up n stairs in steps of {words}.",
            f"""
                ways = [1]
                for i in range(1, n + 1):
                    ways.append(sum(ways[max(0, i - {k}):i]))
                return ways[n]
            """,
            lambda n, w=ways: w[n],
            4,
            0,
            1,
            7,
        )
    for coins in ((1, 2, 5), (1, 5, 10), (3, 4)):
        name = "_".join(map(str, coins))
        yield template(
            f"coin_ways_{name}(amount)",
            f"Count the ways to pay an amount with coins of {', '.join(map(str, coins))}.",
            f"""
                ways = [1] + [0] * amount
                for coin in {list(coins)}:
                    for value in range(coin, amount + 1):
                        ways[value] += ways[value - coin]
                return ways[amount]
            """,
            lambda n, cs=coins: sum(
                sum(map(math.prod, zip(cs, counts, strict=True))) == n
                for counts in itertools.product(*(range(n // c + 1) for c in cs))
            ),
            5,
            0,
            1,
            12,
            24,
        )
        yield template(
            f"fewest_coins_{name}(amount)",
            f"Return how few coins of {', '.join(map(str, coins))} make an amount, "
            "None if none do.",
            f"""
                fewest = [0]
                for value in range(1, amount + 1):
                    options = []
                    for coin in {list(coins)}:
                        if coin <= value and fewest[value - coin] is not None:
                            options.append(fewest[value - coin] + 1)
                    fewest.append(min(options) if options else None)
                return fewest[amount]
            """,
            lambda n, cs=coins: min(
                (
                    sum(counts)
                    for counts in itertools.product(*(range(n // c + 1) for c in cs))
                    if sum(map(math.prod, zip(cs, counts, strict=True))) == n
                ),
                default=None,
            ),
            6,
            0,
            1,
            5,
            17,
        )
    yield template(
        "grid_paths(rows, columns)",
        "Count the ways from the first to the last field of a grid, going right or down.",
        """
            ways = [1] * columns
            for _ in range(rows - 1):
                for i in range(1, columns):
                    ways[i] += ways[i - 1]
            return ways[-1]
        """,
        lambda r, c: math.comb(r + c - 2, r - 1),
        (2, 3),
        (1, 1),
        (3, 3),
        (4, 2),
    )
    yield template(
        "edit_distance(first, second)",
        "Return how few insertions, deletions and replacements turn one text into another.",
        """
            row = list(range(len(second) + 1))
            for i, a in enumerate(first):
                new = [i + 1]
                for j, b in enumerate(second):
                    new.append(min(row[j + 1] + 1, new[j] + 1, row[j] + (a != b)))
                row = new
            return row[-1]
        """,
        lambda a, b: {"kitten": 3, "": 3, "same": 0, "ab": 2}[a],
        ("kitten", "sitting"),
        ("", "abc"),
        ("same", "same"),
        ("ab", "ba"),
    )
    yield template(
        "longest_common(first, second)",
        "Return the length of the longest text whose characters stand in two others in order.",
        """
            row = [0] * (len(second) + 1)
            for a in first:
                new = [0]
                for j, b in enumerate(second):
                    new.append(row[j] + 1 if a == b else max(row[j + 1], new[j]))
                row = new
            return row[-1]
        """,
        lambda a, b: max(
            n
            for n in range(len(a) + 1)
            for c in itertools.combinations(a, n)
            if set(itertools.combinations(b, n)) & {c}
        ),
        ("abcde", "ace"),
        ("", "x"),
        ("abc", "def"),
        ("aab", "aba"),
    )
