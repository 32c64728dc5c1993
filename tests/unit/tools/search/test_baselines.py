"""How the base is asked, and how an answer is read from its words."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.tools.search.scripted import Scripted
from tests.unit.tools.search.test_cotacs import recorded, scorer, terms
from tools.backend import Request
from tools.errors import UserError
from tools.search import baselines
from tools.search.card import Chain
from tools.search.data import Task, TaskRow


def with_card(task: Task, **change: Any) -> Task:
    return replace(task, card=task.card.model_copy(update=change))


def copies_last_example() -> Scripted:
    """A base that copies the answer of the last example; without one, it says nothing of use."""
    return Scripted(lambda item: ["?", *re.findall(r"Answer: (\d+)", item.prompt)][-1])


def test_base_is_prompted_with_the_most_similar_rows(task: Task, tmp_path: Path) -> None:
    rows = task.test
    known = replace(task, dev=(*task.dev, *rows))  # each test row has its own answer among them
    base = copies_last_example()
    one = scorer(known, tmp_path, recorded("right_0"))
    assert baselines.prompted(one, base, 0)["right"] == 0
    assert baselines.prompted(one, base, 2)["right"] == len(rows)
    prompt = base.asked[-1].prompt
    assert prompt.count("Input: ") == 3
    assert prompt.startswith("Add.\n\nInput: ")
    assert prompt.endswith(f"Input: {rows[-1].input}\nAnswer:")


@pytest.mark.parametrize("inputs", [["+", "-", "* /"], ["a", "b", "zzz"]])
def test_inputs_without_a_common_word_have_examples_too(
    task: Task, tmp_path: Path, inputs: list[str]
) -> None:
    rows = tuple(TaskRow(text, "1") for text in inputs)
    odd = replace(task, train=rows[:1], dev=rows[1:2], test=rows[2:])
    base = copies_last_example()
    assert baselines.prompted(scorer(odd, tmp_path, recorded("right_0")), base, 2)["rows"] == 1
    assert base.asked[0].prompt.count("Input: ") == 3


def test_dev_rows_choose_the_number_of_examples_and_the_fewest_of_equals(
    task: Task, tmp_path: Path
) -> None:
    """This base is right where it sees four examples or more."""

    def answer(request: Request) -> str:
        enough = request.prompt.count("Input: ") > 4
        return str(sum(terms(request.prompt)) if enough else "?")

    base = Scripted(answer)
    found = baselines.best_prompted(scorer(task, tmp_path, recorded("right_0")), base)
    assert (found["shots"], found["right"]) == (4, len(task.test))
    assert {shots: item["right"] for shots, item in found["dev"].items()} == {
        "1": 0, "2": 0, "4": len(task.dev), "8": len(task.dev),
    }  # fmt: skip
    asked = {terms(request.prompt) for request in base.asked}
    assert asked == {terms(row.input) for row in (*task.dev, *task.test)}
    shown = [request.prompt for request in base.asked if terms(request.prompt) in
             {terms(row.input) for row in task.dev}]  # fmt: skip
    dev = {row.input for row in task.dev}
    for prompt in shown:  # a dev row is no example of a dev row
        assert dev.isdisjoint(re.findall(r"Input: (.*)\nAnswer: ", prompt))


def test_thoughts_come_first_and_the_answer_is_asked_for(task: Task, tmp_path: Path) -> None:
    def answer(request: Request) -> str:
        if request.prompt.endswith(baselines.STEP_BY_STEP):
            assert request.stop is None
            return " First 1 and then 2.\n"
        assert request.prompt.endswith("then 2.\nTherefore, the answer is")
        return f" {sum(terms(request.prompt)):,}, of course"

    base = Scripted(answer)
    found = baselines.chain_of_thought(scorer(task, tmp_path, recorded("right_0")), base)
    assert found["share"] == 1.0
    assert len(base.asked) == 2 * len(task.test)


def test_worked_examples_stand_before_the_row_and_the_last_line_answers(
    task: Task, tmp_path: Path
) -> None:
    chain = Chain(input="1 + 2", reasoning="One more than two.", answer="3")

    def answer(request: Request) -> str:
        one, other = terms(request.prompt)
        return f" From {one} by {other}.\nAnswer: {one + other}\n\n"

    base = Scripted(answer)
    one = scorer(with_card(task, chains=(chain,)), tmp_path, recorded("right_0"))
    assert baselines.chain_of_thought_by_example(one, base)["share"] == 1.0
    prompt = base.asked[0].prompt
    assert "Input: 1 + 2\nReasoning: One more than two.\nAnswer: 3\n\nInput: " in prompt
    assert prompt.endswith("\nReasoning:")


def test_the_cards_own_prompt_is_asked_as_it_is(task: Task, tmp_path: Path) -> None:
    base = Scripted(lambda item: str(sum(terms(item.prompt))))
    own = with_card(task, prompt="{{ instruction }} Only a number!\n{{ input }} =")
    one = scorer(own, tmp_path, recorded("right_0"))
    assert baselines.engineered(one, base, Path("x.yml"))["share"] == 1.0
    assert base.asked[0].prompt == f"Add. Only a number!\n{task.test[0].input} ="
    for text, message in (("{{ target }}", "'target' is undefined"), ("{{", "not a Jinja")):
        odd = scorer(with_card(task, prompt=text), tmp_path, recorded("right_0"))
        with pytest.raises(UserError, match=rf"x.yml: `prompt`.*{message}"):
            baselines.engineered(odd, base, Path("x.yml"))


def test_a_base_that_begins_with_an_empty_line_is_asked_for_the_next(
    task: Task, tmp_path: Path
) -> None:
    """It is asked again only where it wrote nothing."""

    def answer(request: Request) -> str:
        right = str(sum(terms(request.prompt)))
        if terms(request.prompt)[0] % 2:
            return right
        return "" if request.stop else f"\n\n{right}\nInput: 1 + 1\nAnswer: 2"

    base = Scripted(answer)
    one = scorer(task, tmp_path, recorded("right_0"))
    assert baselines.prompted(one, base, 0)["share"] == 1.0
    even = sum(terms(row.input)[0] % 2 == 0 for row in task.test)
    assert 0 < even == len(base.asked) - len(task.test)


CHOICES = tuple(TaskRow(f"row {number}", answer) for number, answer in enumerate("ABCDABCD"))


@pytest.mark.parametrize(
    ("metric", "text", "answer"),
    [
        ("numeric", " 1,234.", "1,234"),
        ("numeric", " $-5.5 or 6", "-5.5"),
        ("numeric", " none", None),
        ("exact", " I think a good answer is B.", "B"),
        ("exact", " (c)", "C"),
        ("exact", " no idea", "no idea"),
        ("exact", "  ", None),
    ],
)
def test_answer_is_read_from_words(task: Task, metric: str, text: str, answer: str | None) -> None:
    choice = replace(with_card(task, metric=metric), train=CHOICES)
    assert baselines.read_answer(text, choice) == answer


def test_free_answers_stay_as_they_are(task: Task) -> None:
    rows = tuple(TaskRow(f"row {number}", f"word{number}") for number in range(8))
    free = replace(with_card(task, metric="exact"), train=rows)
    assert baselines.read_answer(" word3 and word1 ", free) == "word3 and word1"
