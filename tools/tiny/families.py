"""The task families of the tiny world: inputs, wordings, pseudo-programs and what those return.

`families.yml` beside this file holds all text: for each family its instructions, its programs, and
the line that stands for it in an interpreter session. A program's calls are undefined in its text,
as in CoGEX; here `LEAVES` defines them, so that a program is run to learn what it returns.

To add a family:

1. Write an entry in `families.yml`: at least four `instructions` for CoGEX rows and three
   `base_instructions` for the base corpus (no text in both); `session`, an expression in which
   `{name}` is a parameter of the first program; three `programs` that return the same answer.
2. Say in `INPUTS` how its arguments are drawn, and how they are written as a row's input.
3. Define in `LEAVES` each call of its programs that is not there yet.
4. Train the base again (`make tiny-base`): a new family changes its corpora.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import yaml

from tools import pseudo_program
from tools.tiny import words as w

Args = tuple[Any, ...]
Draw = Callable[[random.Random], Args]


class Program(pseudo_program.Program):
    """A pseudo-program of a family."""

    def run(self, *args: Any) -> dict[str, Any]:
        """Run it with the leaf functions; return its output dict."""
        self.scope["next_side"] = _Coin().turn
        return super().run(*args)


@dataclass(frozen=True)
class Family:
    """One kind of task.

    `draw` makes call arguments and `text` renders them as a row's input. CoGEX rows take one of
    `instructions`, the base corpus one of `base_instructions`.
    """

    name: str
    instructions: tuple[str, ...]
    base_instructions: tuple[str, ...]
    programs: tuple[Program, ...]
    session: str
    draw: Draw
    text: Callable[..., str]

    def session_line(self, *args: Any) -> str:
        """The family's expression for an interpreter session, with literal arguments."""
        return self.session.format(**dict(zip(self.programs[0].parameters, args, strict=True)))


def value_of(expression: str) -> Any:
    """Evaluate an expression with the leaf functions."""
    return eval(expression, dict(LEAVES))


# --- inputs: how arguments are drawn, and how they are written ---------------------------------


def _some_words(vocabulary: Iterable[str], low: int, high: int) -> Draw:
    known = list(vocabulary)
    return lambda rng: (rng.sample(known, rng.randint(low, high)),)


def _distinct_initials(rng: random.Random) -> Args:
    while True:
        words = rng.sample(w.NOUNS, rng.randint(3, 4))
        if len({x[0] for x in words}) == len(words):
            return (words,)


def _coin_turns(rng: random.Random) -> Args:
    names = rng.sample(w.NAMES, rng.randint(2, 4))
    return ([(name, rng.choice(("flips", "keeps"))) for name in names],)


def _word_and_list(rng: random.Random) -> Args:
    pool = rng.sample(w.NOUNS, 3)
    return (rng.choice(pool), [rng.choice(pool) for _ in range(rng.randint(4, 6))])


def _review(rng: random.Random) -> Args:
    things = rng.sample(w.THINGS, 2)
    cues = rng.sample(rng.choice((w.POSITIVE, w.NEGATIVE)), 2)
    return (f"The {things[0]} was {cues[0]} and the {things[1]} was {cues[1]}.",)


def _amount(rng: random.Random) -> Args:
    unit, small, _ = rng.choice(w.UNITS)
    return (rng.randint(2, 999), unit, small)


def _kind_and_list(rng: random.Random) -> Args:
    kinds = rng.sample(list(w.KINDS), rng.randint(3, 4))
    return (rng.choice(kinds), [rng.choice(w.KINDS[kind]) for kind in kinds])


def _comma(items: list[Any]) -> str:
    return ", ".join(map(str, items))


def _key_and_list(key: str, items: list[str]) -> str:
    return f"{key}: {_comma(items)}"


def _coin_story(turns: list[tuple[str, str]]) -> str:
    return "A coin is heads up. " + " ".join(f"{name} {verb} it." for name, verb in turns)


