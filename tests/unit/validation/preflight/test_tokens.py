"""Rows of four tokenizers pass, and every planted fault of ids, labels and pad is named."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer, LlamaConfig

from prompt_strategies.tokenise import IGNORE_INDEX
from tests.real_tokenizers import BUILDERS
from tools.models import load_recipe_tokenizer
from tools.recipe import Recipe
from validation.preflight.tokenized import Tokenized, tokenize
from validation.preflight.tokens import check_tokens
from validation.verdict import VerdictRow

pytest_plugins = ["tests.real_tokenizers"]

TINY = Path(__file__).parents[4] / "models" / "tiny-base"
HOSTILE = {
    "id": "hostile",
    "instruction": "Say </s>, <s>, <unk> and <|end_of_text|>.",
    "input": "  ### Code\n日本語 👩‍👩‍👧 \t\r end  ",
    "code": "def say(text):\n    return {'answer': x != y}\n\n>>> say('</s>')",
    "output": "{'answer': '</s> <|begin_of_text|>'}",
}


@pytest.fixture
def recipe(recipe: Recipe) -> Recipe:
    """The recipe of the other tests on the embedded base, its rows for both splits."""
    recipe.values["datasets"] = recipe.values["test_datasets"]
    recipe.values["base_model"] = str(TINY)
    return recipe


def check(recipe: Recipe, tokenized: Tokenized | None = None, **options: Any) -> list[VerdictRow]:
    tokenizer = load_recipe_tokenizer(recipe)
    return check_tokens(recipe, tokenizer, tokenized or encode(recipe), **options)


def encode(recipe: Recipe) -> Tokenized:
    """Encode the rows into lists, in which a test can spoil one."""
    both = tokenize(recipe, load_recipe_tokenizer(recipe))
    train, val = (
        dataclasses.replace(split, input_ids=list(split.input_ids), labels=list(split.labels))
        for split in (both.train, both.val)
    )
    return Tokenized(train, val)


def find(verdicts: list[VerdictRow], check: str) -> VerdictRow:
    [row] = [row for row in verdicts if row.name == check]
    return row


def fails(verdicts: list[VerdictRow]) -> list[str]:
    return [row.name for row in verdicts if row.verdict == "fail"]


MASKED_EOS = "labels[-1] = -100"


def spoil(recipe: Recipe, change: str, row: int = 2) -> Tokenized:
    """Encode the rows, and change one training row; `start` is its first trained token."""
    tokenized = encode(recipe)
    train = tokenized.train
    ids, labels = train.input_ids[row].tolist(), train.labels[row].tolist()
    start = next(index for index, label in enumerate(labels) if label != IGNORE_INDEX)
    exec(change, {"ids": ids, "labels": labels, "start": start})
    train.input_ids[row], train.labels[row] = np.int32(ids), np.int32(labels)
    return tokenized


@pytest.fixture(scope="module")
def bases(
    tokenizer_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The four tokenizers beside a config, as a base model's folder has them."""
    folders = {}
    for name, source in tokenizer_folders.items():
        folders[name] = tmp_path_factory.mktemp("base") / name
        shutil.copytree(source, folders[name])
        size = len(AutoTokenizer.from_pretrained(source))
        LlamaConfig(vocab_size=size).save_pretrained(folders[name])
    return folders


@pytest.mark.parametrize("name", BUILDERS)
def test_rows_of_every_tokenizer_pass(
    recipe: Recipe, bases: dict[str, Path], rows: list[dict[str, str]], name: str
) -> None:
    path = Path(recipe.validation["path"])
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, HOSTILE]))
    recipe.values["base_model"] = str(bases[name])
    verdicts = check(recipe)
    assert [row.verdict for row in verdicts] == ["ok"] * 7
    assert find(verdicts, "mask").found == "holds for all 12 rows"


@pytest.mark.parametrize(
    ("keys", "failing", "found"),
    [
        ({"special_tokens": {"pad_token": "[PAD]"}}, "vocabulary", "adds 1 tokens to the "),
        ({"tokens": ["<|tool|>"]}, "vocabulary", "adds 1 tokens to the tokenizer's 1,447"),
    ],
)
def test_special_token_that_does_not_fit_fails(
    recipe: Recipe, keys: dict[str, Any], failing: str, found: str
) -> None:
    recipe.values.update(keys)
    verdicts = check(recipe)
    assert fails(verdicts) == [failing]
    assert found in find(verdicts, failing).found


