"""The ArXivDLInstruct track at tiny scale: made data, a base stored in 4 bits, QLoRA, both scores.

What is made: rows of the dataset's columns, a random Llama-3.1 stored as the recipes' base is, a
random RoBERTa, and a judge behind a port of the loopback. All that reads them is the real thing.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors import safe_open
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from benchmarks.made_arxivdl import made_rows
from tests.engine.cpu_overrides import overrides
from tests.engine.recipe_runs import ENVIRONMENT, ROOT, RecipeRun
from tests.engine.tiny_bases import write_base
from tests.unit.judge_server import Server
from tests.unit.tiny_encoder import write_encoder
from tools.files import write_json, write_jsonl
from tools.models import load_base, load_tokenizer
from tools.prepare.arxivdl import prepare_arxivdl
from tools.prepare.arxivdl_source import open_stream
from tools.prepared_rows import read_prepared_rows
from tools.recipe import Recipe, read_recipe
from validation.code.codescore import codescore, make_metrics
from validation.preflight.data import check_data
from validation.preflight.model import check_model

pytestmark = pytest.mark.engine

NAME = "arxivdl-llama3.1-8b-qlora-200"
LIKE = "meta-llama/Llama-3.1-8B"  # the tiny base of that architecture
VALIDATION_ROWS = 6
SCORED = 3


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RecipeRun:
    """The recipe of 200 rows, trained for two steps in a folder of its own."""
    folder = tmp_path_factory.mktemp("arxivdl")
    recipe = read_recipe(ROOT / f"recipes/{NAME}.yml")
    (folder / "recipes").symlink_to(ROOT / "recipes")
    write_jsonl(folder / "rows.jsonl", list(made_rows(700)))
    prepare_arxivdl(
        open_stream(folder / "rows.jsonl"),
        folder / "data/arxivdl",
        sizes=[200],
        val_size=VALIDATION_ROWS,
        test_size=20,
    )
    write_base_in_4_bits(folder / recipe.base_model)
    made = RecipeRun(folder, recipe, overrides(recipe))
    job = {"folder": str(folder), "recipe": f"recipes/{NAME}.yml", "overrides": made.overrides}
    write_json(folder / "jobs.json", [job])
    child = [sys.executable, "-m", "tests.engine.train_recipes", str(folder / "jobs.json")]
    environment = ENVIRONMENT | {"HF_HOME": str(folder / "huggingface")}
    subprocess.run(["env", *(f"{key}={value}" for key, value in environment.items()), *child],
                   cwd=ROOT, check=True)  # fmt: skip
    assert "error" not in made.report, made.log[-3000:]
    return made


def write_base_in_4_bits(folder: Path) -> None:
    """Quantise a tiny random base as the recipes' base was: NF4, double quantisation, bf16."""
    plain = folder.with_name("plain")
    plain.mkdir(parents=True)
    write_base(LIKE, plain)
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    model = AutoModelForCausalLM.from_pretrained(plain, quantization_config=config)
    shutil.copytree(plain, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    model.save_pretrained(folder)


@pytest.fixture
def recipe(run: RecipeRun, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """The recipe, in its folder; completions are cut short, for a random model never stops."""
    monkeypatch.chdir(run.folder)
    return Recipe(run.recipe.path, run.recipe.values | {"sequence_len": 300})


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


def test_the_base_is_stored_in_4_bits(recipe: Recipe) -> None:
    config = json.loads((Path(recipe.base_model) / "config.json").read_text())
    assert config["quantization_config"]["bnb_4bit_quant_type"] == "nf4"
    with safe_open(Path(recipe.base_model) / "model.safetensors", framework="pt") as weights:
        packed = weights.get_tensor("model.layers.0.self_attn.q_proj.weight")
    assert packed.dtype == torch.uint8


def test_it_trains_lora_on_all_seven_maps_of_each_layer(run: RecipeRun) -> None:
    layers = 2
    assert len(run.report["steps"]) == 2
    assert {len(step) for step in run.report["steps"]} == {4}
    assert len(run.report["trainable"]) == layers * 7 * 2
    assert set(run.report["changed"]) == set(run.report["trainable"])
    assert set(run.report["in_4_bits"].values()) == {"nf4"}
    assert len(run.report["in_4_bits"]) == layers * 7


def test_only_the_function_carries_loss(run: RecipeRun, recipe: Recipe) -> None:
    tokenizer = load_tokenizer(recipe.base_model)
    functions = {
        row["output"] for row in read_prepared_rows(Path(recipe.training["path"]), ("output",))
    }
    for ids, labels in run.report["steps"][0]:
        trained = [token for token, label in zip(ids, labels, strict=True) if label != -100]
        assert trained[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(trained[:-1]) in functions


def test_preflight_knows_base_and_rows(run: RecipeRun, recipe: Recipe) -> None:
    verdicts = [*check_model(recipe), *check_data(recipe, run.header, None)]
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
    kept = json.loads((folder / "candidates/base.json").read_text())
    rows = read_prepared_rows(Path(recipe.training["path"]).with_name("test.jsonl"), ("output",))
    kept["candidates"] = [row["output"] for row in rows[:SCORED]]
    write_json(folder / "candidates/base.json", kept)
    base = score(recipe, encoder, server, "base")["models"]["base"]
    assert base["codebertscore"]["f1"] == pytest.approx(1, abs=1e-6)
    assert base["codejudge"]["correct"] == SCORED


def test_a_base_stored_in_4_bits_loads_as_it_is(recipe: Recipe) -> None:
    stored = load_base(recipe.base_model)
    weight = stored.model.layers[0].self_attn.q_proj.weight
    assert weight.quant_type == "nf4"
    assert weight.dtype == torch.uint8
