"""Recipes of every kind train: a few steps by the real engine, on a tiny base of their family.

The two recipes of the demo are not here: test_demo runs them whole. Of recipes that differ in size
or data alone one represents the others (tests/unit/repository compares them).
"""

import json
import math
import re
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.engine.cpu_overrides import STEPS
from tests.engine.recipe_runs import NEEDED, RECIPES, RecipeRun
from tools.models import add_adapter, load_base, load_tokenizer
from tools.prepared_rows import encode_entry

PADDED = [name for name, recipe in RECIPES.items() if "sample_packing" not in recipe.values]
ADAPTERS = [name for name, recipe in RECIPES.items() if recipe.adapter]
STAGES = [name for name in RECIPES if name not in ADAPTERS]  # bases, and their stages
SMOOTHED = [name for name in STAGES if "label_smoothing_factor" in RECIPES[name].values]

Row = tuple[tuple[int, ...], tuple[int, ...]]


@pytest.fixture(params=RECIPES)
def run(
    request: pytest.FixtureRequest, runs: dict[str, RecipeRun], monkeypatch: pytest.MonkeyPatch
) -> RecipeRun:
    """The run of each recipe in turn, its folder the working folder."""
    chosen = runs[request.param]
    if "error" in chosen.report:
        pytest.fail(f"{chosen.report['error']}\n{chosen.log[-3000:]}")
    monkeypatch.chdir(chosen.folder)
    return chosen


def logged(run: RecipeRun, key: str) -> dict[int, float]:
    """What the trainer logged under a key, by step."""
    return {entry["step"]: entry[key] for entry in run.report["log"] if key in entry}


def base_config(run: RecipeRun) -> dict[str, Any]:
    return json.loads((Path(run.recipe.base_model) / "config.json").read_text())


def frozen(rows: Iterable[Iterable[list[int]]]) -> list[Row]:
    return [(tuple(map(int, ids)), tuple(map(int, labels))) for ids, labels in rows]


def encoded(run: RecipeRun, entry: dict[str, Any]) -> list[Row]:
    """What the recipe's strategy makes of a dataset entry."""
    tokenizer = load_tokenizer(run.recipe.base_model)
    return frozen(encode_entry(run.recipe, entry, tokenizer))


def test_every_step_and_checkpoint_is_made_and_every_loss_is_finite(run: RecipeRun) -> None:
    assert list(logged(run, "loss")) == list(range(1, STEPS + 1))
    assert run.checkpoint.is_dir()
    losses = [*logged(run, "loss").values(), *logged(run, "eval_loss").values()]
    assert len(losses) >= STEPS + 2  # it is evaluated before the first step and after the last
    assert all(map(math.isfinite, losses))


def test_the_first_loss_is_that_of_the_base(run: RecipeRun) -> None:
    """A random base guesses; one that was trained starts from what it knows."""
    guess, first = math.log(base_config(run)["vocab_size"]), logged(run, "loss")[1]
    if run.recipe.base_model.startswith("outputs/") and not run.recipe.adapter:
        assert first < 0.1 * guess
    else:
        # where embeddings are tied, a random model favours the token that it has just read
        assert first == pytest.approx(guess, abs=0.1)


@pytest.mark.parametrize("run", PADDED, indirect=True)
def test_each_step_has_the_declared_number_of_examples(run: RecipeRun) -> None:
    assert [len(rows) for rows in run.report["steps"]] == STEPS * [
        run.recipe.values["examples_per_step"]
    ]


@pytest.mark.parametrize("run", ADAPTERS, indirect=True)
def test_trained_rows_are_what_the_strategy_makes(run: RecipeRun) -> None:
    rows = frozen(chain(*run.report["steps"]))
    assert len(rows) == len(set(rows))  # the steps are within one epoch
    assert set(rows) <= set(encoded(run, run.recipe.training))


