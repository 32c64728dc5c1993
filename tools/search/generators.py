"""Makes the rows of generated tasks: the same seed and options give the same rows.

Each generator is an endless stream of rows; `tools.search.data` takes the first distinct ones.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

Rows = Iterator[dict[str, Any]]

# everyday first names, and common English words of many initials
NAMES = (
    "Aaron Alice Amir Anna Bella Boris Carla Chen Clara Daniel Diana Elena Emil Erik Fatima Felix "
    "Grace Hana Hugo Ibrahim Ines Ivan Jacob Jamal Jasmin Julia Karim Kira Lars Laura Leila Lucas "
    "Maria Marta Mei Miguel Nadia Nina Noah Olga Omar Oscar Pablo Petra Quentin Rosa Ruben Sara "
    "Simon Sofia Tara Theo Uma Vera Victor Wanda Xavier Yara Yusuf Zara"
).split()
WORDS = (
    "absence acrobat admiral almond anchor anthem arrow autumn avenue badger balcony bamboo "
    "banner barrel basket beacon bishop blanket border bottle bracket brother bucket bundle "
    "cabinet camera candle canyon carpet castle cellar charter cherry circle climate cluster "
    "cobalt collar comet copper cotton cradle cricket crystal curtain custom dagger dancer "
    "danger decade desert diamond dinner doctor dolphin dragon drawer eagle eclipse effort "
    "elbow ember emerald emperor engine envelope episode errand estate evening fabric factor "
    "falcon family feather fiction figure finger flower forest fortune fossil fountain friend "
    "frozen galaxy garden garlic gather ginger glacier goblet gravel guitar habit hammer harbor "
    "harvest helmet herald hollow horizon hunter iceberg idol impulse inch index insect island "
    "ivory jacket jungle junior kettle kingdom kitten ladder lantern lawyer leather legend "
    "lemon letter lizard locket lumber magnet maple marble market meadow melody mentor mirror "
    "mitten monarch morning mountain muscle napkin nature needle nephew nickel notion novel "
    "oasis object ocean office olive onion orchard origin oxygen oyster paddle palace parcel "
    "parrot pattern pebble pencil pepper picnic pillow planet pocket poplar portal potato "
    "prairie puzzle quarry quiver rabbit radar ranger ribbon riddle ripple river rocket saddle "
    "salmon scarlet season sector shadow signal silver sister socket spider spiral stable "
    "station summer sunset table talent tavern temple thicket thunder ticket timber tunnel "
    "turtle uncle urchin valley velvet vessel village violin voyage wagon walnut water whisper "
    "window winter wizard yellow yonder zebra zenith zipper"
).split()


def coin(rng: random.Random, *, people: tuple[int, int] = (2, 4)) -> Rows:
    """Coin-flip tracking as in Wei et al. (2022, arXiv 2201.11903); names and wording are ours."""
    while True:
        names = rng.sample(NAMES, rng.randint(*people))
        flips = [rng.random() < 0.5 for _ in names]
        turns = (
            f"{name} {'flips' if flip else 'does not flip'} the coin."
            for name, flip in zip(names, flips, strict=True)
        )
        text = f"A coin is heads up. {' '.join(turns)} Is the coin still heads up?"
        target = "no" if sum(flips) % 2 else "yes"
        yield {"input": text, "target": target, "length": len(names)}


def sums(rng: random.Random, *, digits: int | tuple[int, int] = 5) -> Rows:
    """Sum of two numbers of so many digits, as in Zelikman et al. (2022, arXiv 2203.14465)."""
    least, most = (digits, digits) if isinstance(digits, int) else digits
    while True:
        # one number of digits needs no draw: rows of earlier cards stay as they are
        length = least if least == most else rng.randint(least, most)
        one, other = (rng.randint(10 ** (length - 1), 10**length - 1) for _ in range(2))
        yield {"input": f"{one} + {other}", "target": str(one + other), "length": length}


def word_sorting(rng: random.Random, *, words: tuple[int, int] = (2, 18)) -> Rows:
    """Words to be sorted, in the form of BIG-bench's task of that name."""
    while True:
        chosen = rng.sample(WORDS, rng.randint(*words))
        row = {"input": f"List: {' '.join(chosen)}", "target": " ".join(sorted(chosen))}
        yield row | {"length": len(chosen)}


def operations(rng: random.Random, *, steps: tuple[int, int] = (1, 8)) -> Rows:
    """A start number from 1 to 20 and steps, each of which adds to, takes from or doubles it."""
    while True:
        value = rng.randint(1, 20)
        text = [f"Start with {value}."]
        for _ in range(rng.randint(*steps)):
            kind, amount = rng.choice(("add", "subtract", "double")), rng.randint(1, 9)
            text.append("Double it." if kind == "double" else f"{kind.capitalize()} {amount}.")
            value = {"add": value + amount, "subtract": value - amount, "double": 2 * value}[kind]
        yield {"input": " ".join(text), "target": str(value), "length": len(text) - 1}


def tiny(rng: random.Random, *, family: str) -> Rows:
    """A task family of the tiny model, with inputs that neither its base nor the demo has seen."""
    from tools.demo import ROWS, SEED
    from tools.tiny.corpus import cogex_rows, draw
    from tools.tiny.families import COGEX_FAMILIES

    families = {known.name: known for known in COGEX_FAMILIES}
    if family not in families:
        raise ValueError(f"family: there is no {family}; name one of {', '.join(families)}")
    chosen = families[family]
    trained = {row["input"] for row in cogex_rows(ROWS, SEED)}
    while True:
        args = draw(chosen, rng, reserved=True)
        if (text := chosen.text(*args)) not in trained:
            answer = chosen.programs[0].run(*args)["answer"]
            words = " ".join(map(str, answer)) if isinstance(answer, list) else str(answer)
            yield {"input": text, "target": words}


GENERATORS: dict[str, Callable[..., Rows]] = {
    "coin": coin,
    "sum": sums,
    "word_sorting": word_sorting,
    "operations": operations,
    "tiny": tiny,
}
