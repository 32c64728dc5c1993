"""A search on the demo's model: in this process and through a server; killed, it ends the same."""

import json
import shutil
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prompt_strategies.tokenise import encode_prompts
from tests.engine.forked import start, wait
from tests.engine.launched import free_port
from tests.engine.recipe_runs import DemoRun
from tools import backend, sandbox
from tools.ask import Asking, ask
from tools.backend import Request, Served
from tools.recipe import read_recipe
from tools.search.apply import apply
from tools.search.candidates import PROGRAM
from tools.search.data import load_task
from tools.search.run import Target, run_search
from tools.search.scoring import Settings
from tools.search.store import NAME
from tools.tiny.families import ALL_FAMILIES
from validation.check.check import check
from validation.code.codebench import codebench
from validation.code.samples import Sampling

RECIPE = Path("recipes/cogex-tiny.yml")
CARD = """
version: 1
instruction: Sort the words alphabetically.
data:
  train: {generator: tiny, seed: 1, rows: 60, options: {family: sorting}}
input: "{{ input }}"
answer: "{{ target }}"
split: {train: 3, dev: 4, test: 4}
definitions: |
  def first_letters(words):
      return [word[0] for word in words]
  def first_letter(word):
      return word[0]
"""
SETTINGS = Settings(seed=3)  # the tiny model sorts three lists of four, and those tested


@pytest.fixture(scope="module")
def folder(demo: DemoRun) -> Iterator[Path]:
    """The demo's folder, as the working folder."""
    (demo.folder / "sorting.yml").write_text(CARD)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(demo.folder)
        yield demo.folder


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    """A search that nobody disturbed."""
    run_search(Path("sorting.yml"), Target(recipe=RECIPE), SETTINGS, Path("whole"))
    return folder / "whole"


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "programs.json").read_text())


def test_search_finds_programs_that_sort(whole: Path) -> None:
    result = read(whole)
    known = {program.source for program in ALL_FAMILIES["sorting"].programs}
    assert {item["program"] for item in result["programs"]} <= known
    assert result["programs"][0]["dev"]["right"] >= 3  # of 4
    assert result["test"]["cotacs_k1"]["right"] >= 3
    assert set(result["test"]) >= {"end_to_end", "zero_shot", "two_shot_bm25"}
    assert result["test"]["zero_shot"]["right"] == 0  # the base cannot do it
    kept = (whole / NAME).read_text().splitlines()
    assert len(kept) == result["calls"]


def test_sweep_and_leaves_read_off_what_the_model_does(whole: Path, folder: Path) -> None:
    """Its leaves are what it knows: under other names it cannot do their work."""
    shutil.copytree(whole, folder / "swept")
    result = run_search(
        Path("sorting.yml"), Target(recipe=RECIPE), SETTINGS, Path("swept"), sweep=True, leaves=True
    )
    points = [item for item in result["sweep"]["points"] if item["criterion"] == "mean"]
    assert [(item["candidates"], item["dev_rows"]) for item in points] == [(3, 4)]
    assert points[0]["regret"]["mean"] <= 0.25
    known = {leaf for program in ALL_FAMILIES["sorting"].programs for leaf in program.leaves}
    assert {*result["leaves"]["by_leaf"]} <= known
    best = result["leaves"]["programs"][0]
    assert best["right"] >= 3 > best["variants"]["renamed"]["right"]
    for program in result["leaves"]["programs"]:
        assert {"renamed", "bare"} <= set(program["variants"])
        defined = "first_letter" in " ".join(program["leaves"])
        assert ("defined" in program["variants"]) is defined
    assert {path.name for path in (folder / "swept").iterdir()} == {
        NAME, "programs.json", "sweep.json", "leaves.json",
    }  # fmt: skip


def test_killed_search_ends_with_the_same_bytes(whole: Path, folder: Path) -> None:
    command = ("module", "cogex", "search", "sorting.yml", "--recipe", str(RECIPE),
               "--seed", "3", "--out", "killed")  # fmt: skip
    killed = folder / "killed"
    process = start(folder, "killed.log", *command)
    while process.is_alive() and not ((killed / NAME).is_file() and (killed / NAME).stat().st_size):
        time.sleep(0.005)
    process.kill()
    wait(process)
    before = (killed / NAME).read_bytes()
    assert 0 < len(before) < (whole / NAME).stat().st_size
    assert not (killed / "programs.json").exists()
    with (killed / NAME).open("ab") as file:
        file.write(before[:100])  # and a torn line
    again = start(folder, "again.log", *command)
    assert wait(again) == [0], (folder / "again.log").read_text()
    assert (killed / "programs.json").read_bytes() == (whole / "programs.json").read_bytes()
    assert (killed / NAME).read_bytes() == (whole / NAME).read_bytes()
    assert "base, 2-shot BM25" in (folder / "again.log").read_text()


