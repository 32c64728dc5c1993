"""The command's own part: which model, which folder, what is written when nothing is found."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from tests.openai_server import Reply, Server, completion
from tests.unit.conftest import WriteAdapter
from tests.unit.tools.search.scripted import Scripted
from tests.unit.tools.search.test_card import GOOD
from tools.backend import Generation, Request, Served
from tools.endpoint import Endpoint
from tools.errors import UserError
from tools.in_process import load_in_process
from tools.recipe import Recipe
from tools.search.apply import apply, print_answers
from tools.search.run import Target, run_search
from tools.search.scoring import Settings
from tools.search.shown import print_search


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"alpha": float("nan")}, r"--alpha nan: must be from 0 to 1"),
        ({"alpha": 1.1}, r"--alpha 1.1: must be from 0 to 1"),
        ({}, "name the model: --recipe RECIPE, --model PATH or --endpoint URL"),
        ({"recipe": Path("a"), "model": Path("b")}, "name one of them"),
        ({"recipe": Path("a"), "served_model": "b"}, "name models of an --endpoint"),
        ({"model": Path("a"), "served_base": "b"}, "name models of an --endpoint"),
    ],
)
def test_option_that_cannot_be_is_refused(named: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        (Settings if "alpha" in named else Target)(**named)


def test_plans_are_searched_where_their_recipe_was_trained(recipe: Recipe, tmp_path: Path) -> None:
    target = Target(recipe=recipe.path)
    assert target.folder == recipe.output_dir / "search"
    assert Target(model=Path("x")).folder == Path("outputs/search")
    assert target.plan_recipe is None
    sibling = tmp_path / "recipe-plan.yml"
    sibling.write_text(json.dumps(recipe.values | {"output_dir": str(tmp_path / "plan-run")}))
    assert target.plan_recipe is None  # not trained
    (tmp_path / "plan-run" / "best").mkdir(parents=True)
    assert target.plan_recipe == sibling
    served = Target(recipe=recipe.path, endpoint="http://x/v1")
    assert served.plan_recipe is None
    with pytest.raises(UserError, match="name the model that was trained on them by --served-plan"):
        served.open_plan()


@pytest.fixture
def untrained(tmp_path: Path, write_adapter: WriteAdapter, tiny_tokenizer: Any) -> Path:
    folder = write_adapter(tmp_path / "adapter")
    tiny_tokenizer.save_pretrained(folder)
    return folder


def test_model_that_writes_no_programs(tmp_path: Path, untrained: Path) -> None:
    card = tmp_path / "add.yml"
    card.write_text(yaml.safe_dump(GOOD | {"split": {"train": 2, "dev": 2, "test": 2}}))
    settings = Settings(tries=1, reasoner_tokens=30)
    with pytest.raises(UserError, match="add: none of 2 generations holds a program"):
        run_search(card, Target(model=untrained), settings, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["generations.jsonl"]


@pytest.mark.parametrize("context", [None, "many", True, -1, 64])
def test_server_may_say_how_much_it_takes(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    info = {} if context is None else {"max_model_len": context}
    served = (Endpoint("http://127.0.0.1:9/v1", "tiny"), info)
    monkeypatch.setattr("tools.endpoint.connect", lambda *_, **__: served)
    backend, base = Target(endpoint="http://127.0.0.1:9/v1").open()
    assert isinstance(backend, Served)
    assert backend.context == (64 if context == 64 else None)
    assert base is None


WRITES = (
    "def add(a, b):\n    return {'answer': plus(a, b)}\n\n>>> add(1, 2)\n### Output\n{'answer': 3}"
)


def test_plans_that_cannot_be_searched_cost_nothing_that_was_found(
    recipe: Recipe, untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan recipe's model is real, and writes no plan; the other's texts are given."""
    card = tmp_path / "add.yml"
    card.write_text(yaml.safe_dump(GOOD | {"split": {"train": 2, "dev": 2, "test": 2}}))
    plan_run = tmp_path / "plan-run"
    plan_run.mkdir()
    untrained.rename(plan_run / "best")
    (tmp_path / "recipe-plan.yml").write_text(
        json.dumps(recipe.values | {"output_dir": str(plan_run)})
    )
    monkeypatch.setattr(Target, "open", lambda self: (Scripted(lambda _: WRITES), None))
    settings = Settings(tries=1, reasoner_tokens=30)
    result = run_search(card, Target(recipe=recipe.path), settings, tmp_path / "out")
    no_base, left_out = result["baselines_left_out"]
    assert no_base.startswith("what the base answers: this is a whole model")
    assert left_out.startswith("NL plans: add: none of 2 generations holds a plan that can be used")
    kept = json.loads((tmp_path / "out" / "programs.json").read_text())
    assert kept["baselines_left_out"] == [no_base, left_out]
    assert set(kept["test"]) == {"cotacs_k1", "end_to_end"}
    console = Console(record=True, width=200)
    print_search(result, console)
    assert left_out in console.export_text()
    tied = result | {"ties": {"not_kept": 3, "rounds": 4}}
    tied["test"] = {"cotacs_k3": result["test"]["cotacs_k1"] | {"ties": 2}}
    print_search(tied, console)
    text = console.export_text()
    assert "CoTACS, k = 3: 2 of 2 answers are ties between programs, decided at random" in text
    assert "3 programs that were not kept are as good" in text and "4 candidates left" in text


