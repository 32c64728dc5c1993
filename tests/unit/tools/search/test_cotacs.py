"""Algorithm 1 on recorded answers: who is a candidate, who is kept, and what is counted.

The model is a table: which program it writes for a row at which try, and which rows a program gets
right. All else is real.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.tools.search.test_card import GOOD
from tools.errors import UserError
from tools.generate import Generation
from tools.search import baselines
from tools.search.backend import Batch, Request
from tools.search.candidates import PLAN, PROGRAM
from tools.search.cotacs import propose, search
from tools.search.data import Task, TaskRow, load_task
from tools.search.racing import schedule
from tools.search.scoring import Scorer, Settings
from tools.search.store import Store


def program(name: str) -> str:
    return f"def {name}(a, b):\n    return {{'answer': add(a, b)}}"


class Recorded:
    """Writes `writes[try]`, else `good`; a program `right_N` is right on N percent of the sums."""

    def __init__(self, *writes: str) -> None:
        self.identity: dict[str, Any] = {"weights": "recorded"}
        self.writes = writes
        self.asked: list[Request] = []
        self.tries: dict[str, int] = {}

    def run(self, requests: Sequence[Request]) -> Iterator[Batch]:
        self.asked.extend(requests)
        yield [(index, self._answer(request)) for index, request in enumerate(requests)]

    def _answer(self, request: Request) -> Generation:
        one, other = map(int, re.findall(r"(\d+) \+ (\d+)", request.prompt)[-1])
        given = re.search(r"def (\w+)", request.prompt)
        text = ""
        if given is None:
            attempt = self.tries.get(request.prompt, 0)
            self.tries[request.prompt] = attempt + 1
            name = self.writes[min(attempt, len(self.writes) - 1)]
            text = (program(name) if name.isidentifier() else name) + "\n\n"
        else:
            name = given[1]
        percent = int(re.sub(r"\D", "", name) or 0)
        sum_ = one + other + (0 if (one * 7 + other) % 100 < percent else 1)
        return Generation(f"{text}>>> f()\n### Output\n{{'answer': {sum_}}}", 9, True)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    data = {"train": {"generator": "sum", "seed": 1, "rows": 450}}
    split = {"train": 50, "dev": 300, "test": 100}
    card = GOOD | {"data": data, "split": split, "metric": "numeric"}
    (tmp_path / "add.yml").write_text(yaml.safe_dump(card))
    return load_task(tmp_path / "add.yml")


def scorer(task: Task, folder: Path, backend: Any, **settings: Any) -> Scorer:
    return Scorer(task, PROGRAM, backend, Store(folder), Settings(**settings))


class ByRow(Recorded):
    """Writes another program for each row: right_0, right_2 and so on, in the order of the rows."""

    def __init__(self, task: Task) -> None:
        super().__init__("right_0")
        self.number = {row.input: number for number, row in enumerate(task.train)}

    def _answer(self, request: Request) -> Generation:
        if "def " not in request.prompt:
            text = re.search(r"\d+ \+ \d+", request.prompt)
            assert text is not None
            self.writes = (f"right_{2 * self.number.get(text[0], 50)}",)
        return super()._answer(request)


def names(found: dict[str, Any]) -> list[int]:
    return [int(re.findall(r"right_(\d+)", item["program"])[0]) for item in found["programs"]]


def test_exhaustive_scores_every_candidate_on_every_row(task: Task, tmp_path: Path) -> None:
    found = search(scorer(task, tmp_path, ByRow(task), strategy="exhaustive", alpha=0.0))
    assert min(names(found)) >= 92
    assert found["counts"]["candidates"] == 50
    assert found["evaluations"] == {"train": 50 * 50, "dev": 15_000, "dev_exhaustive": 15_000}
    for item in found["candidates"]:
        assert (item["train"]["rows"], item["dev"]["rows"]) == (50, 300)


def test_race_finds_programs_as_good_with_fewer_calls(task: Task, tmp_path: Path) -> None:
    one = scorer(task, tmp_path, ByRow(task), top=3, alpha=0.0)
    found = search(one)
    assert len(names(found)) == 3
    assert min(names(found)) >= 92
    rounds = schedule(50, 300, 3)
    starts = [0, *(stop for _, stop in rounds)]
    cost = sum(alive * (stop - start) for (alive, stop), start in zip(rounds, starts, strict=False))
    assert found["evaluations"]["dev"] == cost < 0.5 * 15_000
    assert one.store.calls == cost + 50  # and the candidates themselves
    for item in found["programs"]:
        assert item["dev"]["rows"] == 300
    assert json.loads(json.dumps(found)) == found


def test_below_alpha_it_samples_again_within_its_bound(task: Task, tmp_path: Path) -> None:
    backend = Recorded("right_5", "right_80")
    proposed = propose(scorer(task, tmp_path, backend, alpha=0.5))
    assert proposed.candidates == [program("right_80")]
    written = [request for request in backend.asked if "def " not in request.prompt]
    assert len({request.seed for request in written}) == len(written) == 100  # other samples
    assert {request.temperature for request in written} == {0.7}
    assert {request.temperature for request in backend.asked if request not in written} == {0.05}
    hopeless = Recorded("right_5", "right_20", "right_10", "right_90")
    proposed = propose(scorer(task, tmp_path / "b", hopeless, alpha=0.5, tries=3))
    assert proposed.candidates == [program("right_20")]  # the best that was seen
    assert proposed.counts["generated"] == 150
    assert proposed.counts["rows_below_alpha"] == 50


def test_unparseable_and_equal_programs_are_counted(task: Task, tmp_path: Path) -> None:
    proposed = propose(scorer(task, tmp_path / "a", Recorded("def f(:", "right_90")))
    assert proposed.candidates == [program("right_90")]
    counts = {"generated": 100, "unparseable": 50, "duplicates": 49, "rows_below_alpha": 0}
    assert proposed.counts == counts
    with pytest.raises(UserError, match="none of 150 generations holds a program"):
        search(scorer(task, tmp_path, Recorded("no program at all")))


def test_no_answer_of_the_test_rows_is_seen_by_the_search(task: Task, tmp_path: Path) -> None:
    other = replace(task, test=tuple(replace(row, answer="0") for row in task.test))
    backend = ByRow(task)
    found = search(scorer(task, tmp_path / "one", backend, alpha=0.0))
    assert search(scorer(other, tmp_path / "other", ByRow(task), alpha=0.0)) == found
    test_inputs = {row.input for row in task.test}
    asked = {re.findall(r"\d+ \+ \d+", request.prompt)[-1] for request in backend.asked}
    assert asked == {row.input for row in task.train + task.dev}
    assert asked.isdisjoint(test_inputs)


def test_scores_are_the_metrics_and_the_majority_of_three_beats_one(
    task: Task, tmp_path: Path
) -> None:
    one = scorer(task, tmp_path, Recorded("right_0"))
    programs = [program("right_100"), program("right_0"), program("right_60")]
    evaluate = one.evaluate_on(programs, task.dev, "x")
    matrix = evaluate([0, 1, 2], range(300))
    assert matrix.mean(axis=1) == pytest.approx([1, 0, 0.6], abs=0.09)
    assert (evaluate([2], [5, 3]) == matrix[2, [5, 3]]).all()
    rows = task.test
    answers = one.emulate([program("right_0"), program("right_100"), program("a_100")], rows, "x")
    assert one.accuracy(one.majority(answers, rows), rows)["right"] == 100
    assert one.accuracy(one.majority(answers[:1], rows), rows)["right"] == 0


def test_plans_are_searched_as_programs_are(task: Task, tmp_path: Path) -> None:
    class Planner(Recorded):
        def _answer(self, request: Request) -> Generation:
            one, other = map(int, re.findall(r"(\d+) \+ (\d+)", request.prompt)[-1])
            output = f"{{'answer': {one + other}}}"
            given = "# Step 1" in request.prompt
            text = output if given else f"# Step 1: Add\n### Output\n{output}"
            return Generation(text, 9, True)

    planner = Scorer(task, PLAN, Planner(), Store(tmp_path), Settings())
    found = search(planner)
    assert [item["program"] for item in found["programs"]] == ["# Step 1: Add"]
    assert found["programs"][0]["dev"] == {"right": 300, "rows": 300}


class Base(Recorded):
    """Copies the answer of the last example; without one, says nothing of use."""

    def _answer(self, request: Request) -> Generation:
        shown = re.findall(r"Answer:\n(\d+)", request.prompt)
        return Generation(shown[-1] if shown else "I do not know.", 3, True)


def test_base_is_prompted_with_the_most_similar_rows(task: Task, tmp_path: Path) -> None:
    rows = task.test
    known = replace(task, dev=(*task.dev, *rows))  # each test row has its own answer among them
    base = Base()
    one = scorer(known, tmp_path, Recorded("right_0"))
    assert baselines.prompted(one, base, 0)["right"] == 0
    assert baselines.prompted(one, base, 2)["right"] == len(rows)
    prompt = base.asked[-1].prompt
    assert prompt.count("Input: ") == 3
    assert prompt.startswith("Add.\n\nInput: ")
    assert prompt.endswith(f"Input: {rows[-1].input}\nAnswer:\n")


@pytest.mark.parametrize("inputs", [["+", "-", "* /"], ["a", "b", "zzz"]])
def test_inputs_without_a_common_word_have_examples_too(
    task: Task, tmp_path: Path, inputs: list[str]
) -> None:
    rows = tuple(TaskRow(text, "1") for text in inputs)
    odd = replace(task, train=rows[:1], dev=rows[1:2], test=rows[2:])
    base = Base()
    assert baselines.prompted(scorer(odd, tmp_path, Recorded("right_0")), base, 2)["rows"] == 1
    assert base.asked[0].prompt.count("Input: ") == 3


def test_end_to_end_writes_a_program_for_each_row(task: Task, tmp_path: Path) -> None:
    backend = Recorded("right_100")
    assert baselines.end_to_end(scorer(task, tmp_path, backend))["share"] == 1.0
    assert all("def " not in request.prompt for request in backend.asked)
