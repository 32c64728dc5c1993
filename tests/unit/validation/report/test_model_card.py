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
from validation.report.facts import Best, RunFacts, read_facts
from validation.report.model_card import write_card

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
SHARE = {
    "count": 45, "rows": 50, "threshold": 0.92, "passed": False,
    "references": {"count": 50, "rows": 50},
}  # fmt: skip
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
    "partial": "",
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
        samples=[],
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
    found = front(facts)
    [result] = found.pop("model-index")[0]["results"]
    assert [(item["type"], item["value"]) for item in result["metrics"]] == [
        ("perplexity", 1.5), ("exact_match", 0.9), ("exact_match", 0.96)
    ]  # fmt: skip
    assert result["metrics"][1]["name"] == "answers as reasoner, 95% interval 0.786 to 0.957"
    assert result["dataset"]["args"] == {"sha256": "c" * 64}
    assert found == {
        "base_model": HUB,
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "datasets": ["mkhalifa/CoGEX"],
        "tags": ["axolotl", "cogex", "lora"],
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("---\nlicense: mit\n---\n# Base", "(to our knowledge mit; see its page)"),
        ("---\nlicense: other\nlicense_name: own-terms\n---\n", "(to our knowledge own-terms; see"),
        ("---\nlicense: [\n---\n", "still apply; see its page"),
        ("# No front matter", "still apply; see its page"),
    ],
)
def test_licence_of_a_base_is_read_from_its_own_card(facts: RunFacts, text: str, said: str) -> None:
    folder = Path("my-org/my-base")
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(text)
    assert said in card(facts, recipe=with_values(facts, base_model=str(folder)))


@pytest.mark.parametrize("base", ["models/tiny-base", "data/tiny/random-base", "/a/b"])
def test_local_base_is_no_hub_model(facts: RunFacts, base: str) -> None:
    recipe = with_values(facts, base_model=base)
    assert "base_model" not in front(facts, recipe=recipe)
    assert f"`{base}`" in card(facts, recipe=recipe)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {},
            ["its own 2,000 validation rows",
             "perplexity of `checkpoint-20`, which this is:\n  **1.50000**",
             "of the base on the same rows: 2.25000",
             "| answer equals the reference | 90.0% | 96.0% | 100.0% |",
             f"`{'a' * 64}`", f"`{'b' * 64}`", "truly return was not measured",
             "No interpreter runs", "to our knowledge Llama 2 Community License",
             "emulates a correct program wrongly"],
        ),
        (  # the figures are of the checkpoint that lies there
            {"best": Best(Path("run/best"), "checkpoint-10", {})},
            ["**1.75000**", "best/ holds checkpoint-10, and selection.json names checkpoint-20"],
        ),
        (
            {"check": CheckFile.model_validate(CHECK | {"emulation": EMULATION})},
            ["As reasoner, 4 of 50 programs were complete and were run in a sandbox",
             "- keys emulated as they truly come out: 7 of 9\n"],
        ),
        (
            {"check": None, "check_is_of_another": True},
            ["check.json is of another model than best/ holds now",
             "what it writes: not measured"],
        ),
    ],
)  # fmt: skip
def test_figures_are_those_of_the_run(
    facts: RunFacts, change: dict[str, Any], said: list[str]
) -> None:
    text = card(facts, **change)
    assert [words for words in said if words not in text] == []
    assert ("**1.50000**" in text) is ("best" not in change)
    if change.get("check"):
        assert "truly return was not measured" not in text


def test_what_was_not_measured_is_said(facts: RunFacts) -> None:
    text = card(facts, selection=None, check=None)
    assert len(re.findall("not measured", text)) == 3
    assert "%" not in text.split("## Training")[0]


def test_share_of_more_than_all_is_refused() -> None:
    with pytest.raises(ValueError, match="51 of 50: more than all"):
        CheckFile.model_validate(CHECK | {"measures": {"answer_exact": SHARE | {"count": 51}}})


ALPACA = {"path": "data/alpaca/train.jsonl", "type": "prompt_strategies.alpaca"}


@pytest.mark.parametrize(
    ("values", "said", "not_said"),
    [
        ({"base_model": "someone/else"}, [], ["to our knowledge"]),
        ({"datasets": [{"path": "data/tiny/train.jsonl"}]}, [], ["mkhalifa", "datasets:"]),
        (
            {"datasets": [ALPACA]},
            ["in text only", "tatsu-lab/alpaca"],
            ["No interpreter runs", "### Code"],
        ),
        (
            {"adapter": None},
            ["A model trained from `meta-llama", "library_name: transformers"],
            ["adapter ("],
        ),
        # a name cannot end its code
        ({"base_model": "a`</code>\n\n# b\u202e"}, ["`a'</code>  # b\\u202e`"], []),
    ],
)
def test_card_claims_what_the_recipe_says(
    facts: RunFacts, values: dict[str, Any], said: list[str], not_said: list[str]
) -> None:
    text = card(facts, recipe=with_values(facts, **values))
    assert [words for words in said if words not in text] == []
    assert [words for words in not_said if words in text] == []


def test_card_is_written_from_the_files_of_the_run_in_place_of_an_older(facts: RunFacts) -> None:
    readme = Path("run/best/README.md")
    readme.write_text("an older card")
    Path("run/selection.json").write_text(json.dumps(SELECTION))
    Path("run/best/checkpoint.json").write_text('{"checkpoint": "checkpoint-20"}')
    assert write_card(read_facts(facts.recipe)) == readme
    assert "**1.50000**" in readme.read_text() and "an older card" not in readme.read_text()


def test_no_best_is_an_error(facts: RunFacts) -> None:
    with pytest.raises(UserError, match=r"run/best: holds no checkpoint; run `cogex select"):
        write_card(read_facts(facts.recipe))