def test_a_server_with_an_odd_day_ends_no_search(tmp_path: Path) -> None:
    """Each seventh answer has no text; the search says so, and applying its programs too."""
    card = tmp_path / "add.yml"
    card.write_text(yaml.safe_dump(GOOD | {"split": {"train": 2, "dev": 2, "test": 2}}))

    def answer(_: str, body: dict[str, Any]) -> str | Reply:
        odd = len(server.received) % 7 == 0
        return Reply(completion(body, None, choices=[])) if odd else WRITES

    with Server(answer) as server:
        target = Target(endpoint=server.url(), concurrency=1)
        result = run_search(card, target, Settings(tries=1), tmp_path / "out")
        [count] = result["server"]["no_text"].values()
        assert count >= 1
        server.script = lambda _, body: Reply(completion(body, None, choices=[]))
        [item] = apply(tmp_path / "out/programs.json", ["1 + 1"])
        assert item["answer"] is None
        assert item["programs"][0]["fault"] == 'no text: {"choices": []}'
        with pytest.raises(UserError, match=r"none of 2 generations .* 2 times: no text: "):
            run_search(card, target, Settings(tries=1), tmp_path / "other")
    console = Console(record=True, width=200)
    print_search(result, console)
    assert f"no text for {count} requests: no text: " in console.export_text()


FOUND: dict[str, Any] = {
    "task": {"instruction": "Add.", "metric": "numeric", "tolerance": 0.0},
    "model": {"target": {"model": "x"}, "weights": "another", "dtype": "x"},
    "settings": {"seed": 1, "emulator_temperature": 0.05, "emulator_tokens": 5},
    "programs": [{"program": "def f(a):\n    return {'answer': a}"}],
}


def write_found(folder: Path, **change: Any) -> Path:
    path = folder / "programs.json"
    path.write_text(json.dumps(FOUND | change))
    return path


def test_apply_takes_the_model_of_the_search_alone_in_any_precision(
    tmp_path: Path, untrained: Path
) -> None:
    with pytest.raises(UserError, match="another model than this one, which differs in base, base"):
        apply(write_found(tmp_path), ["1 + 1"], Target(model=untrained))
    identity = load_in_process(untrained).identity | {"dtype": "torch.bfloat16"}
    path = write_found(tmp_path, model={"target": {"model": str(untrained)}, **identity})
    [one, same, long] = apply(path, ["1 + 1", " 1 + 1\n", "1 " * 600])
    assert one == same
    assert one["programs"][0]["call"] or one["answer"] is None
    assert long["answer"] is None
    assert long["programs"][0]["fault"] == "the input fills what the model takes"


SAYS = {  # what is emulated, by the program; and what is wrong with it
    "a": (">>> a(1)\n### Output\n{'answer': 3}", True, ""),
    "b": (">>> b(1)\n### Output\n{'answer': 4}", True, ""),
    "c": (">>> other(1)\n### Output\n{'answer': '3.0'}", True, "it calls another function than"),
    "d": (">>> d(\n### Output\n{'answer': 4}", True, "its call is no Python"),
    "e": ("### Output\n{'answer': 3}", True, "it wrote no call"),
    "f": (">>> f(1)\n### Output\n{'total': 3}", True, "its output has no key `answer`"),
    "g": (">>> g(1)\n### Output\n[3]", True, "its output is no dict"),
    "h": (">>> h(1)\n### Output\n{'answer'", False, "it was cut off after 9 tokens"),
    "i": ("def z():\n    pass\n\n>>> z()\n### Output\n{}", True, "it wrote another program"),
    "j": (">>> j(1)\n### Output\n{'answer': 'three'}", True, ""),
}


