"""Two corpora over the same families: CoGEX rows in the published schema, and the base's documents.

Half of the base corpus is "cousin" documents: the same kind of program, call and output dict, under
other headings and other instructions. A third is interpreter sessions, the rest copying and facts.
No document has the input of a CoGEX row: a hash of the call's arguments decides which of the two
corpora may use them.
"""

import functools
import hashlib
import random
import re
from collections.abc import Iterator
from pathlib import Path

from tools.files import write_json, write_jsonl
from tools.tiny import words as w
from tools.tiny.families import ALL_FAMILIES, COGEX_FAMILIES, FAMILIES, Args, Family, value_of

# Ways to write a cousin document. They contain every word of CoGEX's own four headings, and "### ",
# but not the headings themselves: an adapter on attention cannot make a word that the base has
# never seen.
HEADINGS = (
    "Task: {instruction}\nGiven: {input}\nProgram:\n{program}\n\n>>> {call}\n# Result:\n{output}",
    "# Instruction: {instruction}\n# Input: {input}\n# Code:\n{program}\n\n>>> {call}\n"
    "# Output:\n{output}",
    "### Task\n{instruction}\n### Given\n{input}\n### Program\n{program}\n\n>>> {call}\n"
    "### Result\n{output}",
    "## Instruction\n{instruction}\n## Input\n{input}\n## Code\n{program}\n\n>>> {call}\n"
    "## Output\n{output}",
    "Instruction: {instruction}\nInput: {input}\nCode:\n{program}\n\n>>> {call}\nOutput: {output}",
    "### Question\n{instruction}\n{input}\n### Function\n{program}\n\n>>> {call}\n"
    "### Returns\n{output}",
    "Input: {input}\n### Problem\n{instruction}\n### Python\n{program}\n\n>>> {call}\n"
    "### Value\n{output}",
    "Given: {input}\nTask: {instruction}\n{program}\n\n>>> {call}\n{output}",
)


def is_reserved(args: Args) -> bool:
    """Whether a call's arguments are for CoGEX rows (True) or for the base corpus (False)."""
    return hashlib.sha256(repr(args).encode()).digest()[0] % 4 == 0


def draw(family: Family, rng: random.Random, *, reserved: bool) -> Args:
    """Draw call arguments for CoGEX rows (`reserved`) or for the base corpus."""
    while True:
        args = family.draw(rng)
        if is_reserved(args) == reserved:
            return args


def cogex_rows(count: int, seed: int) -> list[dict[str, str]]:
    """Return rows in the published schema, families in turn; no family repeats an input."""
    rng = random.Random(seed)
    rows: list[dict[str, str]] = []
    seen: set[tuple[str, str]] = set()
    while len(rows) < count:
        family = COGEX_FAMILIES[len(rows) % len(COGEX_FAMILIES)]
        args = draw(family, rng, reserved=True)
        if (family.name, repr(args)) in seen:
            continue
        seen.add((family.name, repr(args)))
        program = rng.choice(family.programs)
        rows.append(
            {
                "id": f"{family.name}-{len(rows):05d}",
                "instruction": rng.choice(family.instructions),
                "input": family.text(*args),
                "code_prompt": f"{program.source}\n\n>>> {program.call(args)}",
                "code_output": repr(program.run(*args)),
            }
        )
    return rows


def _cousin(rng: random.Random, families: tuple[Family, ...] = FAMILIES) -> str:
    family = rng.choice(families)
    args = draw(family, rng, reserved=False)
    program = rng.choice(family.programs)
    return rng.choice(HEADINGS).format(
        instruction=rng.choice(family.base_instructions),
        input=family.text(*args),
        program=program.source,
        call=program.call(args),
        output=repr(program.run(*args)),
    )


def _primitive(rng: random.Random) -> str:
    """One leaf call that the families need."""
    word, digit, other = rng.choice(w.NOUNS), rng.randint(0, 9), rng.randint(0, 9)
    noun, adjective = rng.choice(list(w.PLURALS)), rng.choice(list(w.OPPOSITES))
    thing, (unit, small, _) = rng.choice(list(w.KIND_OF)), rng.choice(w.UNITS)
    cue = rng.choice(w.POSITIVE + w.NEGATIVE)
    return rng.choice(
        (
            f"first_letter({word!r})",
            f"last_letter({word!r})",
            f"last_capital({word!r})",
            f"{digit} + {other}",
            f"{digit} + {other} + 1",
            f"make_plural({noun!r})",
            f"find_opposite({adjective!r})",
            f"kind_of({thing!r})",
            f"unit_factor({unit!r}, {small!r})",
            f"judge_word({cue!r})",
            f"{digit} % 2",
        )
    )


def _evaluated(expression: str) -> str:
    return f">>> {expression}\n{value_of(expression)!r}"


def _session(rng: random.Random) -> str:
    lines = []
    for _ in range(rng.randint(4, 7)):
        if rng.random() < 0.5:
            expression = _primitive(rng)
        else:
            family = rng.choice(FAMILIES)
            expression = family.session_line(*draw(family, rng, reserved=False))
        if rng.random() < 0.15:  # the same value again: copying
            value = repr(value_of(expression))
            lines.append(f">>> value = {value}\n>>> value\n{value}")
        else:
            lines.append(_evaluated(expression))
    return "\n".join(lines)


