"""Collapse is found, and honest text is not taken for it."""

import json
from pathlib import Path

import pytest

from prompt_strategies.layout import render_completion
from tools.backend import Generation
from tools.tiny.corpus import cogex_rows
from validation.check.collapse import COLLAPSE, find_loop, measure_collapse

LINE = "words = words + [word]"


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("def f(x):\n    return return x", "return return"),
        ("    for  for x in y:", "for  for"),
        ("x = " + "f ( " * 8 + ")", "f ("),
        ("def f():\n" + f"    {LINE}\n" * 8, "words = words + [ word ]"),
        ("- - - - - - - - - - - - - - - - " + "a b " * 8, "a b"),
        ("no comma, " + "and so on " * 8, "and so on"),
    ],
)  # fmt: skip
def test_loop_is_found(text: str, loop: str | None) -> None:
    assert find_loop(text) == loop


def test_longest_loop_has_32_words() -> None:
    words = [f"w{number}" for number in range(33)]
    assert find_loop(" ".join(words[:32] * 8)) == " ".join(words[:32])
    assert find_loop(" ".join(words * 8)) is None


def test_eight_repeats_are_a_loop_and_seven_are_none() -> None:
    assert find_loop("na " * 8) == "na"
    assert find_loop("na " * 7) is None
    assert find_loop(f"{LINE}\n" * 7) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{'answer': ['heads', 'heads', 'heads', 'heads', 'heads', 'heads', 'heads', 'heads']}",
        f"board = {[['X', 'O'] * 10] * 20}",
        f"line = '{'- ' * 40}'",
        "rows = '| --- | --- | --- | --- | --- | --- | --- | --- | --- |'",
        "1 0 0 0 0 0 0 0 0 0 0 0 0 0",
        "    if x:\n        return\n    return",
        "return return_value",
        "f(f(f(f(x))))",
        "text.replace('a', '').replace('b', '').replace('c', '').replace('d', '')",
        "not not x is is",
    ],
)
def test_honest_text_is_no_loop(text: str) -> None:
    assert find_loop(text) is None


def test_no_row_of_the_sample_is_taken_for_a_loop() -> None:
    rows = json.loads(Path("data/sample/data.json").read_text())
    texts = [
        render_completion(row["code_prompt"], row.get("code_output") or row["code output"])
        for row in rows
    ]
    assert len(texts) == 88
    assert [find_loop(text) for text in texts] == [None] * 88


def test_tiny_rows_show_no_collapse() -> None:
    rows = cogex_rows(300, 42)
    texts = [render_completion(row["code_prompt"], row["code_output"]) for row in rows]
    prompts = [f"{row['instruction']} {row['input']}" for row in rows]
    found = measure_collapse(prompts, [Generation(text, 1, True) for text in texts])
    assert all(item["passed"] and item["count"] <= 6 for item in found.values())


def counts(texts: list[str], *, prompts: list[str] | None = None, ended: bool = True) -> list[int]:
    """The counts of loops, empty, identical and length limit."""
    generations = [Generation(text, 1, ended) for text in texts]
    found = measure_collapse(prompts or [str(n) for n in range(len(texts))], generations)
    assert list(found) == list(COLLAPSE)
    return [item["count"] for item in found.values()]


def test_each_kind_is_counted() -> None:
    assert counts(["a", "b", "c"]) == [0, 0, 0, 0]
    assert counts(["def def", "b", "c"]) == [1, 0, 0, 0]
    assert counts(["", "\n ", "c"]) == [0, 2, 0, 0]
    assert counts(["a", "b", "a", "c", "a", "b"]) == [0, 0, 3, 0]
    assert counts(["a", "b", "c"], ended=False) == [0, 0, 0, 3]
    limit = measure_collapse(["a"], [Generation("x", 9, False)])["length_limit"]
    assert (limit["at_most"], limit["passed"]) == (None, True)  # it is only reported


def test_same_prompt_may_have_the_same_text() -> None:
    assert counts(["a", "a", "b"], prompts=["p", "p", "q"]) == [0, 0, 0, 0]
    assert counts(["a", "a", "a"], prompts=["p", "p", "q"]) == [0, 0, 2, 0]


@pytest.mark.parametrize(
    ("name", "text", "allowed"), [("loops", "def def", 1), ("empty", "", 1), ("identical", "a", 5)]
)
def test_thresholds_are_met_exactly(name: str, text: str, allowed: int) -> None:
    """1% and 5% of 100 rows."""
    for count, passed in ((allowed, True), (allowed + 1, False)):
        texts = [text] * count + [f"x{number}" for number in range(100 - count)]
        generations = [Generation(item, 1, True) for item in texts]
        found = measure_collapse([str(number) for number in range(100)], generations)
        assert found[name]["passed"] is passed


def test_nothing_generated_is_no_collapse() -> None:
    assert all(item["passed"] and not item["count"] for item in measure_collapse([], []).values())
