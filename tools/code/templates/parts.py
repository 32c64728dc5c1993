"""What templates are made of: conditions and changes of an integer, in words, code and Python."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from textwrap import dedent
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Template:
    """A function to write: name, parameters, what its docstring says, its body.

    `expected` computes the right answer in another way than the body, so that a test of the one
    by the other says something. `inputs` are tuples of arguments; the first is the docstring's
    example.
    """

    name: str
    parameters: str
    says: str
    body: str
    expected: Callable[..., Any]
    inputs: tuple[tuple[Any, ...], ...]


def template(
    signature: str, says: str, body: str, expected: Callable[..., Any], *inputs: Any
) -> Template:
    """Make a template of `name(parameters)`; an input is a tuple if there are several."""
    name, parameters = signature.removesuffix(")").split("(", 1)
    arguments = tuple(item if "," in parameters else (item,) for item in inputs)
    return Template(name, parameters, says, dedent(body).strip("\n"), expected, arguments)


class Condition(NamedTuple):
    """A condition on an integer: `divisible_by_3`, "divisible by 3", `{x} % 3 == 0`."""

    name: str
    words: str
    code: str  # with {x}
    holds: Callable[[int], bool]


class Change(NamedTuple):
    """A change of an integer: `doubled`, "doubled", `{x} * 2`."""

    name: str
    words: str
    code: str  # with {x}
    apply: Callable[[int], int]


def _conditions() -> Iterator[Condition]:
    yield Condition("odd", "odd", "{x} % 2 != 0", lambda x: bool(x & 1))
    yield Condition("negative", "negative", "{x} < 0", lambda x: -x > 0)
    yield Condition("nonzero", "not zero", "{x} != 0", bool)
    for k in (3, 5, 7):
        yield Condition(
            f"divisible_by_{k}",
            f"divisible by {k}",
            f"{{x}} % {k} == 0",
            lambda x, k=k: x // k * k == x,  # type: ignore[misc]
        )
    yield Condition("above_10", "greater than 10", "{x} > 10", lambda x: x >= 11)
    yield Condition("at_most_6", "at most 6", "{x} <= 6", lambda x: x < 7)
    yield Condition("two_digit", "from 10 to 99", "10 <= {x} <= 99", lambda x: x in range(10, 100))
    yield Condition(
        "ending_in_2",
        "positive and end in the digit 2",
        "{x} > 0 and {x} % 10 == 2",
        lambda x: x > 0 and str(x)[-1] == "2",
    )


def _changes() -> Iterator[Change]:
    yield Change("doubled", "doubled", "{x} * 2", lambda x: x + x)
    yield Change("squared", "squared", "{x} ** 2", lambda x: x * x)
    yield Change("negated", "with its sign changed", "-{x}", lambda x: 0 - x)
    yield Change("plus_3", "increased by 3", "{x} + 3", lambda x: sum((x, 1, 1, 1)))
    yield Change("minus_4", "reduced by 4", "{x} - 4", lambda x: -(4 - x))
    yield Change("absolute", "without its sign", "abs({x})", lambda x: max(x, -x))
    yield Change(
        "last_digit", "replaced by its remainder by 10", "{x} % 10", lambda x: x - x // 10 * 10
    )
    yield Change("halved", "halved and rounded down", "{x} // 2", lambda x: x >> 1)


CONDITIONS = tuple(_conditions())
CHANGES = tuple(_changes())

# lists in which every condition holds for some items and not for others
INTEGERS: tuple[list[int], ...] = (
    [3, 12, -5, 7, 10],
    [22, 0, -14, 35, 6, 9],
    [],
    [-3, -10, -21],
    [5, 42, 100, 2, 15, 8, 62],
    [1, 4, 9, -7, 14, 3, 70],
)
NOT_EMPTY = tuple(numbers for numbers in INTEGERS if numbers)
WORDS: tuple[str, ...] = (
    "the quick brown fox",
    "banana",
    "",
    "Hello World",
    "a stitch in time saves nine",
    "Level up, Anna!",
    "mississippi  river 42",
)
