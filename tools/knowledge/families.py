"""The families of `cogex prepare knowledge`: what a row asks, and the true leaves of its programs.

`families.yml` has for each family

- `instructions`: its wordings; where one has `{}`, the input stands there and the row has no other;
- `programs`: pseudo-programs that give the same answer; one whose parameter is `text` gets the
  row's input as it is written, the others its arguments;
- `facts`: the table that it asks about, and `draw`, how arguments are drawn from it (`DRAWS`);
- `leaves`: calls that look a key up in a table. All other calls are in `LEAVES`;
- `example`: arguments and their answer, by hand;
- `held_out: true` if training never sees it.

`facts/*.yml` has the tables. `name.column` is a column of a table with columns; a table of lists
gives each word the list's name; a null is no fact.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from tools.errors import UserError
from tools.pseudo_program import Program

FOLDER = Path(__file__).parent
FACT_FILES = tuple(sorted((FOLDER / "facts").glob("*.yml")))
FAMILIES_FILE = FOLDER / "families.yml"

Args = tuple[Any, ...]
Facts = Mapping[str, Any]
Draw = Callable[[random.Random, Sequence[str], "Family"], Args]


@cache
def tables() -> dict[str, dict[str, Any]]:
    """Return every table of facts by its name, from key to fact."""
    found: dict[str, dict[str, Any]] = {}
    for path in FACT_FILES:
        for name, table in yaml.safe_load(path.read_text(encoding="utf-8")).items():
            if "columns" in table:
                for place, column in enumerate(table["columns"]):
                    facts = {key: row[place] for key, row in table["rows"].items()}
                    found[f"{name}.{column}"] = {k: v for k, v in facts.items() if v is not None}
            elif isinstance(next(iter(table.values())), list):
                found[name] = {word: kind for kind, words in table.items() for word in words}
            else:
                found[name] = table
    return found


@dataclass(frozen=True)
class Family:
    """One kind of task; the module says what each part is."""

    name: str
    held_out: bool
    instructions: tuple[str, ...]
    programs: tuple[Program, ...]
    facts: Facts
    draw: str
    example: tuple[Args, Any]
    range: tuple[int, int] = (0, 0)  # of a number that is drawn
    apart: float = 1  # a fact in a ranking is at least so many times the next smaller one

    def arguments(self, rng: random.Random, items: Sequence[str]) -> Args:
        """Draw arguments about `items`, which are keys of the facts."""
        return DRAWS[self.draw](rng, items, self)

    def outputs(self, args: Args) -> list[tuple[str, dict[str, Any]]]:
        """Return the call and the output of each program, in their order.

        Raises UserError if two programs give different answers: a leaf or a program is wrong.
        """
        pairs = []
        for program in self.programs:
            given = (input_text(args),) if program.parameters == ["text"] else args
            pairs.append((program.call(given), program.run(*given)))
        if any(output["answer"] != pairs[0][1]["answer"] for _, output in pairs):
            told = "; ".join(f"{call} gives {output['answer']!r}" for call, output in pairs)
            raise UserError(f"{FAMILIES_FILE}, {self.name}: the programs disagree: {told}")
        return pairs

    def check(self) -> None:
        """Raise UserError if the example has another answer than the programs give."""
        args, answer = self.example
        call, output = self.outputs(args)[0]
        if output["answer"] != answer:
            raise UserError(
                f"{FAMILIES_FILE}, {self.name}: {call} gives {output['answer']!r}, and its example "
                f"says {answer!r}; correct the facts, the leaves or the example"
            )


def input_text(args: Args) -> str:
    """Return arguments as a row's input: `a, b` for a list, `a: b, c` for a word and a list."""
    texts = [", ".join(arg) if isinstance(arg, list) else str(arg) for arg in args]
    if isinstance(args[-1], list) and len(args) == 2:
        return ": ".join(texts)
    if isinstance(args[0], int) and len(args) == 3:
        return "{} {} to {}".format(*texts)
    return ", ".join(texts)


# --- draws: how arguments come from the keys of a family's facts -----------------------------


def _some(rng: random.Random, items: Sequence[str], family: Family) -> Args:
    return (rng.sample(items, rng.randint(2, 4)),)


def _choice(rng: random.Random, items: Sequence[str], family: Family) -> Args:
    """A word, its fact, and three facts of other words."""
    word = rng.choice(items)
    others = sorted({*family.facts.values()} - {family.facts[word], word})
    return word, _shuffled(rng, [family.facts[word], *rng.sample(others, 3)])


def _match(rng: random.Random, items: Sequence[str], family: Family) -> Args:
    """A word, another with the same fact, and two with other facts."""
    word = rng.choice(items)
    same = [key for key in _with(items, family, family.facts[word]) if key != word]
    kinds = rng.sample(_others(items, family, family.facts[word]), 2)
    others = [rng.choice(_with(items, family, kind)) for kind in kinds]
    return word, _shuffled(rng, [rng.choice(same), *others])


def _odd(rng: random.Random, items: Sequence[str], family: Family) -> Args:
    """Three words with one fact, and one with another."""
    word = rng.choice(items)
    kind = rng.choice(_others(items, family, family.facts[word]))
    return (_shuffled(rng, [word, *rng.sample(_with(items, family, kind), 3)]),)


