"""Conditionals: if-elif-else chains, early returns, all and any, missing values."""

from collections.abc import Iterator

from tools.code.templates.parts import CONDITIONS, INTEGERS, Template, template

_SCALES = (
    ("grade", "points", ((90, "A"), (75, "B"), (60, "C")), "F"),
    ("temperature_word", "degrees", ((30, "hot"), (18, "warm"), (5, "cool")), "cold"),
    ("size_name", "length", ((100, "large"), (50, "medium"), (10, "small")), "tiny"),
    ("age_group", "age", ((65, "senior"), (18, "adult"), (13, "teenager")), "child"),
    ("speed_class", "speed", ((120, "too fast"), (80, "fast"), (30, "normal")), "slow"),
)


def templates() -> Iterator[Template]:
    """Yield the templates of this category."""
    for condition in CONDITIONS:
        test = condition.code.format(x="number")
        yield template(
            f"all_{condition.name}(numbers)",
            f"Check whether all numbers of a list are {condition.words}.",
            f"for number in numbers:\n    if not ({test}):\n        return False\nreturn True",
            lambda xs, c=condition: all(map(c.holds, xs)),
            *INTEGERS,
            [-9, -21],
            [12, 42],
            [15],
        )
        yield template(
            f"any_{condition.name}(numbers)",
            f"Check whether a list has a number that is {condition.words}."
            if "end" not in condition.words
            else "Check whether a list has a positive number that ends in the digit 2.",
            f"return any({test} for number in numbers)",
            lambda xs, c=condition: True in map(c.holds, xs),
            *INTEGERS,
            [4, 8],
            [11],
        )
    for scale in _SCALES:
        yield _scale(*scale)
    for low, high in ((0, 10), (-5, 5), (1, 100)):
        bounds = f"{low}_{high}".replace("-", "minus_")
        yield template(
            f"clamp_{bounds}(x)",
            f"Return a number, but {low} for a smaller and {high} for a larger one.",
            f"if x < {low}:\n    return {low}\nif x > {high}:\n    return {high}\nreturn x",
            lambda x, a=low, b=high: sorted((a, x, b))[1],
            4,
            -7,
            250,
            low,
            high,
        )
        yield template(
            f"is_from_{bounds.replace('_', '_to_') if low >= 0 else bounds}(x)",
            f"Check whether a number is from {low} to {high}, both included.",
            f"return {low} <= x <= {high}",
            lambda x, a=low, b=high: x in range(a, b + 1),
            4,
            -7,
            250,
            low,
            high,
        )
    for (a, first), (b, second) in (
        ((3, "fizz"), (5, "buzz")),
        ((2, "tick"), (7, "tock")),
        ((4, "ping"), (6, "pong")),
    ):
        yield template(
            f"{first}_{second}(n)",
            f"Return '{first}' for a multiple of {a}, '{second}' for one of {b}, both together for "
            "one of both, else the number as text.",
            f"""
                if n % {a} == 0 and n % {b} == 0:
                    return '{first}{second}'
                if n % {a} == 0:
                    return '{first}'
                if n % {b} == 0:
                    return '{second}'
                return str(n)
            """,
            lambda n, a=a, b=b, f=first, s=second: f * (not n % a) + s * (not n % b) or str(n),
            a,
            b,
            a * b,
            1,
            84,
            11,
        )
    yield from _single()


def _scale(name: str, parameter: str, steps: tuple[tuple[int, str], ...], rest: str) -> Template:
    lines, said = [], []
    for number, (limit, word) in enumerate(steps):
        lines += [f"{'elif' if number else 'if'} {parameter} >= {limit}:", f"    return {word!r}"]
        said.append(f"'{word}' from {limit} on")
    body = "\n".join([*lines, "else:", f"    return {rest!r}"])

    def expected(value: int) -> str:
        ranks = [limit for limit, _ in reversed(steps)]
        words = [rest, *(word for _, word in reversed(steps))]
        return words[sum(value >= limit for limit in ranks)]

    inputs = [value for limit, _ in steps for value in (limit, limit - 1, limit + 5)]
    return template(
        f"{name}({parameter})", f"Return {', '.join(said)}, else '{rest}'.", body, expected, *inputs
    )