def test_found_programs_answer_inputs_as_in_the_search(whole: Path) -> None:
    rows = load_task(Path("sorting.yml")).test
    answers = apply(whole / "programs.json", [row.input for row in rows])
    right = sum(
        " ".join(item["answer"]) == row.answer for item, row in zip(answers, rows, strict=True)
    )
    voters = len(read(whole)["programs"])
    assert right == read(whole)["test"][f"cotacs_k{voters}"]["right"]
    assert all(item["programs"][0]["call"].startswith(">>> ") for item in answers)


class Server:
    """The server of `completions_server`, started and killed at will, always at one port."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "received.jsonl"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.start()

    def start(self) -> None:
        module = "tests.engine.completions_server"
        arguments = (module, str(RECIPE), str(self.port), str(self.log))
        self.process = start(self.folder, "server.log", "module", *arguments)

    def stop(self) -> None:
        self.process.kill()
        self.process.join()

    def received(self) -> list[list[int]]:
        lines = self.log.read_text().splitlines() if self.log.is_file() else []
        return [json.loads(line) for line in lines]

    def wait(self) -> None:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.url}/models", timeout=5)
                return
            except OSError:
                assert self.process.is_alive(), "the server has ended"
                time.sleep(0.1)

    def kill_once_busy(self) -> None:
        while len(self.received()) < 12:
            time.sleep(0.01)
        self.stop()
        self.start()


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    yield server
    server.stop()


def test_server_killed_in_mid_search_gives_what_this_process_gives(
    server: Server, whole: Path, folder: Path
) -> None:
    """With 429s and late answers, too; token ids with one BOS are what the server receives."""
    server.wait()
    killer = threading.Thread(target=server.kill_once_busy)
    killer.start()
    target = Target(recipe=RECIPE, endpoint=server.url, concurrency=4)
    run_search(Path("sorting.yml"), target, SETTINGS, folder / "served")
    killer.join()
    served, expected = read(folder / "served"), read(whole)
    assert served["programs"] == expected["programs"]
    for name in ("cotacs_k1", "end_to_end"):
        assert served["test"][name] == expected["test"][name]
    tokenizer = target.open()[0].tokenizer  # type: ignore[attr-defined]
    for ids in server.received():
        assert ids[0] == tokenizer.bos_token_id
        assert ids.count(tokenizer.bos_token_id) == 1


def test_text_gets_its_one_bos_from_the_server(server: Server) -> None:
    """Without a tokenizer text is sent, and the server makes the very ids of training of it."""
    server.wait()
    with_ids = Target(recipe=RECIPE, endpoint=server.url).open()[0]
    as_text = Target(endpoint=server.url).open()[0]
    assert isinstance(as_text, Served)
    assert isinstance(with_ids, Served)
    assert as_text.tokenizer is None
    prompts = [
        PROGRAM.emulator_prompt("Sort the words alphabetically.", "sun moon", program.source)
        for program in ALL_FAMILIES["sorting"].programs
    ]
    before = len(server.received())
    made = [answer for batch in as_text.run([Request(p, 0.05, 1, 4) for p in prompts])
            for answer in batch]  # fmt: skip
    assert len(made) == 3
    expected = encode_prompts(with_ids.tokenizer, prompts)
    assert sorted(server.received()[before:]) == sorted(expected)


def test_what_the_server_writes_is_checked_as_what_this_process_writes(server: Server) -> None:
    server.wait()
    recipe, served = read_recipe(RECIPE), backend.Server(server.url, concurrency=4)
    asked: dict[str, Any] = {"limit": 6, "max_new_tokens": 200}
    here, there = check(recipe, **asked), check(recipe, **asked, server=served)
    assert there["model"] == "served-tiny" and there["measures"] == here["measures"]
    written = [
        [line["generated"] for line in map(json.loads, path.read_text().splitlines())]
        for part in ("6-rows-200-tokens", "served-tiny-6-rows-200-tokens")
        for path in [recipe.output_dir / f"generations-{part}-emulator.jsonl"]
    ]
    assert written[0] == written[1] and any(written[0])
    question = "Sort the words alphabetically.", "sun moon"
    assert ask(RECIPE, *question, Asking(server=served)) == ask(RECIPE, *question)


@pytest.mark.skipif(bool(sandbox.unavailable()), reason="no sandbox here")
def test_codebench_through_the_server_tries_what_this_process_writes(server: Server) -> None:
    server.wait()
    lines = []
    for name, by in (("best", None), ("served-tiny", backend.Server(server.url, concurrency=4))):
        sampling = Sampling(max_new_tokens=8)
        codebench(RECIPE, "mini", sampling=sampling, out=Path("benched"), server=by,
                  allow_code_execution=True)  # fmt: skip
        text = Path(f"benched/codebench-mini-{name}.jsonl").read_text()
        lines.append([json.loads(line) | {"model": ""} for line in text.splitlines()])
    assert lines[0] == lines[1]


def test_nothing_but_two_files_is_left(whole: Path) -> None:
    assert sorted(path.name for path in whole.iterdir()) == [NAME, "programs.json"]
