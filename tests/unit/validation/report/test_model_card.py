"""The card in best/ says what the run measured, and claims nothing that it did not."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from tests.unit.recorded_run import RECIPE
from tools.errors import UserError
from tools.recipe import Recipe, read_recipe
from tools.recipe_header import read_header
from tools.results import CheckFile, Manifest, Selection
from validation.report.facts import Best, RunFacts
from validation.report.model_card import write_card, write_model_card

HUB = "meta-llama/Llama-2-7b-hf"
MORE = """base_model: meta-llama/Llama-2-7b-hf
adapter: lora
lora_r: 16
lora_alpha: 32
lora_dropout: 0.05
test_datasets:
  - path: data/cogex/val.jsonl
    type: prompt_strategies.cogex
"""
SHARE = {"count": 45, "rows": 50, "threshold": 0.92, "passed": False}
EMULATION = {
    "programs": 50,
    "complete": 4,
    "run": 4,
    "statuses": {"undefined": 46, "returned": 4},
    "keys": {"count": 7, "of": 9},
    "faithful": {"count": 2, "of": 4},
    "answers": {"count": 3, "of": 4},
}
CHECK = {
    "validation_sha256": "c" * 64,
    "passed": False,
    "rows": 50,
    "measures": {"answer_exact": SHARE},
    "emulator": {"rows": 50, "measures": {"answer_exact": SHARE | {"count": 48}}},
}
CHECKPOINT = {"epoch": 1.0, "logged_eval_loss": 0.5, "status": "ok"}
SELECTION = {
    "criterion": "perplexity",
    "best": "checkpoint-20",
    "validation": {"sha256": "c" * 64, "rows": 2000},
    "checkpoints": [
        {"name": "checkpoint-10", "step": 10, "perplexity": 1.75, **CHECKPOINT},
        {"name": "checkpoint-20", "step": 20, "perplexity": 1.5, **CHECKPOINT},
    ],
    "base": {"perplexity": 2.25},
}
MANIFEST = {
    "source": {"path": "data/data.json", "sha256": "a" * 64, "rows": 52002},
    "train": 50000, "val": 2000, "rejected": 2, "seed": 42, "sha256": {},
}  # fmt: skip


@pytest.fixture
def facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFacts:
    """A run on the published data, whole."""
    monkeypatch.chdir(tmp_path)
    Path("run/best").mkdir(parents=True)
    recipe = write_recipe(RECIPE.replace("train.jsonl", "data/cogex/train.jsonl") + MORE)
    return RunFacts(
        recipe=recipe,
        header=read_header(recipe.path),
        state=None,
        manifest=Manifest.model_validate(MANIFEST),
        selection=Selection.model_validate(SELECTION),
        check=CheckFile.model_validate(CHECK),
        generations=[],
        best=Best(Path("run/best"), "checkpoint-20", {"adapter_model.safetensors": "b" * 64}),
    )


def write_recipe(text: str) -> Recipe:
    Path("recipe.yml").write_text(text)
    return read_recipe(Path("recipe.yml"))


def card(facts: RunFacts, **change: Any) -> str:
    return write_card(replace(facts, **change)).read_text()


def front(facts: RunFacts, **change: Any) -> dict[str, Any]:
    return ModelCard(card(facts, **change)).data.to_dict()


def with_values(facts: RunFacts, **values: Any) -> Recipe:
    return replace(facts.recipe, values=facts.recipe.values | values)


def test_front_matter_is_what_the_hub_reads(facts: RunFacts) -> None:
    assert front(facts) == {
        "base_model": HUB,
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "datasets": ["mkhalifa/CoGEX"],
        "tags": ["axolotl", "cogex", "lora"],
    }


@pytest.mark.parametrize("base", ["models/tiny-base", "data/tiny/random-base", "/a/b", "../b"])
def test_local_base_is_no_hub_model(facts: RunFacts, base: str) -> None:
    recipe = with_values(facts, base_model=base)
    assert "base_model" not in front(facts, recipe=recipe)
    assert f"`{base}`" in card(facts, recipe=recipe)


def test_other_data_is_not_called_the_published(facts: RunFacts) -> None:
    recipe = with_values(facts, datasets=[{"path": "data/tiny/train.jsonl"}])
    assert "datasets" not in front(facts, recipe=recipe)
    assert "mkhalifa" not in card(facts, recipe=recipe)


def test_figures_are_those_of_the_run(facts: RunFacts) -> None:
    text = card(facts)
    assert "its own 2,000 validation rows" in text
    assert "perplexity of `checkpoint-20`, which this is:\n  **1.50000**" in text
    assert "of the base on the same rows: 2.25000" in text
    assert "| answer equals the reference | 90.0% | 96.0% |" in text
    for letter in "ab":
        assert f"`{letter * 64}`" in text


def test_figures_are_of_the_checkpoint_that_lies_there(facts: RunFacts) -> None:
    best = Best(Path("run/best"), "checkpoint-10", {})
    text = card(facts, best=best)
    assert "**1.75000**" in text and "1.50000" not in text
    assert "best/ holds checkpoint-10, and selection.json names checkpoint-20" in text


def test_verified_emulation_is_told_as_counts(facts: RunFacts) -> None:
    text = card(facts, check=CheckFile.model_validate(CHECK | {"emulation": EMULATION}))
    assert "As reasoner, 4 of 50 programs were complete and were run in a sandbox" in text
    assert "- keys emulated as they truly come out: 7 of 9\n" in text
    assert "truly return was not measured" not in text
    assert "truly return was not measured" in card(facts)


def test_check_of_another_model_gives_no_figures(facts: RunFacts) -> None:
    text = card(facts, check=None, check_is_of_another=True)
    assert "check.json is of another model than best/ holds now" in text
    assert "programs, calls and outputs: not measured" in text


@pytest.mark.parametrize(
    "figures", [{"count": 51}, {"count": -1}, {"rows": -1}, {"threshold": float("nan")}]
)
def test_share_that_is_none_is_refused(figures: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        CheckFile.model_validate(CHECK | {"measures": {"answer_exact": SHARE | figures}})


def test_what_was_not_measured_is_said(facts: RunFacts) -> None:
    text = card(facts, selection=None, check=None)
    assert len(re.findall("not measured", text)) == 3
    assert "%" not in text.split("## Training")[0]


def test_limits_and_licence_are_told(facts: RunFacts) -> None:
    text = card(facts)
    for sentence in ("No interpreter runs", "to our knowledge Llama 2 Community License",
                     "emulates correct programs wrongly at times"):  # fmt: skip
        assert sentence in text
    other = with_values(facts, base_model="someone/else")
    assert "to our knowledge" not in card(facts, recipe=other)


def test_baseline_is_not_said_to_emulate(facts: RunFacts) -> None:
    entry = {"path": "data/alpaca/train.jsonl", "type": "prompt_strategies.alpaca"}
    text = card(facts, recipe=with_values(facts, datasets=[entry]))
    assert "in text alone" in text and "tatsu-lab/alpaca" in text
    assert "No interpreter runs" not in text and "### Code" not in text


def test_whole_model_is_not_called_an_adapter(facts: RunFacts) -> None:
    recipe = with_values(facts, adapter=None)
    assert "A model trained from `meta-llama" in card(facts, recipe=recipe)
    assert front(facts, recipe=recipe)["library_name"] == "transformers"


def test_name_cannot_end_its_code(facts: RunFacts) -> None:
    recipe = with_values(facts, base_model="a`</code>\n\n# b\u202e")
    assert "`a'</code>  # b\\u202e`" in card(facts, recipe=recipe)


def test_card_of_an_older_best_is_replaced(facts: RunFacts) -> None:
    readme = Path("run/best/README.md")
    readme.write_text("an older card")
    assert write_card(facts) == readme
    assert "older" not in readme.read_text()


def test_card_is_written_from_the_files_of_the_run(facts: RunFacts) -> None:
    Path("run/selection.json").write_text(json.dumps(SELECTION))
    Path("run/best/checkpoint.json").write_text('{"checkpoint": "checkpoint-20"}')
    assert "**1.50000**" in write_model_card(facts.recipe).read_text()


def test_no_best_is_an_error(facts: RunFacts) -> None:
    with pytest.raises(UserError, match=r"run/best: holds no checkpoint; run `cogex select"):
        write_model_card(facts.recipe)