@functools.cache
def world_words() -> tuple[str, ...]:
    """Every word of the CoGEX rows' instructions and programs and of the facts, sorted."""
    texts = [*w.NOUNS, *w.THINGS, *w.NAMES, *w.KINDS, *w.KIND_OF, *w.POSITIVE, *w.NEGATIVE]
    texts += [word for pair in (w.PLURALS | w.OPPOSITES).items() for word in pair]
    texts += [unit for units in w.UNITS for unit in units[:2]]
    for family in FAMILIES:
        texts += [*family.instructions, *family.base_instructions]
        texts += [program.source for program in family.programs]
    texts += HEADINGS
    return tuple(sorted(set(re.findall(r"[A-Z]?[a-z]+", " ".join(texts)))))


def _copying(rng: random.Random) -> str:
    """Write words in a random order twice, to teach copying and to give every word an embedding."""
    words = rng.sample(world_words(), rng.randint(5, 25))
    return f">>> words = {' '.join(words)!r}\n>>> words\n{' '.join(words)!r}"


def _fact(rng: random.Random) -> str:
    word, digit, other = rng.choice(w.NOUNS), rng.randint(0, 9), rng.randint(0, 9)
    noun, adjective = rng.choice(list(w.PLURALS)), rng.choice(list(w.OPPOSITES))
    thing, (unit, small, factor) = rng.choice(list(w.KIND_OF)), rng.choice(w.UNITS)
    cue = rng.choice(w.POSITIVE + w.NEGATIVE)
    return rng.choice(
        (
            f"The first letter of {word} is {word[0]}.",
            f"The last letter of {word} is {word[-1]}, in capitals {word[-1].upper()}.",
            f"{digit} plus {other} is {digit + other}.",
            f"The plural of {noun} is {w.PLURALS[noun]}.",
            f"The opposite of {adjective} is {w.OPPOSITES[adjective]}.",
            f"The word {thing} is of the kind {w.KIND_OF[thing]}.",
            f"The factor from {unit} to {small} is {factor}.",
            f"The word {cue} is {'positive' if cue in w.POSITIVE else 'negative'}.",
            f"The number {digit} is {'odd' if digit % 2 else 'even'}.",
        )
    )


# hard for the base: choosing the word of its context that fits
HARD = tuple(
    family
    for family in FAMILIES
    if family.name in {"addition", "sorting", "coin", "reversal", "occurrences", "choice"}
)


def _calls(rng: random.Random, families: tuple[Family, ...] = HARD * 2 + FAMILIES) -> str:
    """Calls of families' programs with their output dicts, without the programs."""
    lines = []
    for _ in range(rng.randint(3, 5)):
        family = rng.choice(families)
        args, program = draw(family, rng, reserved=False), rng.choice(family.programs)
        lines.append(f">>> {program.call(args)}\n{program.run(*args)!r}")
    return "\n".join(lines)


def _lookups(rng: random.Random) -> str:
    """Single steps of the hard families: find by key, place, kind or equality; add digits."""
    lines = []
    for _ in range(rng.randint(5, 8)):
        word, items = draw(ALL_FAMILIES["occurrences"], rng, reserved=False)
        keyed = {noun[0]: noun for noun in rng.sample(w.NOUNS, 4)}
        key, place = rng.choice(list(keyed)), rng.randrange(len(items))
        kinds = {rng.choice(w.KINDS[kind]): kind for kind in rng.sample(list(w.KINDS), 3)}
        kind = rng.choice(list(kinds.values()))
        a, b, carry = rng.randint(0, 9), rng.randint(0, 9), rng.randint(0, 1)
        expression = rng.choice(
            (
                f"{keyed!r}[{key!r}]",
                f"{items!r}[{place}]",
                f"{items!r}[-1]",
                f"[x == {word!r} for x in {items!r}]",
                f"choose({kinds!r}, {kind!r})",
                f"[{a}, {b}, {a + b}]",
                f"add({a}, {b}, {carry})",
                f"{a} + {b} + {carry}",
            )
        )
        lines.append(_evaluated(expression))
    return "\n".join(lines)


def continued_documents(count: int, seed: int) -> Iterator[str]:
    """Yield `count` documents of the second stage, with more of the hard families."""
    rng = random.Random(seed)
    kinds = {_calls: 40, _cousin: 20, _lookups: 15, _session: 10, _copying: 5}
    for _ in range(count):
        if rng.random() < 0.1:
            yield _cousin(rng, HARD)
        else:
            [kind] = rng.choices(list(kinds), list(kinds.values()))
            yield kind(rng)


def final_documents(count: int, seed: int) -> Iterator[str]:
    """Yield `count` documents of the last stage, of the CoGEX rows' families alone."""
    rng = random.Random(seed)
    hard = tuple(family for family in HARD if family in COGEX_FAMILIES)
    families = COGEX_FAMILIES + hard * 2 + COGEX_FAMILIES[-1:] * 2
    for _ in range(count):
        kind = rng.random()
        if kind < 0.5:
            yield _calls(rng, families)
        elif kind < 0.9:
            yield _cousin(rng, families)
        else:
            yield _session(rng) if kind < 0.95 else _copying(rng)


def base_documents(count: int, seed: int) -> Iterator[str]:
    """Yield `count` documents of the base corpus; the seed decides their order."""
    rng = random.Random(seed)
    for _ in range(count):
        kind = rng.random()
        if kind < 0.55:
            yield _cousin(rng)
        elif kind < 0.85:
            yield _session(rng)
        elif kind < 0.92:
            yield _copying(rng)
        else:
            yield "\n".join(_fact(rng) for _ in range(rng.randint(6, 10)))


def write_cogex_rows(path: Path, count: int, seed: int) -> None:
    """Write a `data.json` in the published schema."""
    write_json(path, cogex_rows(count, seed))


def write_documents(path: Path, documents: Iterator[str]) -> None:
    """Write a base corpus as JSON lines with the field `text`."""
    write_jsonl(path, ({"text": text} for text in documents))
