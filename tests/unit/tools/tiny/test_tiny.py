"""The embedded default: families, corpora, tokenizer."""

import json
import random
import re
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from tools.files import sha256
from tools.tiny.__main__ import values_sha256
from tools.tiny.corpus import (
    HEADINGS,
    base_documents,
    cogex_rows,
    continued_documents,
    draw,
    final_documents,
    is_reserved,
    world_words,
    write_documents,
)
from tools.tiny.families import ALL_FAMILIES, COGEX_FAMILIES, NOT_LEARNT, Family, Program
from tools.tiny.skeleton import write_skeleton

ROOT = Path(__file__).parents[4]
BASE = ROOT / "models" / "tiny-base"
ALL = ALL_FAMILIES.values()
PROGRAMS = [
    pytest.param(family, program, id=program.name) for family in ALL for program in family.programs
]


def test_twelve_families_have_programs_and_paraphrases_and_no_text_in_both_corpora() -> None:
    assert len({family.name for family in COGEX_FAMILIES}) >= 12
    assert all(len(family.programs) >= 3 for family in ALL)
    assert all(len(set(family.instructions)) >= 4 for family in ALL)
    cogex = {text for family in COGEX_FAMILIES for text in family.instructions}
    assert cogex.isdisjoint(text for family in ALL for text in family.base_instructions)


@pytest.mark.parametrize(("family", "program"), PROGRAMS)
def test_programs_of_a_family_agree_on_the_answer(family: Family, program: Program) -> None:
    rng = random.Random(1)
    for _ in range(50):
        args = draw(family, rng, reserved=False)
        output = program.run(*args)
        assert output["answer"] == family.programs[0].run(*args)["answer"]
        assert list(output)[-1] == "answer" and len(output) > 1


@pytest.mark.parametrize(
    ("name", "args", "answer"),
    [
        ("plural", (["corpus", "box"],), ["corpora", "boxes"]),
        ("addition", (58, 67), 125),
        ("sorting", (["map", "bird", "zebra"],), ["bird", "map", "zebra"]),
        ("coin", ([("Ann", "flips"), ("Bob", "keeps")],), "no"),
        ("reversal", (["a", "b", "c"],), ["c", "b", "a"]),
        ("occurrences", ("x", ["x", "y", "x"]), 2),
        ("counting", (["a", "b", "a"],), 3),
        ("maximum", ([31, 99, 12],), 99),
        ("antonym", (["hot", "early"],), ["cold", "late"]),
        ("sentiment", ("The food was awful and the view was rude.",), "negative"),
        ("letters", (["river", "salt"],), "RT"),
        ("parity", (4321,), "odd"),
        ("units", (37, "meters", "centimeters"), 3700),
        ("choice", ("fruit", ["saw", "plum", "iron"]), "plum"),
    ],
)
def test_answers_worked_by_hand(name: str, args: tuple, answer: object) -> None:
    programs = ALL_FAMILIES[name].programs
    assert [program.run(*args)["answer"] for program in programs] == [answer] * 3


def test_same_seed_same_rows_another_seed_others() -> None:
    assert cogex_rows(50, 1) == cogex_rows(50, 1) != cogex_rows(50, 2)
    assert list(base_documents(50, 1)) == list(base_documents(50, 1))


def test_no_input_of_a_cogex_row_is_an_input_of_a_base_document() -> None:
    rng = random.Random(5)
    for family in ALL:
        for _ in range(20):
            assert is_reserved(draw(family, rng, reserved=True))
            assert not is_reserved(draw(family, rng, reserved=False))
    calls = {row["code_prompt"].rsplit(">>> ", 1)[1] for row in cogex_rows(2000, 42)}
    for documents in (base_documents, continued_documents, final_documents):
        for document in documents(4000, 1):
            assert calls.isdisjoint(line.removeprefix(">>> ") for line in document.splitlines())


def test_what_the_base_cannot_learn_is_in_no_cogex_row() -> None:
    names = {row["id"].rsplit("-", 1)[0] for row in cogex_rows(200, 1)}
    assert names == {family.name for family in COGEX_FAMILIES}
    assert names.isdisjoint(NOT_LEARNT)


def test_cogex_layout_stands_in_no_heading_and_all_its_words_are_known() -> None:
    layout = {"Instruction", "Input", "Code", "Output"}
    assert not any(f"### {word}" in heading for heading in HEADINGS for word in layout)
    assert layout <= set(world_words())


def test_provenance_names_the_weights_and_recipes_that_are_here() -> None:
    provenance = json.loads((BASE / "provenance.json").read_text())
    assert provenance["weights_sha256"] == sha256(BASE / "model.safetensors")
    assert (BASE / "model.safetensors").stat().st_size <= 8 * 2**20
    for stage in provenance["stages"]:
        assert stage["values_sha256"] == values_sha256(ROOT / stage["recipe"]), stage["recipe"]


def test_corpus_is_made_again_byte_for_byte(tmp_path: Path) -> None:
    last = json.loads((BASE / "provenance.json").read_text())["stages"][-1]
    write_documents(tmp_path / "train.jsonl", final_documents(last["documents"], last["seed"]))
    assert sha256(tmp_path / "train.jsonl") == last["corpus_sha256"]


def test_tokenizer_is_made_again_byte_for_byte(tmp_path: Path) -> None:
    write_skeleton(tmp_path)
    assert sha256(tmp_path / "tokenizer.json") == sha256(BASE / "tokenizer.json")


def test_every_word_of_the_cogex_rows_is_one_token() -> None:
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    text = " ".join(value for row in cogex_rows(600, 3) for value in row.values())
    words = set(re.findall(r"[A-Z]?[a-z]+", text)) - {family.name for family in COGEX_FAMILIES}
    split = [word for word in words if len(tokenizer(word, add_special_tokens=False).input_ids) > 1]
    assert split == []
