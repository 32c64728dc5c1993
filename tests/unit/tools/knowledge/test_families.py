"""The families that need knowledge: programs agree, facts hold together, faults are caught."""

import random
import re
from dataclasses import replace

import pytest

from tools.errors import UserError
from tools.knowledge.families import FACT_FILES, LEAVES, Family, input_text, read_families, tables
from tools.pseudo_program import Program

FAMILIES = {family.name: family for family in read_families()}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=str)
def test_programs_agree_and_meet_the_example(family: Family) -> None:
    family.check()
    rng = random.Random(1)
    for _ in range(50):
        for _, output in family.outputs(family.arguments(rng, list(family.facts))):
            assert list(output)[-1] == "answer" and len(output) > 1
            assert eval(repr(output)) == output


def test_there_are_enough_families_wordings_and_programs() -> None:
    held_out = [family for family in FAMILIES.values() if family.held_out]
    assert len(held_out) >= 10 and len(FAMILIES) - len(held_out) >= 25
    assert all(len(set(f.instructions)) >= 3 and len(f.programs) >= 2 for f in FAMILIES.values())
    sources = [program.source for family in FAMILIES.values() for program in family.programs]
    names = [program.name for family in FAMILIES.values() for program in family.programs]
    assert len(set(names)) == len(names)
    assert all(f"{leaf}(" in "".join(sources) for leaf in LEAVES)


def test_leaves_worked_by_hand() -> None:
    assert LEAVES["say"](999) == "nine hundred ninety-nine" and LEAVES["say"](60) == "sixty"
    roman = lambda n: "".join(map(LEAVES["roman_letters"], LEAVES["split_places"](n)))  # noqa: E731
    assert [roman(n) for n in (4, 49, 1994, 3000)] == ["IV", "XLIX", "MCMXCIV", "MMM"]
    assert LEAVES["next_day"]("Sunday") == "Monday" and LEAVES["units_in_one"]("yards", "feet") == 3
    assert input_text(("fruit", ["saw", "plum"])) == "fruit: saw, plum"
    assert input_text((3, "hours", "minutes")) == "3 hours to minutes"


def test_a_wrong_fact_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tables()["countries.capital"], "Japan", "Kyoto")
    with pytest.raises(UserError, match="Kyoto"):
        FAMILIES["capital"].check()


def test_a_wrong_leaf_is_caught() -> None:
    family = FAMILIES["synonym_choice"]
    first, second = family.programs
    wrong = Program(first.source, {**first.leaves, "means_same": lambda word, option: True})
    with pytest.raises(UserError, match="synonym_choice: the programs disagree"):
        replace(family, programs=(wrong, second)).outputs(("begin", ["buy", "start"]))


def test_facts_hold_together() -> None:
    known = tables()
    for name in (
        "countries.capital",
        "elements.symbol",
        "elements.number",
        "nato",
        "planets.place",
    ):
        assert len(set(known[name].values())) == len(known[name]), name
    assert list(known["elements.number"].values()) == sorted(known["elements.number"].values())
    assert sum(known["months.days"].values()) == 365
    assert all(word[0] == letter for letter, word in known["nato"].items())
    assert {*known["landmarks.country"].values()} - {*known["countries.capital"]} == {
        "Czech Republic",
        "South Africa",
        "United Arab Emirates",
    }
    for name in ("reviews", "emotions", "headlines", "questions"):
        assert all(cue in text for text, cue in known[f"{name}.cue"].items()), name
    for name in ("homophones", "antonyms", "synonyms", "spelling", "british", "feminines"):
        assert all(word != other for word, other in known[name].items()), name
    assert all(isinstance(key, str) for table in known.values() for key in table)


def test_each_file_of_facts_names_source_and_licence_and_has_no_key_twice() -> None:
    assert sum(path.stat().st_size for path in FACT_FILES) < 250_000
    for path in FACT_FILES:
        text = path.read_text(encoding="utf-8")
        head = text.split("\n\n")[0]
        assert "# Source: " in head and "# Licence of this file: Apache-2.0" in head
        for block in re.split(r"^(?=\w)", text, flags=re.MULTILINE):
            keys = re.findall(r"^ +(?! )([^:#\[]+): |[{,] ?([^:,{}\[\]]+): ", block, re.MULTILINE)
            flat = ["".join(pair) for pair in keys]
            assert sorted(flat) == sorted(set(flat)), block[:40]
