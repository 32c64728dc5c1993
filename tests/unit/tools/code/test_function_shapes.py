"""A benchmark's function is recognised under other names, and no other function is."""

import ast

import pytest

from tools.code.function_shapes import Problems, functions, shape

PRIME = '''def is_prime(n: int) -> bool:
    """Say whether n is prime."""
    if n < 2:
        return False
    for i in range(2, n):
        if n % i == 0:
            return False
    return True
'''
RENAMED = """@cache
async def check(number):
    # the same, in other words
    if number < 2:
        return False
    for divisor in range(2, number):
        if number % divisor == 0: return False
    return True
"""
ADD = "def add(x, y):\n    return x + y\n"


def one(source: str) -> ast.FunctionDef | ast.AsyncFunctionDef:
    return next(functions(ast.parse(source)))


def problems(*sources: str) -> Problems:
    made = Problems()
    for source in sources:
        made.add(source)
    return made


def test_names_comments_docstring_annotations_and_decorators_do_not_count() -> None:
    assert shape(one(PRIME)) == shape(one(RENAMED))
    assert problems(PRIME).holds(one(RENAMED))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("n < 2", "n < 3"),
        ("n < 2", "n <= 2"),
        ("range(2, n)", "range(2, i)"),
        ("range", "sequence"),  # a name that is not its own
        ("(n: int)", "(n: int, m=0)"),
        ("return True", "return n"),
        ("if n % i", "while n % i"),
    ],
)
def test_another_program_is_no_match(old: str, new: str) -> None:
    changed = PRIME.replace(old, new)
    assert changed != PRIME
    assert not problems(PRIME).holds(one(changed))


def test_which_of_its_own_names_stands_where_counts() -> None:
    minus = shape(one("def f(a, b): return a - b"))
    assert shape(one("def f(b, a): return b - a")) == minus
    assert shape(one("def f(a, b): return b - a")) != minus
    source = "def fac(n):\n    return 1 if n < 2 else n * fac(n - 1)\n"  # it calls itself
    assert shape(one(source)) == shape(one(source.replace("fac", "product_to")))


def test_a_short_body_matches_only_under_the_same_name() -> None:
    made = problems(ADD)
    assert made.holds(one("def add(left, right):\n    return left + right\n"))
    assert not made.holds(one("def concatenate(left, right):\n    return left + right\n"))


def test_methods_and_inner_functions_are_looked_at() -> None:
    lines = "".join(f"    {line}\n" for line in PRIME.splitlines())
    tree = ast.parse(f"class Numbers:\n{lines}\n\ndef outer():\n{lines}    return is_prime\n")
    made = Problems()
    assert made.add(PRIME + ADD) == 2 and made.add("x = 1\n") == 0
    assert sum(made.holds(function) for function in functions(tree)) == 2