@pytest.mark.parametrize(
    ("names", "votes", "tie"),
    [
        ("ab", [(3, 1), (4, 1)], True),
        ("abcdefghij", [(3, 3), (4, 2)], False),
        ("fghij", [], False),
    ],
)
def test_votes_ties_and_broken_emulations_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: str, votes: list[Any], tie: bool
) -> None:
    def emulate(request: Request) -> Generation:
        [name] = re.findall(r"def (.)\(x\)", request.prompt)
        return Generation(SAYS[name][0], 9, SAYS[name][1])

    scripted = Scripted(lambda _: "")
    monkeypatch.setattr(scripted, "run", lambda asked: [[*enumerate(map(emulate, asked))]])
    monkeypatch.setattr(Target, "open", lambda self: (scripted, None))
    programs = [{"program": f"def {name}(x):\n    return {{'answer': x}}"} for name in names]
    model = {"target": {"model": "x"}, **scripted.identity}
    path = write_found(tmp_path, programs=programs, model=model)
    [found] = apply(path, ["1 + 2"])
    assert [(item["answer"], item["votes"]) for item in found["votes"]] == votes
    assert found["tie"] is tie and found["answer"] in [answer for answer, _ in votes] + [None]
    assert len(found["programs"]) == len(names)
    for name, item in zip(names, found["programs"], strict=True):
        assert bool(item["fault"]) is bool(SAYS[name][2]) and SAYS[name][2] in item["fault"]
    console = Console(record=True, width=200)
    print_answers([found], console)
    text = console.export_text()
    assert ("a tie, decided at random" in text) is tie
    assert text.count("broken: ") == sum(bool(SAYS[name][2]) for name in names)
    assert text.count("\n  program ") == len(names)
    assert ("without an answer" in text) is bool({*names} & {*"fghij"})


