"""Arithmetic: operations, comparisons, number theory."""

import math
from collections.abc import Iterator
from fractions import Fraction

from tools.code.templates.parts import CONDITIONS, Template, template

_PAIRS = ((7, 3), (12, 5), (2, 9), (30, 6), (1, 1))
_NUMBERS = (9, 4, 0, 17, 250, 1)


def templates() -> Iterator[Template]:
    """Yield the templates of this category."""
    yield from _of_one()
    yield from _of_two()
    yield from _with_a_constant()
    yield from _theory()


def _of_one() -> Iterator[Template]:
    yield template(
        "cube(x)",
        "Return a number to the power of three.",
        "return x * x * x",
        lambda x: x**3,
        2,
        -3,
        0,
        5,
    )
    yield template(
        "next_even(n)",
        "Return the smallest even integer greater than n.",
        "if n % 2 == 0:\n    return n + 2\nreturn n + 1",
        lambda n: next(m for m in range(n + 1, n + 3) if not m & 1),
        3,
        4,
        0,
        -5,
    )
    yield template(
        "last_digit(n)",
        "Return the last digit of a positive integer.",
        "return n % 10",
        lambda n: int(str(n)[-1]),
        327,
        40,
        8,
        1001,
    )
    yield template(
        "first_digit(n)",
        "Return the first digit of a positive integer.",
        "while n >= 10:\n    n = n // 10\nreturn n",
        lambda n: int(str(n)[0]),
        327,
        40,
        8,
        9001,
    )
    yield template(
        "sign(x)",
        "Return 1 for a positive number, -1 for a negative one, 0 for zero.",
        "if x > 0:\n    return 1\nif x < 0:\n    return -1\nreturn 0",
        lambda x: (x > 0) - (x < 0),
        6,
        -2,
        0,
        100,
    )
    yield template(
        "triangle_number(n)",
        "Return the sum of the integers from 1 to n.",
        "return n * (n + 1) // 2",
        lambda n: sum(range(n + 1)),
        4,
        1,
        0,
        10,
        37,
    )
    yield template(
        "sum_of_squares(n)",
        "Return the sum of the squares of the integers from 1 to n.",
        "return sum(i * i for i in range(1, n + 1))",
        lambda n: n * (n + 1) * (2 * n + 1) // 6,
        3,
        0,
        1,
        10,
    )
    yield template(
        "fraction_part(x)",
        "Return what a positive number has behind the point.",
        "return x - int(x)",
        lambda x: math.modf(x)[0],
        2.5,
        7.0,
        0.25,
        10.75,
    )
    yield template(
        "is_square(n)",
        "Check whether a positive integer is the square of an integer.",
        "root = int(n ** 0.5)\nreturn root * root == n",
        lambda n: math.isqrt(n) ** 2 == n,
        16,
        15,
        1,
        49,
        50,
    )
    yield template(
        "is_power_of_two(n)",
        "Check whether a positive integer is a power of two.",
        "while n % 2 == 0:\n    n = n // 2\nreturn n == 1",
        lambda n: n & (n - 1) == 0,
        8,
        6,
        1,
        64,
        100,
    )


def _of_two() -> Iterator[Template]:
    yield template(
        "power(base, exponent)",
        "Return the base raised to a non-negative exponent.",
        "return base ** exponent",
        lambda a, b: math.prod([a] * b),
        *_PAIRS,
        (5, 0),
    )
    yield template(
        "remainder(a, b)",
        "Return what is left of a when it is divided by b.",
        "return a % b",
        lambda a, b: a - a // b * b,
        *_PAIRS,
    )
    yield template(
        "quotient(a, b)",
        "Return how many times b fits into a.",
        "return a // b",
        lambda a, b: divmod(a, b)[0],
        *_PAIRS,
    )
    yield template(
        "difference(a, b)",
        "Return how far two numbers are apart.",
        "return abs(a - b)",
        lambda a, b: max(a, b) - min(a, b),
        *_PAIRS,
        (-4, 6),
    )
    yield template(
        "larger(a, b)",
        "Return the larger of two numbers.",
        "if a > b:\n    return a\nreturn b",
        lambda a, b: sorted((a, b))[1],
        *_PAIRS,
    )
    yield template(
        "smaller(a, b)",
        "Return the smaller of two numbers.",
        "return a if a < b else b",
        lambda a, b: sorted((a, b))[0],
        *_PAIRS,
    )
    yield template(
        "lcm(a, b)",
        "Return the least common multiple of two positive integers.",
        "multiple = a\nwhile multiple % b != 0:\n    multiple += a\nreturn multiple",
        math.lcm,
        (4, 6),
        *_PAIRS,
    )
    yield template(
        "divides(a, b)",
        "Check whether a divides b without a remainder.",
        "return b % a == 0",
        lambda a, b: b / a == b // a,
        (3, 9),
        (4, 10),
        (7, 7),
        (5, 2),
    )
    yield template(
        "midpoint(a, b)",
        "Return the number halfway between two numbers.",
        "return (a + b) / 2",
        lambda a, b: a + (b - a) / 2,
        *_PAIRS,
    )
    yield template(
        "hypotenuse_squared(a, b)",
        "Return the square of the hypotenuse of a right triangle with legs a and b.",
        "return a ** 2 + b ** 2",
        lambda a, b: a * a + b * b,
        (3, 4),
        *_PAIRS,
    )
    yield template(
        "rectangle_area(width, height)",
        "Return the area of a rectangle, 0 if a side is negative.",
        "if width < 0 or height < 0:\n    return 0\nreturn width * height",
        lambda a, b: max(a, 0) * max(b, 0),
        *_PAIRS,
        (-1, 4),
    )
    yield template(
        "perimeter(width, height)",
        "Return the perimeter of a rectangle.",
        "return 2 * (width + height)",
        lambda a, b: a + a + b + b,
        *_PAIRS,
    )
    yield template(
        "percent(part, whole)",
        "Return which percentage of the whole a part is.",
        "return part * 100 / whole",
        lambda a, b: float(Fraction(a, b) * 100),
        (1, 4),
        (3, 4),
        (5, 5),
        (0, 8),
    )