def _single() -> Iterator[Template]:
    yield template(
        "is_leap_year(year)",
        "Check whether a year is a leap year.",
        """
            if year % 400 == 0:
                return True
            if year % 100 == 0:
                return False
            return year % 4 == 0
        """,
        lambda y: y in (2024, 2000, 1996),
        2024,
        1900,
        2000,
        2023,
        1996,
        2100,
    )
    yield template(
        "days_in_month(month)",
        "Return the days of a month from 1 to 12 in a year that is no leap year.",
        "if month == 2:\n    return 28\nif month in (4, 6, 9, 11):\n    return 30\nreturn 31",
        lambda m: [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][m - 1],
        *range(1, 13),
    )
    yield template(
        "triangle_kind(a, b, c)",
        "Return 'equilateral', 'isosceles' or 'scalene' for the sides of a triangle.",
        "if a == b == c:\n    return 'equilateral'\nif a == b or b == c or a == c:\n"
        "    return 'isosceles'\nreturn 'scalene'",
        lambda *s: ["equilateral", "isosceles", "scalene"][len(set(s)) - 1],
        (3, 3, 3),
        (3, 4, 3),
        (3, 4, 4),
        (5, 5, 4),
        (3, 4, 5),
    )
    yield template(
        "is_triangle(a, b, c)",
        "Check whether three lengths can be the sides of a triangle.",
        "return a + b > c and a + c > b and b + c > a",
        lambda *s: 2 * max(s) < sum(s),
        (3, 4, 5),
        (1, 2, 3),
        (10, 2, 3),
        (2, 9, 3),
        (2, 2, 2),
    )
    yield template(
        "largest_of_three(a, b, c)",
        "Return the largest of three numbers.",
        "if a >= b and a >= c:\n    return a\nif b >= c:\n    return b\nreturn c",
        lambda *s: max(s),
        (1, 5, 3),
        (9, 2, 4),
        (1, 2, 8),
        (4, 4, 1),
        (-3, -1, -2),
    )
    yield template(
        "middle_of_three(a, b, c)",
        "Return the number between the smallest and the largest of three.",
        "return sorted([a, b, c])[1]",
        lambda *s: sum(s) - max(s) - min(s),
        (1, 5, 3),
        (9, 2, 4),
        (7, 7, 1),
    )
    yield template(
        "compare(a, b)",
        "Return 'less', 'equal' or 'greater' for the first number against the second.",
        """
            if a < b:
                return 'less'
            elif a == b:
                return 'equal'
            else:
                return 'greater'
        """,
        lambda a, b: ["equal", "greater", "less"][(a > b) - (a < b)],
        (1, 2),
        (5, 5),
        (9, -1),
    )
    yield template(
        "all_equal(items)",
        "Check whether all items of a list are equal.",
        "for item in items:\n    if item != items[0]:\n        return False\nreturn True",
        lambda xs: len(set(xs)) <= 1,
        [2, 2, 2],
        [],
        [1, 2],
        [3, 3, 4],
    )
    yield template(
        "value_or_zero(value)",
        "Return a value, and 0 in place of None.",
        "if value is None:\n    return 0\nreturn value",
        lambda v: {None: 0}.get(v, v),
        7,
        None,
        -2,
    )
    yield template(
        "first_or_default(items, default)",
        "Return the first item of a list, the default if it is empty.",
        "if len(items) == 0:\n    return default\nreturn items[0]",
        lambda xs, d: next(iter(xs), d),
        ([4, 5], 0),
        ([], 9),
        ([], None),
    )
    yield template(
        "safe_divide(a, b)",
        "Return a divided by b, None if b is zero.",
        "if b == 0:\n    return None\nreturn a / b",
        lambda a, b: a / b if b else None,
        (6, 3),
        (1, 0),
        (-9, 2),
        (0, 4),
    )
    yield template(
        "count_present(items)",
        "Count the items of a list that are not None.",
        "count = 0\nfor item in items:\n    if item is not None:\n        count += 1\nreturn count",
        lambda xs: len(xs) - xs.count(None),
        [1, None, 0],
        [],
        [None],
        ["a", False],
    )
    yield template(
        "exclusive_or(a, b)",
        "Check whether exactly one of two truth values is true.",
        "return a != b",
        lambda a, b: bool(a ^ b),
        (True, False),
        (True, True),
        (False, False),
        (False, True),
    )
    yield template(
        "majority(a, b, c)",
        "Check whether at least two of three truth values are true.",
        "return (a and b) or (a and c) or (b and c)",
        lambda *s: sum(s) > 1,
        (True, False, True),
        (False, False, True),
        (True, True, False),
        (False, True, True),
        (True, True, True),
        (False, False, False),
    )
    yield template(
        "quadrant(x, y)",
        "Return the quadrant, 1 to 4, of a point, 0 if it lies on an axis.",
        """
            if x == 0 or y == 0:
                return 0
            if x > 0:
                return 1 if y > 0 else 4
            return 2 if y > 0 else 3
        """,
        lambda x, y: {(1, 1): 1, (-1, 1): 2, (-1, -1): 3, (1, -1): 4}.get(
            ((x > 0) - (x < 0), (y > 0) - (y < 0)), 0
        ),
        (2, 3),
        (-2, 3),
        (-2, -3),
        (2, -3),
        (0, 5),
        (4, 0),
    )
    yield template(
        "ticket_price(age, member)",
        "Return 0 below 6 years, else 5 below 18 years, else 12; members pay "
        "2 less, but never less than 0.",
        """
            if age < 6:
                price = 0
            elif age < 18:
                price = 5
            else:
                price = 12
            if member:
                price -= 2
            return max(price, 0)
        """,
        lambda a, m: max([0, 5, 12][(a >= 6) + (a >= 18)] - 2 * m, 0),
        (30, False),
        (30, True),
        (5, True),
        (6, False),
        (17, True),
        (18, False),
    )
    yield template(
        "calculate(a, sign, b)",
        "Apply the sign '+', '-' or '*' to two numbers; None for another sign.",
        """
            if sign == '+':
                return a + b
            if sign == '-':
                return a - b
            if sign == '*':
                return a * b
            return None
        """,
        lambda a, s, b: {"+": sum((a, b)), "-": a - b, "*": a * b}.get(s),
        (4, "+", 3),
        (4, "-", 3),
        (4, "*", 3),
        (4, "/", 2),
    )
