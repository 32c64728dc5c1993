"""Every command encodes with the tokenizer that Axolotl trains the recipe with."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axolotl.loaders.tokenizer import load_tokenizer as axolotls
from axolotl.prompt_strategies import load as load_axolotls_strategy
from axolotl.utils.dict import DictDefault
from datasets import Dataset
from transformers import AutoTokenizer

from prompt_strategies.cogex import CogexStrategy
from tests.real_tokenizers import BUILDERS
from tools.ask import Asking, ask
from tools.errors import UserError
from tools.models import load_recipe_tokenizer, load_trained
from tools.recipe import Recipe
from tools.search.run import Target
from validation.check.check import load_named
from validation.selection.select import select, validation_rows

pytest_plugins = ["tests.real_tokenizers"]

EOS = {"special_tokens": {"eos_token": "<|pad|>"}}  # another token of the vocabulary


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> dict[str, Path]:
    """Folders with config and tokenizer: the tiny base, and a tokenizer of Llama-2's kind."""
    folder = tmp_path_factory.mktemp("llama2")
    BUILDERS["llama2_hub"](folder)
    shutil.copy(tiny_base / "config.json", folder)
    return {"tiny": tiny_base, "llama2": folder}


def rewrite(recipe: Recipe) -> None:
    recipe.values["datasets"] = recipe.values["test_datasets"]
    recipe.path.write_text(json.dumps(recipe.values))


def trained_rows(recipe: Recipe, rows: list[dict[str, str]]) -> list[tuple[list[int], list[int]]]:
    """What training makes of the rows, by Axolotl's own loading of tokenizer and strategy."""
    cfg = DictDefault({"tokenizer_config": recipe.base_model, **recipe.values})
    entry = recipe.validation
    strategy = load_axolotls_strategy(entry["type"], axolotls(cfg), cfg, DictDefault(entry))
    encoded = strategy.wrap_dataset(Dataset.from_list(rows))
    return list(zip(encoded["input_ids"], encoded["labels"], strict=True))


@pytest.mark.parametrize(
    "keys",
    [
        {},
        EOS,
        {"special_tokens": {"pad_token": "<|endoftext|>"}},
        {
            "special_tokens": {"additional_special_tokens": ["words"]},
            "tokens": ["Count the"],
            "lora_modules_to_save": ["embed_tokens", "lm_head"],
        },
        {"added_tokens_overrides": {0: "<|other|>"}},
        {"tokenizer_type": "PreTrainedTokenizerFast"},
        {"tokenizer_config": "llama2", "special_tokens": {"eos_token": "<unk>"}},
    ],
)
def test_ids_and_labels_are_those_of_training(
    recipe: Recipe, rows: list[dict[str, str]], folders: dict[str, Path], keys: dict[str, Any]
) -> None:
    recipe.values.update(keys)
    if name := keys.get("tokenizer_config"):
        recipe.values["tokenizer_config"] = str(folders[name])
    tokenizer = load_recipe_tokenizer(recipe)
    found = [
        (row.input_ids.tolist(), row.labels.tolist())
        for row in validation_rows(recipe, tokenizer)[0]
    ]
    assert found == trained_rows(recipe, rows)
    theirs = axolotls(DictDefault({"tokenizer_config": recipe.base_model, **recipe.values}))
    assert tokenizer.pad_token_id == theirs.pad_token_id
    assert len(tokenizer) == len(theirs)


def of_check(recipe: Recipe) -> Any:
    return load_named(recipe, "base")[1]


def of_ask(recipe: Recipe) -> Any:
    return load_trained(recipe.path)[1]


def of_search(recipe: Recipe) -> Any:
    backend, _ = Target(recipe=recipe.path).open()
    return backend.tokenizer


@pytest.mark.parametrize("tokenizer_of", [of_check, of_ask, of_search])
def test_commands_take_the_recipes_tokenizer(
    recipe: Recipe,
    rows: list[dict[str, str]],
    write_adapter: Callable[..., Path],
    tiny_tokenizer: Any,
    tokenizer_of: Callable[[Recipe], Any],
) -> None:
    recipe.values.update(EOS)
    rewrite(recipe)
    tiny_tokenizer.save_pretrained(write_adapter(recipe.output_dir / "best"))
    strategy = CogexStrategy(tokenizer_of(recipe), train_on="completion", sequence_len=512)
    found = [(list(row.ids), row.masked) for row in strategy.encode_prepared(rows)]
    expected = [(ids, labels.count(-100)) for ids, labels in trained_rows(recipe, rows)]
    assert found == expected
    assert all(ids[-1] == tiny_tokenizer.pad_token_id for ids, _ in found)
    # a folder has its own
    assert load_trained(recipe.output_dir / "best")[1].eos_token == "<|endoftext|>"


def test_select_scores_and_copies_with_it(
    recipe: Recipe, write_checkpoint: Callable[..., Path]
) -> None:
    write_checkpoint(recipe.output_dir, 5)
    bare = select(recipe).checkpoints[0]
    recipe.values.update(EOS)
    rewrite(recipe)
    shutil.rmtree(recipe.output_dir / "best")
    changed = select(recipe).checkpoints[0]
    assert bare.tokens == changed.tokens
    assert bare.perplexity != changed.perplexity
    saved = AutoTokenizer.from_pretrained(recipe.output_dir / "best")
    assert saved.eos_token == "<|pad|>"
    assert ask(recipe.path, "Count.", "", Asking(max_new_tokens=20))


def test_special_token_of_no_known_kind_is_refused(recipe: Recipe) -> None:
    recipe.values["special_tokens"] = {"padding": "<pad>"}
    with pytest.raises(UserError, match=r"recipe.yml: `special_tokens`: .*padding"):
        load_recipe_tokenizer(recipe)