INPUTS: dict[str, tuple[Draw, Callable[..., str]]] = {
    "plural": (_some_words(w.PLURALS, 2, 3), _comma),
    "addition": (lambda rng: (rng.randint(10, 99), rng.randint(10, 99)), "{} + {}".format),
    "sorting": (_distinct_initials, " ".join),
    "coin": (_coin_turns, _coin_story),
    "reversal": (_some_words(w.NOUNS, 3, 4), _comma),
    "occurrences": (_word_and_list, _key_and_list),
    "maximum": (lambda rng: ([rng.randint(10, 99) for _ in range(rng.randint(3, 4))],), _comma),
    "antonym": (_some_words(w.OPPOSITES, 2, 3), _comma),
    "sentiment": (_review, str),
    "letters": (_some_words(w.NOUNS, 2, 4), " ".join),
    "parity": (lambda rng: (rng.randint(100, 9999),), str),
    "units": (_amount, "{} {} to {}".format),
    "choice": (_kind_and_list, _key_and_list),
    "counting": (_some_words(w.NOUNS, 2, 6), _comma),
}


# --- leaves: what the programs call, and leave undefined ---------------------------------------


class _Coin:
    """A coin that lies heads up and remembers its side from turn to turn."""

    def __init__(self) -> None:
        self.heads = True

    def turn(self, verb: str) -> str:
        self.heads ^= verb == "flips"
        return "heads" if self.heads else "tails"


def _follow_coin(start: str, turns: list[tuple[str, str]]) -> list[str]:
    coin = _Coin()
    return [coin.turn(verb) for _, verb in turns]


def _yes_or_no(holds: bool) -> str:
    return "yes" if holds else "no"


def _plural_ending(word: str) -> str:
    plural = w.PLURALS[word]
    return plural[len(word) :] if plural.startswith(word) else "new"


def _add(*parts: int) -> list[int]:
    return [*parts, sum(parts)]


def _add_ones(a: int, b: int) -> list[int]:
    return _add(a % 10, b % 10)


