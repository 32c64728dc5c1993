"""A teacher's tasks are kept where they hold, and every other has its reason."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cogex import app
from tests.needs_sandbox import needs_sandbox
from tests.openai_server import Reply, Server, completion
from tools.code.merge import prepared_tasks
from tools.errors import UserError
from tools.prepare.generated import CATEGORIES, LEVELS, _request, prepare_generated

pytestmark = needs_sandbox


def task(name: str = "shift", body: str = "return x + 3", value: int = 4, tests: int = 4) -> str:
    text = f'def {name}(x):\n    """Return {name} of x.\n    >>> {name}(1)\n    {value}\n    """\n'
    text += "".join(f"    {line}\n" for line in body.split("\n"))
    checks = [f"assert {name}({x}) == {x + value - 1}" for x in range(1, tests + 1)]
    return f"```python\n{text}\n" + "\n".join(checks) + "\n```"


LONG = "\n".join([*(f"y{number} = {number}" for number in range(60)), "return x + 3"])
# what a teacher writes, and the reason against it
SAYS = {
    1: (task(), ""),
    2: ("Sure!\n" + task("moved", "y = x\nreturn y + 3") + "\nHave fun.", ""),
    3: (task("wrong", "return x - 3"), "its own solution gives a wrong answer"),
    4: (task("hostile", "import os\nos.kill(os.getppid(), 9)\nreturn x + 3"), "uses: import os"),
    5: (task("cut")[:60], "not a function with a docstring, and assertions"),
    6: (task(), "duplicate of gen_arithmetic_00001"),
    7: (task("again", "return x + 3"), "near-duplicate: of gen_arithmetic_00001"),
    8: (task("add", "return x + 3"), "held out: near-duplicate of mini_add"),
    9: (task("few", tests=2), "fewer than 3 assertions"),
    10: (task("long", LONG), "more than 50 lines"),
    11: ("I would rather not.", "not a function with a docstring, and assertions"),
    12: (task("spy").replace("assert spy(1)", "assert os.system(1) or spy(1)"), "assertions name"),
    13: (re.sub(r"== \d+", "!= 12345", task("empty", "return [x] * 7")), "its tests pass without"),
    15: (task("endless", "while x:\n    pass\nreturn x + 3"), "its own solution takes too long"),
    14: ("import os\nos.system('ls')\n" + task("side")[10:-4], "not a function with a docstring"),
}


@pytest.fixture
def server() -> Iterator[Server]:
    def teach(_: str, body: dict[str, Any]) -> str | Reply:
        number = int(re.findall(r"exercise number (\d+)", body["messages"][-1]["content"])[0])
        assert (body["temperature"], body["seed"]) == (0.8, number - 1)
        if number not in SAYS:
            return Reply(completion(body, None, choices=[]))
        return SAYS[number][0]

    with Server(teach) as running:
        yield running


Prepare = Callable[..., dict[str, Any]]


@pytest.fixture
def prepare(tmp_path: Path, server: Server) -> Prepare:
    def run(**options: Any) -> dict[str, Any]:
        asked = {"endpoint": server.url(), "model": None, "count": 16, "budget": 10**5,
                 "allow_code_execution": True} | options  # fmt: skip
        return prepare_generated(tmp_path / "out", **asked)

    return run


def test_tasks_that_hold_are_kept_and_the_others_counted_by_reason(
    prepare: Prepare, tmp_path: Path
) -> None:
    manifest = prepare()
    assert (manifest["read"], manifest["kept"], manifest["rejected"]) == (16, 2, 14)
    assert manifest["tokens"] == 15 * 100
    rows = [json.loads(line) for line in (tmp_path / "out/rows.jsonl").open()]
    assert [row["id"] for row in rows] == ["gen_arithmetic_00001", "gen_lists_00002"]
    assert rows[0]["solution"] == "    return x + 3\n" and rows[0]["level"] == "1"
    assert rows[0]["prompt"].endswith('    """\n') and rows[0]["tests"].count("assert") == 4
    lines = [json.loads(line) for line in (tmp_path / "out/rejected.jsonl").open()]
    reasons = {line["index"] + 1: line["reason"] for line in lines}
    for number, (_, reason) in SAYS.items():
        assert reasons.get(number, "").startswith(reason), number
    assert reasons[16].startswith('no text: no text: {"')
    assert prepared_tasks(tmp_path / "out") == rows  # as `cogex prepare code` reads them


def test_what_was_answered_is_not_asked_again(
    prepare: Prepare, server: Server, tmp_path: Path
) -> None:
    prepare()
    before = (tmp_path / "out/rows.jsonl").read_bytes()
    asked = server.requests("x")
    prepare()
    assert server.requests("x") == asked + 1  # what had no text
    assert (tmp_path / "out/rows.jsonl").read_bytes() == before


def test_budget_and_consent_come_before_the_first_question(
    prepare: Prepare, server: Server, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"takes up to 1\d,\d+ tokens, the budget is 900: nothing"):
        prepare(budget=900)
    with pytest.raises(UserError, match="--allow-code-execution"):
        prepare(allow_code_execution=False)
    assert server.requests("x") == 0 and not (tmp_path / "out").exists()


def test_a_teacher_whose_tasks_do_not_hold_is_named(server: Server, tmp_path: Path) -> None:
    server.script = lambda kind, body: "I would rather not."
    with pytest.raises(UserError, match=r"tiny: none of its 2 tasks holds \(2 not a function"):
        prepare_generated(tmp_path / "none", endpoint=server.url(), model=None, count=2,
                          budget=10**5, allow_code_execution=True)  # fmt: skip
    assert [path.name for path in (tmp_path / "none").iterdir()] == ["asked.jsonl"]


def test_every_category_and_level_is_asked_for() -> None:
    asked = [_request(number) for number in range(len(CATEGORIES) * len(LEVELS))]
    for subject in CATEGORIES.values():
        for level in LEVELS.values():
            assert sum(subject in text and level in text for text in asked) == 1


def test_the_command_says_what_it_may_cost_and_what_held(server: Server, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app,
        ["prepare", "generated", "--endpoint", server.url(), "--count", "4", "--out",
         str(tmp_path / "out"), "--allow-code-execution"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "4 of 4 tasks to be asked of tiny: at most " in done.output
    assert "50% of the tasks hold; 400 tokens of tiny" in done.output
