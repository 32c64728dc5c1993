"""The ArXivDLInstruct track at tiny scale: made data, a base stored in 4 bits, QLoRA, both scores.

What is made: rows of the dataset's columns, a random Llama-3.1 stored as the recipes' base is, a
random RoBERTa, and a judge behind a port of the loopback. All that reads them is the real thing.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors import safe_open

from tests.engine.recipe_runs import ARXIVDL, RecipeRun
from tests.openai_server import Server, judge
from tests.unit.tiny_encoder import write_encoder
from tools.kept import Kept
from tools.models import load_base, load_tokenizer
from tools.prepared_rows import read_prepared_rows
from tools.recipe import Recipe
from validation.code.codescore import codescore, make_metrics
from validation.preflight.data import check_data
from validation.preflight.model import check_model

SCORED = 2


@pytest.fixture
def run(runs: dict[str, RecipeRun]) -> RecipeRun:
    """The recipe of 200 rows, trained for two steps; test_every_recipe looks at it too."""
    return runs[ARXIVDL]


@pytest.fixture
def recipe(run: RecipeRun, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """The recipe, in its folder; completions are cut short, for a random model never stops."""
    monkeypatch.chdir(run.folder)
    return Recipe(run.recipe.path, run.recipe.values | {"sequence_len": 300})


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(judge) as running:
        yield running


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


def test_the_base_is_stored_in_4_bits_and_loads_as_it_is(recipe: Recipe) -> None:
    config = json.loads((Path(recipe.base_model) / "config.json").read_text())
    assert config["quantization_config"]["bnb_4bit_quant_type"] == "nf4"
    with safe_open(Path(recipe.base_model) / "model.safetensors", framework="pt") as weights:
        packed = weights.get_tensor("model.layers.0.self_attn.q_proj.weight")
    loaded = load_base(recipe.base_model).model.layers[0].self_attn.q_proj.weight
    assert loaded.quant_type == "nf4"
    assert packed.dtype == loaded.dtype == torch.uint8


def test_only_the_function_carries_loss(run: RecipeRun, recipe: Recipe) -> None:
    tokenizer = load_tokenizer(recipe.base_model)
    functions = {
        row["output"] for row in read_prepared_rows(Path(recipe.training["path"]), ("output",))
    }
    for ids, labels in run.report["steps"][0]:
        trained = [token for token, label in zip(ids, labels, strict=True) if label != -100]
        assert trained[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(trained[:-1]) in functions


def test_preflight_knows_base_and_rows(recipe: Recipe) -> None:
    verdicts = [*check_model(recipe), *check_data(recipe, None)]
    failed = [row for row in verdicts if row.verdict == "fail"]
    # the tiny base is not the published one, and there are fewer validation rows
    small = {"parameters", "vocabulary", "validation rows"}
    assert {row.name for row in failed} <= small
    assert {"adapter", "adapter's start"} <= {row.name for row in verdicts}


def score(recipe: Recipe, encoder: Path, server: Server, model: str) -> dict[str, Any]:
    metrics = make_metrics(
        "codebertscore,codejudge",
        encoder=str(encoder),
        layer=2,
        base_url=server.url("honest"),
        judge_model="judge",
        budget=10**6,
        concurrency=4,
        console=Console(quiet=True),
    )
    return codescore(recipe, metrics, model=model, subset_size=SCORED)


def test_base_and_checkpoint_are_scored_by_both(
    recipe: Recipe, encoder: Path, server: Server
) -> None:
    result = score(recipe, encoder, server, "all")
    assert list(result["models"]) == ["base", "checkpoint-1", "checkpoint-2"]
    for model in result["models"].values():
        assert model["pairs"] == SCORED
        assert 0 < model["codebertscore"]["f1"] < 1
        judge = model["codejudge"]
        assert (judge["incorrect"], judge["correct"]) == (SCORED, 0)  # a random model
    asked = server.requests("honest")
    assert (
        score(recipe, encoder, server, "checkpoint-2")["models"]["checkpoint-2"]
        == (result["models"]["checkpoint-2"])
    )
    assert server.requests("honest") == asked


def test_the_reference_itself_scores_one(recipe: Recipe, encoder: Path, server: Server) -> None:
    score(recipe, encoder, server, "base")
    folder = recipe.output_dir / "codescore"
    kept = Kept(folder / "candidates.jsonl")
    [base_line, *_] = kept.path.read_text().splitlines()
    rows = read_prepared_rows(Path(recipe.training["path"]).with_name("test.jsonl"), ("output",))
    kept.put(json.loads(base_line)["key"], [row["output"] for row in rows[:SCORED]])
    base = score(recipe, encoder, server, "base")["models"]["base"]
    assert base["codebertscore"]["f1"] == pytest.approx(1, abs=1e-6)
    assert base["codejudge"]["correct"] == SCORED
