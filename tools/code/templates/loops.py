"""Loops: ranges, while-until, nested loops, break and continue."""

from collections.abc import Iterator

from tools.code.templates.parts import CHANGES, CONDITIONS, INTEGERS, Template, template


def templates() -> Iterator[Template]:
    """Yield the templates of this category."""
    for condition in CONDITIONS:
        test = condition.code.format(x="i")
        if condition.name not in ("negative", "nonzero", "above_10", "at_most_6"):
            yield template(
                f"sum_{condition.name}_up_to(n)",
                f"Return the sum of the integers from 1 to n that are {condition.words}.",
                f"""
                    total = 0
                    for i in range(1, n + 1):
                        if {test}:
                            total += i
                    return total
                """,
                lambda n, c=condition: sum(filter(c.holds, range(1, n + 1))),
                12,
                0,
                33,
                1,
                105,
            )
        if condition.name == "nonzero":  # always 0
            continue
        inner = condition.code.format(x="number")
        yield template(
            f"sum_until_{condition.name}(numbers)",
            f"Add up the numbers of a list before the first that is {condition.words}."
            if "end" not in condition.words
            else "Add up the numbers of a list before the first that is positive and ends in 2.",
            f"""
                total = 0
                for number in numbers:
                    if {inner}:
                        break
                    total += number
                return total
            """,
            lambda xs, c=condition: sum(
                xs[: next((i for i, x in enumerate(xs) if c.holds(x)), len(xs))]
            ),
            *INTEGERS,
            [1, 3, 2, 4],
        )
    for change in CHANGES:
        if change.name in ("doubled", "squared", "plus_3"):
            yield template(
                f"{change.name}_until(start, limit)",
                f"Count how often a number above 1 must be {change.words} to reach a limit.",
                f"""
                    count = 0
                    while start < limit:
                        start = {change.code.format(x="start")}
                        count += 1
                    return count
                """,
                lambda a, b, c=change: _times(a, b, c.apply),
                (3, 50),
                (2, 2),
                (5, 1000),
                (9, 4),
                (2, 257),
            )
    for k in (2, 3, 5):
        yield template(
            f"multiples_of_{k}(n)",
            f"Return the first n positive multiples of {k}.",
            f"result = []\nfor i in range(1, n + 1):\n    result.append(i * {k})\nreturn result",
            lambda n, k=k: list(range(k, k * n + 1, k)),
            3,
            0,
            1,
            6,
        )
        yield template(
            f"count_down_by_{k}(n)",
            f"Return the numbers from n down to 0 in steps of {k}.",
            f"result = []\nwhile n >= 0:\n    result.append(n)\n    n -= {k}\nreturn result",
            lambda n, k=k: list(range(n, -1, -k)),
            10,
            0,
            1,
            7,
        )
        yield template(
            f"sum_of_every_{k}(numbers)",
            f"Add up the numbers at the positions 0, {k}, {2 * k} and so on.",
            f"""
                total = 0
                for i in range(0, len(numbers), {k}):
                    total += numbers[i]
                return total
            """,
            lambda xs, k=k: sum(x for i, x in enumerate(xs) if i % k == 0),
            *INTEGERS,
        )
        yield template(
            f"powers_of_{k}(limit)",
            f"Return the powers of {k}, from 1 on, that are at most a limit.",
            f"""
                powers = []
                power = 1
                while power <= limit:
                    powers.append(power)
                    power *= {k}
                return powers
            """,
            lambda n, k=k: [k**i for i in range(20) if k**i <= n],
            30,
            0,
            1,
            125,
        )
    for sign, name in (("*", "star"), ("#", "hash"), ("o", "ring")):
        yield template(
            f"{name}_triangle(n)",
            f"Return n lines: one {sign}, then two, and so on.",
            f"lines = []\nfor i in range(1, n + 1):\n    lines.append('{sign}' * i)\nreturn lines",
            lambda n, s=sign: ["".join(s for _ in range(i + 1)) for i in range(n)],
            3,
            0,
            1,
            5,
        )
        yield template(
            f"{name}_rectangle(rows, columns)",
            f"Return a text of rows lines, each of columns times {sign}.",
            f"""
                line = ''
                for _ in range(columns):
                    line += '{sign}'
                return '\\n'.join([line] * rows)
            """,
            lambda r, c, s=sign: "\n".join(s * c for _ in range(r)),
            (2, 3),
            (1, 1),
            (3, 0),
            (0, 2),
        )
    yield from _single()


def _times(start: int, limit: int, change: object) -> int:
    return 0 if start >= limit else 1 + _times(change(start), limit, change)  # type: ignore[operator]