def _kind(rng: random.Random, items: Sequence[str], family: Family) -> Args:
    """A fact, a word that has it, and three that have others."""
    word = rng.choice(items)
    kinds = rng.sample(_others(items, family, family.facts[word]), 3)
    others = [rng.choice(_with(items, family, kind)) for kind in kinds]
    return family.facts[word], _shuffled(rng, [word, *others])


def _claim(rng: random.Random, items: Sequence[str], family: Family) -> Args:
    """A word and a fact, its own in half of the cases."""
    word = rng.choice(items)
    own = family.facts[word]
    return word, own if rng.random() < 0.5 else rng.choice(_others(items, family, own))


def _ranked(rng: random.Random, items: Sequence[str], family: Family) -> Args:
    """Two or three words with different numbers as facts."""
    while True:
        words = rng.sample(items, rng.randint(2, 3))
        facts = sorted(family.facts[word] for word in words)
        if all(low < high >= family.apart * low for low, high in pairwise(facts)):
            return (words,)


def _amount(rng: random.Random, items: Sequence[str], family: Family) -> Args:
    return (rng.randint(2, 40), *rng.choice(items).split(" to "))


def _with(items: Sequence[str], family: Family, fact: Any) -> list[str]:
    return [key for key in items if family.facts[key] == fact]


def _others(items: Sequence[str], family: Family, fact: Any) -> list[Any]:
    return sorted({family.facts[key] for key in items} - {fact})


def _shuffled(rng: random.Random, items: list[Any]) -> list[Any]:
    return rng.sample(items, len(items))


DRAWS: dict[str, Draw] = {
    "one": lambda rng, items, family: (rng.choice(items),),
    "some": _some,
    "choice": _choice,
    "match": _match,
    "odd": _odd,
    "kind": _kind,
    "claim": _claim,
    "pair": lambda rng, items, family: tuple(rng.sample(items, 2)),
    "ranked": _ranked,
    "amount": _amount,
    "steps": lambda rng, items, family: (rng.choice(items), rng.randint(2, 30)),
    "number": lambda rng, items, family: (rng.randint(*family.range),),
}


# --- leaves that do more than look a key up ----------------------------------------------------

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
_ROMAN = ("I", "V"), ("X", "L"), ("C", "D"), ("M", ""), ("", "")


def _say(number: int) -> str:
    """Write a number from 1 to 999 in words, as in America."""
    if number < 20:
        return _SMALL[number]
    if number < 100:
        return "-".join([_TENS[number // 10], _SMALL[number % 10]]).removesuffix("-zero")
    rest = f" {_say(number % 100)}" if number % 100 else ""
    return f"{_SMALL[number // 100]} hundred{rest}"


def _split_places(number: int) -> list[int]:
    digits = str(number)
    parts = [int(digit) * 10 ** (len(digits) - n) for n, digit in enumerate(digits, 1)]
    return [part for part in parts if part]


def _roman_letters(part: int) -> str:
    """Write a digit with its zeros (900, 40, 7) as a Roman numeral."""
    place = len(str(part)) - 1
    (one, five), ten = _ROMAN[place], _ROMAN[place + 1][0]
    digit = int(str(part)[0])
    if digit in (4, 9):
        return one + (five if digit == 4 else ten)
    return five * (digit >= 5) + one * (digit % 5)


def _key(table: str, number: int) -> str:
    return next(key for key, value in tables()[table].items() if value == number)


def _look_up(table: str) -> Callable[..., Any]:
    """A leaf that looks its first argument up; the rest are what a program found before."""
    return lambda key, *_: tables()[table][key]


LEAVES: dict[str, Callable[..., Any]] = {
    "split_items": lambda text: text.split(", "),
    "yes_or_no": lambda holds: "yes" if holds else "no",
    "means_same": lambda word, option: tables()["synonyms"][word] == option,
    "sound_alike": lambda one, other: tables()["rhymes"][one] == tables()["rhymes"][other],
    "units_in_one": lambda unit, small: tables()["units"][f"{unit} to {small}"],
    "day_name": lambda place: _key("weekdays", place),
    "next_day": lambda day: _key("weekdays", tables()["weekdays"][day] % 7 + 1),
    "month_name": lambda number: _key("months.number", number),
    "order_by_weight": lambda animals: sorted(animals, key=_look_up("weights")),
    "heavier_of": lambda *animals: max(animals, key=_look_up("weights")),
    "order_by_population": lambda countries: sorted(countries, key=_look_up("countries.millions")),
    "larger_country": lambda *countries: max(countries, key=_look_up("countries.millions")),
    "say": _say,
    "split_places": _split_places,
    "roman_letters": _roman_letters,
}


def read_families() -> list[Family]:
    """Return all families in the order of their file."""
    families = []
    for name, text in yaml.safe_load(FAMILIES_FILE.read_text(encoding="utf-8")).items():
        leaves = LEAVES | {leaf: _look_up(table) for leaf, table in text.pop("leaves").items()}
        args, answer = text.pop("example")
        families.append(
            Family(
                name,
                held_out=text.pop("held_out", False),
                instructions=tuple(text.pop("instructions")),
                programs=tuple(Program(each.rstrip("\n"), leaves) for each in text.pop("programs")),
                facts=tables()[text.pop("facts")] if "facts" in text else {},
                example=(tuple(args), answer),
                **text,
            )
        )
    return families