def test_tokenizer_without_pad_gets_eos_and_a_small_model_lacks_rows(
    recipe: Recipe, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path / "base")
    LlamaConfig(vocab_size=500).save_pretrained(tmp_path / "base")
    recipe.values["base_model"] = str(tmp_path / "base")
    verdicts = check(recipe)
    assert fails(verdicts) == ["pad token", "vocabulary"]
    assert find(verdicts, "pad token").found.startswith("</s>, which is EOS")
    assert "among the model's 500 embeddings" in find(verdicts, "vocabulary").found


@pytest.mark.parametrize(
    ("kind", "failing"), [("PreTrainedTokenizerFast", []), ("AutoTokenizer", ["vocabulary"])]
)
def test_the_class_that_the_recipe_names_is_the_one_looked_at(
    recipe: Recipe, bases: dict[str, Path], tmp_path: Path, kind: str, failing: list[str]
) -> None:
    """Code Llama's own class, which AutoTokenizer takes, adds `<FILL_ME>` to the vocabulary."""
    folder = tmp_path / "base"
    shutil.copytree(bases["llama2"], folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["tokenizer_class"] = "CodeLlamaTokenizer"
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    recipe.values.update({"base_model": str(folder), "tokenizer_type": kind})
    assert fails(check(recipe)) == failing


@pytest.mark.parametrize(
    ("change", "failing", "found"),
    [
        ("ids[:0], labels[:0] = ids[:1], [-100]", "one BOS", "found 2 BOS, first token '<s>'"),
        ("ids[0], ids[1] = ids[1], ids[0]", "one BOS", "found 1 BOS, first token '##"),
        ("ids[20] = ids[-1]", "EOS is trained", "found 2 EOS, last label '</s>'"),
        ("del ids[-1], labels[-1]", "EOS is trained", "found 0 EOS, last label '}'"),
        (MASKED_EOS, "EOS is trained", "found 1 EOS, last label -100"),
        ("ids[3] += 1", "round trip, prompt is a prefix", "row count-2: token 3"),
        ("del ids[10:], labels[10:]",
         "EOS is trained, round trip, prompt is a prefix, mask", ""),
        ("labels[start - 1] = ids[start - 1]", "mask",
         "trained text: at character 0 expected '\\ndef count"),
        ("labels[start] = -100", "mask", "expected '\\ndef count"),
        ("labels[-5] = ids[-4]", "mask", "labels differ from the ids"),
    ],
)  # fmt: skip
def test_spoilt_row_is_named(recipe: Recipe, change: str, failing: str, found: str) -> None:
    verdicts = check(recipe, spoil(recipe, change))
    names = failing.split(", ")
    assert set(names) <= set(fails(verdicts))
    if names[0] not in ("one BOS", "EOS is trained") or len(names) > 1:
        assert fails(verdicts) == names
    for row in (find(verdicts, name) for name in names):
        assert row.figures == {"rows": 10, "failed": 1}
        assert "1 rows: row count-2: " in row.found
    assert found in row.found


def test_ends_are_checked_in_every_row(recipe: Recipe) -> None:
    for row in (0, 4):
        assert fails(check(recipe, spoil(recipe, MASKED_EOS, row), sample=0)) == ["EOS is trained"]


def test_strategy_that_trains_on_more_than_it_says_fails(recipe: Recipe) -> None:
    tokenized = encode(recipe)
    tokenized.train.strategy.train_on = "output"
    assert fails(check(recipe, tokenized)) == ["mask"]


def test_rows_of_another_text_fail_the_round_trip(recipe: Recipe) -> None:
    tokenized = encode(recipe)
    rows = [{**row, "output": "{'answer': 0}"} for row in tokenized.train.rows]
    train = dataclasses.replace(tokenized.train, rows=rows)
    row = find(check(recipe, Tokenized(train, tokenized.val)), "round trip")
    assert row.figures["failed"] == 5
    assert "expected" in row.found and "{'answer': 0}" in row.found


def test_sample_is_stated_and_the_same_each_time(recipe: Recipe) -> None:
    tokenized = spoil(recipe, "ids[3] += 1")
    drawn = [find(check(recipe, tokenized, sample=5), "round trip") for _ in range(2)]
    assert all(row == drawn[0] for row in drawn)
    assert drawn[0].figures["rows"] == 5
    assert "5 of 10 rows, drawn with seed 42" in drawn[0].found