def test_apply_refuses_what_no_search_wrote(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run `cogex search TASK --recipe RECIPE` first"):
        apply(tmp_path / "none.json", ["1 + 1"])
    for part in ("task", "model", "settings", "programs"):
        for value in (None, [], {}, [{"program": ""}]):
            with pytest.raises(UserError, match=r"is not the whole result of a|names no model"):
                apply(write_found(tmp_path, **{part: value}), ["1 + 1"])
    path = write_found(tmp_path)
    for content in ("", path.read_text()[:-9], "[]", "[" * 9999):
        path.write_text(content)
        with pytest.raises(UserError, match="is not the whole result of a `cogex search`"):
            apply(path, ["1 + 1"])


def test_no_more_calls_are_made_than_may_be_and_the_next_search_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = tmp_path / "add.yml"
    card.write_text(yaml.safe_dump(GOOD | {"split": {"train": 2, "dev": 4, "test": 3}}))
    backend, told = Scripted(lambda _: WRITES), list[str]()
    monkeypatch.setattr(Target, "open", lambda self: (backend, None))
    target, settings = Target(endpoint="http://x/v1"), Settings(tries=1, strategy="exhaustive")

    def run(most: int | None, folder: str) -> Any:
        return run_search(card, target, settings, tmp_path / folder, max_calls=most,
                          tell=told.append)  # fmt: skip

    whole = run(None, "whole")
    assert told[0].startswith("At most 26 calls, without NL plans: 6 to write candidates and score")
    for most in range(1, 6):
        with pytest.raises(UserError, match=rf"--max-calls {most}: . were made, and "):
            run(most, f"cut-{most}")
        kept = tmp_path / f"cut-{most}/generations.jsonl"
        made = kept.read_text().splitlines() if kept.exists() else []
        assert len(made) <= most
        found = run(whole["calls"] - len(made), f"cut-{most}")
        assert found["test"] == whole["test"] and found["programs"] == whole["programs"]


def test_finished_search_is_read_from_its_file_and_a_changed_one_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = tmp_path / "add.yml"
    card.write_text(yaml.safe_dump(GOOD | {"split": {"train": 2, "dev": 4, "test": 3}}))
    opened, told = list[int](), list[str]()

    def open_(self: Target) -> Any:
        opened.append(1)
        return Scripted(lambda _: WRITES), Scripted(lambda _: " 3")

    monkeypatch.setattr(Target, "open", open_)
    target, settings = Target(endpoint="http://x/v1"), Settings(tries=1)

    def run(**change: Any) -> dict[str, Any]:
        asked = Settings(**{**vars(settings), **change})
        return run_search(card, target, asked, tmp_path / "out", tell=told.append)

    first, again = run(), run()
    assert json.dumps(first) == json.dumps(again)
    assert len(opened) == 1 and told[-1].startswith("Searched before: read from ")
    run(seed=7)
    card.write_text(card.read_text() + "prompt: '{{ input }} ='\n")
    assert "own_prompt" in run(seed=7)["test"]
    assert len(opened) == 3


def test_every_way_to_answer_is_held_against_the_kept_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = tmp_path / "add.yml"
    card.write_text(yaml.safe_dump(GOOD | {"split": {"train": 2, "dev": 4, "test": 9}}))
    monkeypatch.setattr(Target, "open", lambda _: (Scripted(lambda _: WRITES), Scripted(str)))
    result = run_search(card, Target(endpoint="http://x/v1"), Settings(tries=1), tmp_path / "out")
    test = result["test"]
    assert set(test) == {
        "cotacs_k1", "end_to_end", "zero_shot", "two_shot_bm25", "few_shot_bm25", "thoughts",
    }  # fmt: skip
    for key, item in test.items():
        assert item["by_row"].count("1") == item["right"]
        if key == "cotacs_k1":
            assert "against" not in item
            continue
        gained = item["against"]["gained"] - item["against"]["lost"]
        assert item["right"] == test["cotacs_k1"]["right"] + gained
        assert item["against"]["of"] == "cotacs_k1"
    left_out = " ".join(result["baselines_left_out"])
    for reason in ("gives no `chains`", "gives no `prompt`", "--served-plan"):
        assert reason in left_out
    console = Console(record=True, width=200)
    print_search(result, console)
    assert "base, CoT, 0-shot" in console.export_text()


def test_sweep_and_leaves_are_written_beside_the_programs_for_no_call_more_than_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = tmp_path / "add.yml"
    card.write_text(yaml.safe_dump(GOOD | {"split": {"train": 2, "dev": 4, "test": 9}}))
    backend, told = Scripted(lambda _: WRITES), list[str]()
    monkeypatch.setattr(Target, "open", lambda _: (backend, None))
    target, settings = Target(endpoint="http://x/v1"), Settings(tries=1)

    def run() -> dict[str, Any]:
        return run_search(card, target, settings, tmp_path, sweep=True, leaves=True,
                          tell=told.append)  # fmt: skip

    result = run()
    [most] = re.findall(r"At most (\d+) calls", told[0])
    calls = len(backend.asked)
    assert calls <= int(most)
    assert result["settings"]["strategy"] == "exhaustive"
    for name in ("sweep", "leaves"):
        assert json.loads((tmp_path / f"{name}.json").read_text()) == result[name]
    assert result["leaves"]["by_leaf"]["plus"]["rows"] == 4
    before = (tmp_path / "sweep.json").read_bytes()
    run()
    assert len(backend.asked) == calls  # all of it was kept
    assert (tmp_path / "sweep.json").read_bytes() == before
    console = Console(record=True, width=200)
    print_search(result, console)
    text = console.export_text()
    assert "leaves named f1, f2, …" in text and "lower end of its 95% interval" in text


def test_stopped_search_says_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = tmp_path / "add.yml"
    card.write_text(yaml.safe_dump(GOOD | {"split": {"train": 2, "dev": 4, "test": 3}}))

    def answer(_: Request) -> str:
        if len(backend.asked) > 6:
            raise KeyboardInterrupt
        return WRITES

    backend, told = Scripted(answer), list[str]()
    monkeypatch.setattr(Target, "open", lambda _: (backend, None))
    target, settings = Target(endpoint="http://x/v1"), Settings(tries=1)
    with pytest.raises(KeyboardInterrupt):
        run_search(card, target, settings, tmp_path, tell=told.append)
    assert told[-1].startswith("Stopped. ") and "generations.jsonl keeps" in told[-1]
    backend.answer = lambda _: WRITES
    kept = len((tmp_path / "generations.jsonl").read_text().splitlines())
    before = len(backend.asked)
    whole = run_search(card, target, settings, tmp_path, tell=told.append)
    assert 0 < kept == whole["calls"] - (len(backend.asked) - before)  # nothing is asked twice