def _add_tens(a: int, b: int, ones: list[int]) -> list[int]:
    return _add(a // 10, b // 10, ones[-1] // 10)


def _add_columns(a: int, b: int) -> list[list[int]]:
    ones = _add_ones(a, b)
    return [ones, _add_tens(a, b, ones)]


def _join_sum(tens: int, ones: int) -> int:
    return tens * 10 + ones % 10


def _by_letter(words: list[str], order: list[str]) -> list[str]:
    return [word for letter in order for word in words if word[0] == letter]


def _running_count(word: str, items: list[str]) -> list[int]:
    return list(accumulate(int(item == word) for item in items))


def _running_best(numbers: list[int]) -> list[int]:
    return list(accumulate(numbers, max))


def _find_cues(review: str) -> list[str]:
    return [x for x in review.rstrip(".").split() if x in w.POSITIVE or x in w.NEGATIVE]


def _judge_word(cue: str) -> str:
    return "positive" if cue in w.POSITIVE else "negative"


def _judge(first: str | list[str], last: str = "") -> str:
    """Judge two cues, or a list of them; all cues of a review agree."""
    return _judge_word(first if isinstance(first, str) else first[0])


def _parity(number: int) -> str:
    return "odd" if number % 2 else "even"


def _unit_factor(unit: str, small: str) -> int:
    return next(factor for a, b, factor in w.UNITS if (a, b) == (unit, small))


LEAVES: dict[str, Callable[..., Any]] = {
    # plural, antonym
    "plural_ending": _plural_ending,
    **dict.fromkeys(("make_plural", "find_plural", "form_plural"), w.PLURALS.__getitem__),
    **dict.fromkeys(("find_opposite", "antonym"), w.OPPOSITES.__getitem__),
    "in_order": lambda numbered: list(numbered.values()),
    # addition
    "add": _add,
    "add_ones": _add_ones,
    "add_tens": _add_tens,
    "add_columns": _add_columns,
    "ones_of": lambda number: number % 10,
    "tens_of": lambda number: number // 10,
    "join_columns": lambda tens, ones: _join_sum(tens[-1], ones[-1]),
    "read_total": lambda columns: _join_sum(columns[1][-1], columns[0][-1]),
    # sorting, letters
    "first_letter": lambda word: word[0],
    "first_letters": lambda words: [word[0] for word in words],
    "sort_letters": sorted,
    "place": _by_letter,
    "find_words": lambda order, words: _by_letter(words, order),
    "pick_items": lambda letters, order: [letters[letter] for letter in order],
    "last_letter": lambda word: word[-1],
    "last_capital": lambda word: word[-1].upper(),
    "join_capitals": lambda letters: "".join(letters).upper(),
    "join": "".join,
    # coin; `next_side` is made anew for each run
    **dict.fromkeys(("follow_coin", "turn_coin"), _follow_coin),
    "yes_or_no": _yes_or_no,
    "is_heads": lambda side: _yes_or_no(side == "heads"),
    "compare": lambda sides, side: _yes_or_no(list(sides.values())[-1] == side),
    # reversal
    "last_item": lambda items: items[-1],
    "walk_back": lambda items: items[::-1],
    "take_from_end": lambda items, size: items[::-1][:size],
    "number_from_end": lambda items: dict(enumerate(items[::-1], 1)),
    "keep_words": lambda numbered: list(numbered.values()),
    # occurrences, maximum
    "running_count": _running_count,
    "number_matches": lambda word, items: list(
        zip(items, _running_count(word, items), strict=True)
    ),
    "last_number": lambda matches: matches[-1][1],
    "collect": lambda word, items: [item for item in items if item == word],
    "running_best": _running_best,
    "compare_values": lambda numbers: list(zip(numbers, _running_best(numbers), strict=True)),
    "keep_winner": lambda steps: steps[-1][1],
    # sentiment
    "find_cues": _find_cues,
    "cue_words": lambda review: (_find_cues(review)[0], _find_cues(review)[-1]),
    "judge_word": _judge_word,
    "judge": _judge,
    "common_feeling": lambda feelings: next(iter(feelings.values())),
    # parity
    "last_digit": lambda number: number % 10,
    "list_digits": lambda number: [int(digit) for digit in str(number)],
    **dict.fromkeys(("parity_of", "name_parity"), _parity),
    "parity_name": lambda two_divides: "even" if two_divides else "odd",
    # units
    **dict.fromkeys(("unit_factor", "small_in_one"), _unit_factor),
    "find_zeros": lambda old, new: str(_unit_factor(old, new))[1:],
    "put_behind": lambda number, zeros: int(f"{number}{zeros}"),
    # choice
    "kind_of": w.KIND_OF.__getitem__,
    "choose": lambda kinds, kind: next(word for word in kinds if kinds[word] == kind),
    "belongs_to": lambda word, kind: w.KIND_OF[word] == kind,
    "first_true": lambda fits: next(word for word in fits if fits[word]),
    "take_same": lambda kind, names, options: options[names.index(kind)],
    # counting
    "number_words": lambda words: dict(enumerate(words, 1)),
}
# leaves that mean something else in one family
OWN_LEAVES: dict[str, dict[str, Callable[..., Any]]] = {
    "addition": {"join": _join_sum},
    "counting": {
        "running_count": lambda items: list(range(1, len(items) + 1)),
        "last_number": lambda numbered: list(numbered)[-1],
    },
}


def _read_families() -> dict[str, Family]:
    texts = yaml.safe_load(Path(__file__).with_suffix(".yml").read_text(encoding="utf-8"))
    return {
        name: Family(
            name,
            tuple(text["instructions"]),
            tuple(text["base_instructions"]),
            tuple(
                Program(source.rstrip("\n"), LEAVES | OWN_LEAVES.get(name, {}))
                for source in text["programs"]
            ),
            text["session"],
            *INPUTS[name],
        )
        for name, text in texts.items()
    }


ALL_FAMILIES = _read_families()
# the base's first two stages know all but this one
FAMILIES = tuple(family for name, family in ALL_FAMILIES.items() if name != "counting")
# The base does not learn to tell which words of a list equal a word, or are of a kind: these two
# are in its corpora of the first two stages, and not in the CoGEX rows.
NOT_LEARNT = ("occurrences", "choice")
COGEX_FAMILIES = tuple(f for name, f in ALL_FAMILIES.items() if name not in NOT_LEARNT)