def _with_a_constant() -> Iterator[Template]:
    for k in (2, 4, 9):
        yield template(
            f"times_{k}_plus_one(x)",
            f"Return a number times {k}, plus one.",
            f"return x * {k} + 1",
            lambda x, k=k: 1 + sum([x] * k),
            *_NUMBERS,
        )
    for k in (5, 10, 100):
        yield template(
            f"round_down_to_{k}(n)",
            f"Round an integer down to a multiple of {k}.",
            f"return n - n % {k}",
            lambda n, k=k: n // k * k,
            37,
            *_NUMBERS,
        )
        yield template(
            f"missing_to_{k}(n)",
            f"Return what must be added to an integer to reach a multiple of {k}.",
            f"return -n % {k}",
            lambda n, k=k: (n + k - 1) // k * k - n,
            37,
            *_NUMBERS,
        )
    for k, unit, part in ((60, "hours", "minutes"), (7, "weeks", "days"), (12, "years", "months")):
        yield template(
            f"{unit}_and_{part}({part})",
            f"Split a number of {part} into whole {unit} and the {part} that are left.",
            f"{unit} = {part} // {k}\nreturn ({unit}, {part} - {unit} * {k})",
            lambda n, k=k: divmod(n, k),
            135,
            *_NUMBERS,
        )
    for condition in CONDITIONS:
        if condition.name not in ("odd", "nonzero"):
            yield template(
                f"are_both_{condition.name}(a, b)",
                f"Check whether two integers are both {condition.words}."
                if "end" not in condition.words
                else "Check whether two integers are both positive and end in the digit 2.",
                f"return {condition.code.format(x='a')} and {condition.code.format(x='b')}",
                lambda a, b, c=condition: all(map(c.holds, (a, b))),
                (12, 42),
                (3, 5),
                (-4, -9),
                (21, 35),
                (15, 30),
                (14, 7),
                (105, 11),
            )


def _theory() -> Iterator[Template]:
    yield template(
        "divisors(n)",
        "Return the divisors of a positive integer in rising order.",
        "return [d for d in range(1, n + 1) if n % d == 0]",
        lambda n: sorted({d for d in range(1, n + 1) if n // d * d == n}),
        6,
        1,
        13,
        28,
    )
    yield template(
        "count_divisors(n)",
        "Count the divisors of a positive integer.",
        "count = 0\nfor d in range(1, n + 1):\n    if n % d == 0:\n        count += 1\n"
        "return count",
        lambda n: sum(math.gcd(d, n) == d for d in range(1, n + 1)),
        6,
        1,
        13,
        28,
    )
    yield template(
        "is_perfect(n)",
        "Check whether a positive integer is the sum of its smaller divisors.",
        "return sum(d for d in range(1, n) if n % d == 0) == n",
        lambda n: n in (6, 28, 496),
        6,
        8,
        28,
        1,
        12,
    )
    yield template(
        "are_coprime(a, b)",
        "Check whether 1 is the only common divisor of two positive integers.",
        "while b:\n    a, b = b, a % b\nreturn a == 1",
        lambda a, b: math.gcd(a, b) == 1,
        (8, 9),
        (8, 6),
        (7, 7),
        (1, 5),
    )
    yield template(
        "smallest_factor(n)",
        "Return the smallest divisor above 1 of an integer above 1.",
        "factor = 2\nwhile n % factor != 0:\n    factor += 1\nreturn factor",
        lambda n: min(d for d in range(2, n + 1) if n % d == 0),
        15,
        2,
        49,
        13,
    )
    yield template(
        "prime_factors(n)",
        "Return the prime factors of an integer above 1 in rising order, with repetitions.",
        """
            factors = []
            factor = 2
            while n > 1:
                while n % factor == 0:
                    factors.append(factor)
                    n = n // factor
                factor += 1
            return factors
        """,
        lambda n: {12: [2, 2, 3], 13: [13], 64: [2] * 6, 90: [2, 3, 3, 5]}[n],
        12,
        13,
        64,
        90,
    )
    yield template(
        "digital_root(n)",
        "Add the digits of a positive integer until one digit is left.",
        "while n > 9:\n    n = sum(int(digit) for digit in str(n))\nreturn n",
        lambda n: (n - 1) % 9 + 1,
        38,
        5,
        999,
        12345,
    )
    yield template(
        "binomial(n, k)",
        "Return in how many ways k of n things can be chosen.",
        "result = 1\nfor i in range(k):\n    result = result * (n - i) // (i + 1)\nreturn result",
        math.comb,
        (5, 2),
        (6, 3),
        (4, 0),
        (7, 7),
    )
