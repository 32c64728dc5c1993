"""Every command that generates starts from the very ids with which the row was trained."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig

from prompt_strategies.base import find_strategy
from prompt_strategies.nl_plan_layout import find_plan
from tools import ask
from tools.backend import Request, Served
from tools.in_process import InProcess
from tools.recipe import read_recipe
from tools.search.candidates import PLAN, PROGRAM
from validation.check import check
from validation.code import codescore, samples

pytest_plugins = ["tests.real_tokenizers"]

PROGRAM_TEXT = "def plural(word):\n    # Step 1: add s\n    return {'answer': add(word)}"
ROW = {
    "id": "7",
    "instruction": "Pluralise.",
    "input": "cat",
    "code": f"{PROGRAM_TEXT}\n\n>>> plural('cat')",
    "output": "{'answer': 'cats'}",
    "prompt": 'def plural(word):\n    """Pluralise."""\n',
    "solution": "    return word + 's'\n",
}
KINDS = ["alpaca", "arxivdl", "code", "cogex", "nl_plan"]
ASKED = (ROW["instruction"], ROW["input"])
STEPS = "\n".join(f"# Step {n}: {step}" for n, step in enumerate(find_plan(ROW["code"]).steps, 1))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The ids from which the model was to go on; its answer is EOS."""
    ids: list[list[int]] = []

    def stop(model: Any, tokenizer: Any, batch: Any, *rest: Any) -> list[list[int]]:
        ids.extend(batch.ids)
        return [[tokenizer.eos_token_id] for _ in batch.ids]

    monkeypatch.setattr("tools.generate._continue", stop)
    return ids


@pytest.fixture
def model() -> Any:
    """What a batch is planned by."""
    return SimpleNamespace(
        config=LlamaConfig(max_position_embeddings=2048),
        dtype=torch.float32,
        device=torch.device("cpu"),
        get_memory_footprint=lambda: 0,
    )


def recipe_of(folder: Path, kind: str) -> Path:
    rows, path = folder / "rows.jsonl", folder / "r.yml"
    rows.write_text(json.dumps(ROW) + "\n")
    entry = {"path": str(rows), "type": f"prompt_strategies.{kind}"}
    values = {"datasets": [entry], "test_datasets": [entry], "sequence_len": 1024}
    path.write_text(json.dumps(values | {"base_model": "b", "output_dir": str(folder / "run")}))
    return path


def trained(tokenizer: Any, kind: str) -> tuple[list[int], list[int]]:
    """The ids of the row, and those of them without loss."""
    strategy = find_strategy(f"prompt_strategies.{kind}")
    assert strategy is not None
    made = strategy.from_recipe(tokenizer, {"sequence_len": 1024})
    [(ids, masked)] = made.encode_prepared([ROW])
    return list(ids), list(ids[:masked])


@pytest.mark.parametrize("kind", KINDS)
def test_ask_and_codescore(tokenizer, model, asked, tmp_path, monkeypatch, kind) -> None:
    monkeypatch.setattr("tools.models.load_trained", lambda target: (model, tokenizer))
    recipe = recipe_of(tmp_path, kind)
    ask.ask(recipe, *((ROW["prompt"],) if kind == "code" else ASKED))
    prompt = find_strategy(f"prompt_strategies.{kind}").render(ROW).prompt
    codescore._write_code(model, tokenizer, [prompt], read_recipe(recipe))
    assert asked == [trained(tokenizer, kind)[1]] * 2


def test_codebench(tokenizer, model, asked) -> None:
    task: Any = SimpleNamespace(prompt=ROW["prompt"], task_id="7")
    samples._generate(lambda: (model, tokenizer), samples.Sampling(), [task])
    assert asked == [trained(tokenizer, "code")[1]]


def test_check(tokenizer, model, asked, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(check, "load_named", lambda recipe, name: (model, tokenizer))
    check.check(read_recipe(recipe_of(tmp_path, "cogex")), model_name="base")
    check_modes(asked, *trained(tokenizer, "cogex"))


class Recorder:
    """An endpoint that records prompts and answers nothing."""

    def __init__(self, asked: list[Any]) -> None:
        self.asked = asked

    def completions(self, arguments: list[dict[str, Any]]) -> Iterator[Any]:
        self.asked.extend(each["prompt"] for each in arguments)
        return iter(())


@pytest.mark.parametrize("served", [False, True])
@pytest.mark.parametrize(
    ("kind", "form", "given"), [("cogex", PROGRAM, PROGRAM_TEXT), ("nl_plan", PLAN, STEPS)]
)
def test_search(tokenizer, model, asked, kind, form, given, served) -> None:
    endpoint: Any = Recorder(asked)
    backend = Served(endpoint, {}, tokenizer) if served else InProcess(model, tokenizer, {})
    for prompt in (form.reasoner_prompt(*ASKED), form.emulator_prompt(*ASKED, given)):
        list(backend.run([Request(prompt, 0.0, 1, 8)]))
    check_modes(asked, *trained(tokenizer, kind))


def test_server_without_a_tokenizer_gets_no_trailing_white_space() -> None:
    prompts: list[str] = []
    endpoint: Any = Recorder(prompts)
    list(Served(endpoint, {}).run([Request(PLAN.reasoner_prompt(*ASKED), 0.0, 1, 8)]))
    assert prompts == ["### Instruction\nPluralise.\n### Input\ncat\n### Plan"]


def check_modes(asked: list[list[int]], ids: list[int], prompt: list[int]) -> None:
    """As reasoner the prompt is the row's own; as emulator it goes on in the row's ids."""
    reasoner, emulator = asked
    assert reasoner == prompt
    assert len(emulator) > len(prompt) and emulator == ids[: len(emulator)]