def _single() -> Iterator[Template]:
    yield template(
        "count_pairs_with_sum(numbers, target)",
        "Count the pairs of positions of a list whose numbers add up to a target.",
        """
            count = 0
            for i in range(len(numbers)):
                for j in range(i + 1, len(numbers)):
                    if numbers[i] + numbers[j] == target:
                        count += 1
            return count
        """,
        lambda xs, t: sum(
            t - x in xs[i + 1 :] and xs[i + 1 :].count(t - x) for i, x in enumerate(xs)
        ),
        ([1, 2, 3, 4], 5),
        ([], 0),
        ([2, 2, 2], 4),
        ([1, 9], 3),
    )
    yield template(
        "all_pairs(items)",
        "Return all pairs of a list's items as tuples, the earlier item first.",
        """
            pairs = []
            for i in range(len(items)):
                for j in range(i + 1, len(items)):
                    pairs.append((items[i], items[j]))
            return pairs
        """,
        lambda xs: [(a, b) for i, a in enumerate(xs) for b in xs[i + 1 :]],
        [1, 2, 3],
        [],
        [7],
        ["a", "b"],
    )
    yield template(
        "multiplication_table(n)",
        "Return the multiplication table up to n as a list of rows.",
        """
            table = []
            for i in range(1, n + 1):
                row = []
                for j in range(1, n + 1):
                    row.append(i * j)
                table.append(row)
            return table
        """,
        lambda n: [list(range(i, i * n + 1, i)) for i in range(1, n + 1)],
        2,
        1,
        0,
        4,
    )
    yield template(
        "sum_of_matrix(matrix)",
        "Return the sum of all numbers of a list of rows.",
        """
            total = 0
            for row in matrix:
                for number in row:
                    total += number
            return total
        """,
        lambda m: sum(map(sum, m)),
        [[1, 2], [3, 4]],
        [],
        [[5]],
        [[], [-1, 1, 6]],
    )
    yield template(
        "row_sums(matrix)",
        "Return the sum of each row of a list of rows.",
        "sums = []\nfor row in matrix:\n    sums.append(sum(row))\nreturn sums",
        lambda m: list(map(sum, m)),
        [[1, 2], [3, 4]],
        [],
        [[5]],
        [[], [-1, 1, 6]],
    )
    yield template(
        "largest_in_matrix(matrix)",
        "Return the largest number of a list of rows that are not empty.",
        """
            largest = matrix[0][0]
            for row in matrix:
                for number in row:
                    if number > largest:
                        largest = number
            return largest
        """,
        lambda m: max(map(max, m)),
        [[1, 7], [3, 4]],
        [[-5]],
        [[1, 2], [9, 3]],
        [[-4, -2], [-3, -9]],
    )
    yield template(
        "sum_without_neighbours_of_13(numbers)",
        "Add up the numbers of a list, but not 13 nor what comes right after it.",
        """
            total = 0
            skip = False
            for number in numbers:
                if number == 13:
                    skip = True
                    continue
                if not skip:
                    total += number
                skip = False
            return total
        """,
        lambda xs: sum(x for p, x in zip([0, *xs], xs, strict=False) if 13 not in (p, x)),
        [1, 2, 13, 4, 5],
        [],
        [13],
        [13, 13, 2, 1],
        [6, 7],
    )
    yield template(
        "halve_to_one(n)",
        "Count how often a positive integer can be halved, rounding down, until it is 1.",
        "count = 0\nwhile n > 1:\n    n = n // 2\n    count += 1\nreturn count",
        lambda n: n.bit_length() - 1,
        8,
        1,
        9,
        1000,
    )
    yield template(
        "index_of_longest(words)",
        "Return the position of the longest word, of several the first.",
        """
            best = 0
            for i, word in enumerate(words):
                if len(word) > len(words[best]):
                    best = i
            return best
        """,
        lambda ws: max(range(len(ws)), key=lambda i: (len(ws[i]), -i)),
        ["a", "ccc", "bb"],
        ["x"],
        ["aa", "bb"],
    )
    yield template(
        "numbered(words)",
        "Return the words with their numbers from 1 on, as in '1. word'.",
        """
            lines = []
            for i, word in enumerate(words):
                lines.append(str(i + 1) + '. ' + word)
            return lines
        """,
        lambda ws: [f"{i}. {w}" for i, w in enumerate(ws, 1)],
        ["pen", "ink"],
        [],
        ["one"],
    )
    yield template(
        "steps_to_one(n)",
        "Count the steps to 1, halving even numbers and taking odd ones times 3 plus 1.",
        """
            steps = 0
            while n != 1:
                if n % 2 == 0:
                    n = n // 2
                else:
                    n = 3 * n + 1
                steps += 1
            return steps
        """,
        lambda n: {6: 8, 1: 0, 7: 16, 16: 4, 27: 111}[n],
        6,
        1,
        7,
        16,
        27,
    )
    yield template(
        "first_missing(numbers)",
        "Return the smallest positive integer that is not in a list.",
        "candidate = 1\nwhile candidate in numbers:\n    candidate += 1\nreturn candidate",
        lambda xs: min(set(range(1, len(xs) + 2)) - set(xs)),
        [3, 1, 2],
        [],
        [2, 3],
        [1, 5, 3],
    )
    yield template(
        "alternating_sum(numbers)",
        "Add the first number, subtract the second, add the third, and so on.",
        """
            total = 0
            sign = 1
            for number in numbers:
                total += sign * number
                sign = -sign
            return total
        """,
        lambda xs: sum(xs[::2]) - sum(xs[1::2]),
        *INTEGERS,
    )
    yield template(
        "longest_run(items)",
        "Return the length of the longest run of equal neighbours.",
        """
            longest = 0
            current = 0
            for i in range(len(items)):
                if i > 0 and items[i] == items[i - 1]:
                    current += 1
                else:
                    current = 1
                longest = max(longest, current)
            return longest
        """,
        lambda xs: max(
            (
                n
                for n in range(1, len(xs) + 1)
                for i in range(len(xs) - n + 1)
                if len(set(xs[i : i + n])) == 1
            ),
            default=0,
        ),
        [1, 1, 2, 2, 2],
        [],
        [5],
        [1, 2, 3],
        [4, 4, 1, 4],
    )
