"""Algorithm 1 on a scripted model: who is a candidate, who is kept, and what is counted.

The model writes given programs, and a program named `right_N` is right on N percent of the sums.
All else is real.
"""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.tools.search.scripted import Scripted
from tools.backend import Request
from tools.errors import UserError
from tools.search import baselines
from tools.search.candidates import PLAN, PROGRAM
from tools.search.cotacs import propose, search
from tools.search.data import Task
from tools.search.scoring import Scorer, Settings
from tools.search.store import Store


def program(name: str) -> str:
    return f"def {name}(a, b):\n    return {{'answer': add(a, b)}}"


def terms(prompt: str) -> tuple[int, int]:
    """The sum that a prompt asks for: the last one in it."""
    one, other = re.findall(r"(\d+) \+ (\d+)", prompt)[-1]
    return int(one), int(other)


def emulated(name: str, prompt: str) -> str:
    """The output of a program on the sum of a prompt."""
    one, other = terms(prompt)
    percent = int(re.sub(r"\D", "", name) or 0)
    wrong = (one * 7 + other) % 100 >= percent
    return f">>> f()\n### Output\n{{'answer': {one + other + wrong}}}"


def model(choose: Callable[[str], str]) -> Scripted:
    """A model that writes the program that `choose` names for a prompt, or emulates one given."""

    def answer(request: Request) -> str:
        if given := re.search(r"def (\w+)", request.prompt):
            return emulated(given[1], request.prompt)
        name = choose(request.prompt)
        text = program(name) if name.isidentifier() else name
        return f"{text}\n\n{emulated(name, request.prompt)}"

    return Scripted(answer)


def recorded(*writes: str) -> Scripted:
    """A model that writes `writes[try]` for each row, and then its last program again."""
    tries: dict[str, int] = {}

    def choose(prompt: str) -> str:
        tries[prompt] = tries.get(prompt, -1) + 1
        return writes[min(tries[prompt], len(writes) - 1)]

    return model(choose)


def by_row(task: Task) -> Scripted:
    """A model that writes another program for each row: right_0, right_2 and so on."""
    number = {row.input: 2 * number for number, row in enumerate(task.train)}
    return model(lambda prompt: f"right_{number.get('{} + {}'.format(*terms(prompt)), 100)}")


def scorer(task: Task, folder: Path, backend: Any, **settings: Any) -> Scorer:
    return Scorer(task, PROGRAM, backend, Store(folder), Settings(**settings))


def percents(found: dict[str, Any]) -> list[int]:
    return [int(re.findall(r"right_(\d+)", item["program"])[0]) for item in found["programs"]]


def test_exhaustive_scores_every_candidate_on_every_row(task: Task, tmp_path: Path) -> None:
    found = search(scorer(task, tmp_path, by_row(task), strategy="exhaustive", alpha=0.0))
    assert min(percents(found)) >= 92
    assert found["counts"]["candidates"] == 50
    assert found["evaluations"] == {"train": 50 * 50, "dev": 15_000, "dev_exhaustive": 15_000}
    for item in found["candidates"]:
        assert (item["train"]["rows"], item["dev"]["rows"]) == (50, 300)


def test_race_finds_programs_as_good_with_fewer_calls(task: Task, tmp_path: Path) -> None:
    one = scorer(task, tmp_path, by_row(task), top=3, alpha=0.0)
    found = search(one)
    assert len(percents(found)) == 3
    assert min(percents(found)) >= 92
    cost = found["evaluations"]["dev"]
    assert cost == sum(item["dev"]["rows"] for item in found["candidates"]) <= 0.25 * 15_000
    assert one.store.calls == cost + 50  # and the candidates themselves
    assert json.loads(json.dumps(found)) == found


def test_unparseable_and_equal_programs_are_counted(task: Task, tmp_path: Path) -> None:
    proposed = propose(scorer(task, tmp_path / "a", recorded("def f(:", "right_90")))
    assert proposed.candidates == [program("right_90")]
    counts = {"generated": 100, "unparseable": 50, "duplicates": 49, "rows_below_alpha": 0}
    assert proposed.counts == counts
    with pytest.raises(UserError, match="none of 150 generations holds a program"):
        search(scorer(task, tmp_path, recorded("no program at all")))


def test_below_alpha_it_samples_again_within_its_bound(task: Task, tmp_path: Path) -> None:
    backend = recorded("right_5", "right_80")
    proposed = propose(scorer(task, tmp_path, backend, alpha=0.5))
    assert proposed.candidates == [program("right_80")]
    written = [request for request in backend.asked if "def " not in request.prompt]
    assert len({request.seed for request in written}) == len(written) == 100  # other samples
    assert {request.temperature for request in written} == {0.7}
    assert {request.temperature for request in backend.asked if request not in written} == {0.05}
    hopeless = recorded("right_5", "right_20", "right_10", "right_90")
    proposed = propose(scorer(task, tmp_path / "b", hopeless, alpha=0.5, tries=3))
    assert proposed.candidates == [program("right_20")]  # the best that was seen
    assert proposed.counts["generated"] == 150
    assert proposed.counts["rows_below_alpha"] == 50


def test_no_answer_of_the_test_rows_is_seen_by_the_search(task: Task, tmp_path: Path) -> None:
    other = replace(task, test=tuple(replace(row, answer="0") for row in task.test))
    backend = by_row(task)
    found = search(scorer(task, tmp_path / "one", backend, alpha=0.0))
    assert search(scorer(other, tmp_path / "other", by_row(task), alpha=0.0)) == found
    asked = {"{} + {}".format(*terms(request.prompt)) for request in backend.asked}
    assert asked == {row.input for row in task.train + task.dev}
    assert asked.isdisjoint(row.input for row in task.test)


def test_scores_are_the_metrics_and_the_majority_of_three_beats_one(
    task: Task, tmp_path: Path
) -> None:
    one = scorer(task, tmp_path, recorded("right_0"))
    programs = [program("right_100"), program("right_0"), program("right_60")]
    evaluate = one.evaluate_on(programs, task.dev, "x")
    matrix = evaluate([0, 1, 2], range(300))
    assert matrix.mean(axis=1) == pytest.approx([1, 0, 0.6], abs=0.09)
    assert (evaluate([2], [5, 3]) == matrix[2, [5, 3]]).all()
    rows = task.test
    answers = one.emulate([program("right_0"), program("right_100"), program("a_100")], rows, "x")
    for some, right in ((answers, 100), (answers[:1], 0)):
        voted = [item.answer for item in one.majority(some, rows)]
        assert one.accuracy(voted, rows)["right"] == right


def test_plans_are_searched_as_programs_are(task: Task, tmp_path: Path) -> None:
    def answer(request: Request) -> str:
        output = f"{{'answer': {sum(terms(request.prompt))}}}"
        given = "# Step 1" in request.prompt
        return output if given else f"# Step 1: Add\n### Output\n{output}"

    found = search(Scorer(task, PLAN, Scripted(answer), Store(tmp_path), Settings()))
    assert [item["program"] for item in found["programs"]] == ["# Step 1: Add"]
    assert found["programs"][0]["dev"]["right"] == 10  # of the first round: it is alone


def test_end_to_end_writes_a_program_for_each_row(task: Task, tmp_path: Path) -> None:
    backend = recorded("right_100")
    assert baselines.end_to_end(scorer(task, tmp_path, backend))["share"] == 1.0
    assert all("def " not in request.prompt for request in backend.asked)