@pytest.mark.parametrize("run", STAGES, indirect=True)
def test_documents_of_a_corpus_are_trained_whole(run: RecipeRun) -> None:
    lines = Path(run.recipe.training["path"]).read_text().splitlines()
    texts = {json.loads(line)["text"] for line in lines}
    tokenizer = load_tokenizer(run.recipe.base_model)
    for ids, labels in chain(*run.report["steps"]):
        assert labels == ids
        assert (ids[0], ids[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
        assert tokenizer.decode(ids[1:-1]) in texts


@pytest.mark.parametrize("run", SMOOTHED, indirect=True)
def test_labels_are_smoothed_where_the_recipe_says_so(run: RecipeRun) -> None:
    found = run.report["smoothing"]
    assert found["loss"] == pytest.approx(found["smoothed"], rel=1e-5)
    assert abs(found["plain"] - found["smoothed"]) > 0.1


def test_evaluation_sees_every_validation_row_once(run: RecipeRun) -> None:
    assert STEPS in logged(run, "eval_loss")
    rows = len(Path(run.recipe.validation["path"]).read_text().splitlines())
    assert {len(seen) for seen in run.report["evaluations"]} == {rows}
    if run.recipe.adapter:
        expected = sorted(encoded(run, run.recipe.validation))
        assert all(sorted(frozen(rows)) == expected for rows in run.report["evaluations"])


def test_what_is_trainable_changes_and_nothing_else(run: RecipeRun) -> None:
    assert run.report["trainable"]
    assert set(run.report["changed"]) == set(run.report["trainable"])


@pytest.mark.parametrize("run", ADAPTERS, indirect=True)
def test_the_adapter_is_lora_on_the_maps_that_the_recipe_names_in_every_layer(
    run: RecipeRun,
) -> None:
    config, rank = base_config(run), run.recipe.values["lora_r"]
    width, mlp = config["hidden_size"], config["intermediate_size"]
    head = config.get("head_dim", width // config["num_attention_heads"])
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    shapes = {
        **{"self_attn.q_proj": (width, queries), "self_attn.o_proj": (queries, width)},
        **{f"self_attn.{name}_proj": (width, keys) for name in "kv"},
        **{f"mlp.{name}_proj": (width, mlp) for name in ("gate", "up")},
        "mlp.down_proj": (mlp, width),
    }
    named = {module for module in shapes if module.split(".")[1] in targets(run)}
    assert len(named) == len(targets(run)) >= 4
    expected = {}
    for layer in range(config["num_hidden_layers"]):
        for module in named:
            path = f"base_model.model.model.layers.{layer}.{module}"
            expected[f"{path}.lora_A.weight"] = (rank, shapes[module][0])
            expected[f"{path}.lora_B.weight"] = (shapes[module][1], rank)
    weights = load_file(run.checkpoint / "adapter_model.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in weights.items()} == expected
    assert all(tensor.any() for tensor in weights.values())  # B starts as zeros


def targets(run: RecipeRun) -> list[str]:
    return run.recipe.values["lora_target_modules"]


def test_no_token_is_added_and_qlora_alone_holds_the_base_in_4_bits(run: RecipeRun) -> None:
    config, quantised = base_config(run), run.report["in_4_bits"]
    assert run.report["embeddings"] == config["vocab_size"]
    layers = config["num_hidden_layers"] if run.recipe.adapter == "qlora" else 0
    assert len(quantised) == 7 * layers
    assert set(quantised.values()) <= {"nf4"}


@pytest.mark.parametrize("run", ADAPTERS, indirect=True)
def test_the_checkpoint_is_loaded_and_changes_the_logits(run: RecipeRun) -> None:
    base = load_base(run.recipe.base_model)
    ids = torch.arange(10, 60)[None]
    with torch.inference_mode():
        before = base(input_ids=ids).logits
        after = add_adapter(base, run.checkpoint)(input_ids=ids).logits
    assert (before - after).abs().max() > 1e-3


@pytest.mark.parametrize("key", NEEDED)
def test_the_engine_stops_without_an_override(runs: dict[str, RecipeRun], key: str) -> None:
    error = runs[f"without {key}"].report["error"]
    assert re.search(NEEDED[key][1], error, re.IGNORECASE), error
