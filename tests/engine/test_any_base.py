"""Bases of six architectures and three kinds of tokenizer go all the way, by the commands alone.

`cogex new` and `preflight`, training that is killed after its first of two steps and goes on, then
`select`, `check` and `ask`. The weights are random, so nothing is learnt. The commands of the page
on one's own base run as they stand.
"""

import json
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.any_base import write_any_base
from tests.engine.forked import ROOT, start, two_at_once, wait
from tools.prepare.cogex import prepare_cogex
from tools.recipe import read_recipe
from tools.tiny.corpus import write_cogex_rows

BASES = {  # the tokenizer, and what `new` must find
    "llama": ("sentencepiece", "q_proj", "<unk>"),
    "gemma3_text": ("sentencepiece", "q_proj", "<unk>"),
    "qwen3": ("chatml", "q_proj", None),  # the tokenizer's own pad token will do
    "phi3": ("chatml", "qkv_proj", None),
    "gpt_neox": ("gpt2", "query_key_value", "ÿ"),
    "gpt2": ("gpt2", "c_attn", "ÿ"),
}
TRAIN, VAL = 8, 4  # one step an epoch
SHORT = {
    "examples_per_step": TRAIN,
    "micro_batch_size": TRAIN,
    "eval_batch_size": VAL,
    "num_epochs": 2,
    "logging_steps": 1,
    "plugins": ["tools.training.plugin.CogexPlugin", "tests.engine.faults.Faults"],
}


@dataclass(frozen=True)
class Way:
    """What each command of the way printed, and how it ended."""

    folder: Path
    codes: dict[str, int | None]

    def printed(self, step: str) -> str:
        return (self.folder / f"{step}.log").read_text(errors="replace")

    def go(self, step: str, module: str, *words: str, **environment: object) -> None:
        log = f"{step}.log"
        [self.codes[step]] = wait(start(self.folder, log, "module", module, *words, **environment))


def go_all_the_way(folder: Path, kind: str, tokenizer: str) -> Way:
    way = Way(folder, {})
    write_any_base(folder / "my-org" / kind, kind, tokenizer)
    data = ("--base", f"my-org/{kind}", "--data", "data/mine", "--from", "cogex-tiny")
    way.go("new", "cogex", "new", "mine", *data)
    way.go("preflight", "cogex", "preflight", "mine", "--json", "preflight.json")
    path = folder / "recipes/mine.yml"
    header, body = path.read_text().split("\n\n", 1)
    path.write_text(f"{header}\n\n{yaml.safe_dump(yaml.safe_load(body) | SHORT)}")
    training = ("axolotl.cli.train", "recipes/mine.yml")
    way.go("killed", *training, FAULT="step 1")
    way.go("resumed", *training)
    way.go("select", "cogex", "select", "mine")
    way.go("check", "cogex", "check", "outputs/mine", "--rows", "2")  # by its run folder
    way.go("ask", "cogex", "ask", "mine", "Copy the word.", "--input", "wolf", "--json", "ask.json")
    return way


@pytest.fixture(scope="module")
def ways(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Way]:
    shared = tmp_path_factory.mktemp("bases")
    write_cogex_rows(shared / "data.json", TRAIN + VAL, 5)
    prepare_cogex(shared / "data.json", shared / "data", val_size=VAL)

    def go(kind: str) -> Way:
        folder = shared / kind
        (folder / "recipes").mkdir(parents=True)
        for path in ROOT.glob("recipes/cogex-tiny.yml"):
            (folder / "recipes" / path.name).symlink_to(path)
        (folder / "models").symlink_to(ROOT / "models")
        (folder / "data").mkdir()
        (folder / "data/mine").symlink_to(shared / "data")
        return go_all_the_way(folder, kind, BASES[kind][0])

    return two_at_once({kind: lambda kind=kind: go(kind) for kind in BASES})


@pytest.fixture(params=BASES)
def way(request: pytest.FixtureRequest, ways: dict[str, Way]) -> Way:
    return ways[request.param]


def result(way: Way, name: str) -> Any:
    return json.loads((way.folder / name).read_text())


def test_the_recipe_fits_the_base_and_preflight_passes(way: Way) -> None:
    _, target, pad = BASES[way.folder.name]
    assert way.codes["new"] == 0, way.printed("new")
    values = read_recipe(way.folder / "recipes/mine.yml").values
    assert target in values["lora_target_modules"]
    assert (values.get("special_tokens") or {}).get("pad_token") == pad
    failed = [row for row in result(way, "preflight.json")["verdicts"] if row["verdict"] == "fail"]
    assert (failed, way.codes["preflight"]) == ([], 0)


def test_it_trains_and_goes_on_after_a_kill(way: Way) -> None:
    assert way.codes["killed"] == -9, way.printed("killed")[-3000:]
    assert way.codes["resumed"] == 0, way.printed("resumed")[-3000:]
    assert "continues from checkpoint-1" in way.printed("resumed")
    assert (way.folder / "outputs/mine/checkpoint-2/adapter_model.safetensors").is_file()


def test_it_is_selected_checked_and_asked(way: Way) -> None:
    assert way.codes["select"] == 0, way.printed("select")[-3000:]
    assert (way.folder / "outputs/mine/best/adapter_model.safetensors").is_file()
    said = way.printed("check")  # a random model meets no threshold
    assert way.codes["check"] == 1 and "cogex: " not in said, said[-3000:]
    assert way.codes["ask"] == 0, way.printed("ask")[-3000:]
    assert result(way, "ask.json").keys() >= {"program", "output"}


def test_the_page_for_ones_own_base_holds_as_it_stands(engine: Path, tmp_path: Path) -> None:
    for name in ("models", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    write_cogex_rows(tmp_path / "mine.json", TRAIN + VAL, 5)
    write_any_base(tmp_path / "my-org/my-base", "llama", "sentencepiece")
    page = (ROOT / "docs/your-base.md").read_text()
    lines = "".join(re.findall(r"```bash\n(.*?)```", page, re.DOTALL)).splitlines()
    assert len(lines) == 8
    for line in lines:
        program, *words = shlex.split(line)
        module = {"cogex": "cogex", "accelerate": "accelerate.commands.accelerate_cli"}[program]
        [code] = wait(start(tmp_path, "page.log", "module", module, *words))
        said = (tmp_path / "page.log").read_text(errors="replace")
        assert code == (1 if words[0] == "check" else 0), f"{line}\n{said[-3000:]}"
    assert (tmp_path / "outputs/mine/best/adapter_model.safetensors").is_file()
