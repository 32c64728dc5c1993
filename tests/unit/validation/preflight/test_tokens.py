"""Rows of four tokenizers pass, and every planted fault of ids, labels and pad is named."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer, LlamaConfig

from prompt_strategies.tokenise import IGNORE_INDEX
from tests.real_tokenizers import BUILDERS
from tools.errors import UserError
from tools.recipe import Recipe
from validation.preflight.tokenized import Tokenized, tokenize
from validation.preflight.tokens import check_tokens, load_recipe_tokenizer
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
    return tokenize(recipe, load_recipe_tokenizer(recipe))


def find(verdicts: list[VerdictRow], check: str) -> VerdictRow:
    [row] = [row for row in verdicts if row.name == check]
    return row


def fails(verdicts: list[VerdictRow]) -> list[str]:
    return [row.name for row in verdicts if row.verdict == "fail"]


Row = list[int]


def spoil(recipe: Recipe, change: Callable[[Row, Row], None], row: int = 2) -> Tokenized:
    """Encode the rows, and change ids and labels of one training row."""
    tokenized = encode(recipe)
    train = tokenized.train
    ids, labels = train.input_ids[row].tolist(), train.labels[row].tolist()
    change(ids, labels)
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


@pytest.mark.parametrize("name", ["llama2_hub", "small"])
@pytest.mark.parametrize("pad", [None, "eos_token", "unk_token"])
def test_the_tokenizer_is_the_one_axolotl_loads(
    recipe: Recipe, bases: dict[str, Path], name: str, pad: str | None
) -> None:
    from axolotl.loaders.tokenizer import load_tokenizer
    from axolotl.utils.dict import DictDefault

    base = AutoTokenizer.from_pretrained(bases[name])
    recipe.values["base_model"] = str(bases[name])
    if pad is not None:
        token = getattr(base, pad) or "<|new|>"
        recipe.values["special_tokens"] = {"pad_token": token}
    cfg = DictDefault({**recipe.values, "tokenizer_config": str(bases[name])})
    expected, found = load_tokenizer(cfg), load_recipe_tokenizer(recipe)
    for name in ("pad_token_id", "eos_token_id", "bos_token_id", "vocab_size"):
        assert getattr(found, name) == getattr(expected, name)
    assert len(found) == len(expected)
    text = "def f(x):\n    return x != y  </s>"
    assert found(text)["input_ids"] == expected(text)["input_ids"]


def test_tokenizer_without_pad_gets_eos_and_fails(recipe: Recipe, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path / "base")
    shutil.copy(TINY / "config.json", tmp_path / "base")
    recipe.values["base_model"] = str(tmp_path / "base")
    row = find(check(recipe), "pad token")
    assert row.verdict == "fail" and row.found.startswith("</s>, which is EOS")


def test_pad_token_that_is_eos_fails(recipe: Recipe) -> None:
    recipe.values["special_tokens"] = {"pad_token": "</s>"}
    verdicts = check(recipe)
    assert fails(verdicts) == ["pad token"]
    assert "set `special_tokens: {pad_token" in find(verdicts, "pad token").todo


@pytest.mark.parametrize(
    "keys", [{"special_tokens": {"pad_token": "[PAD]"}}, {"tokens": ["<|tool|>"]}]
)
def test_token_that_the_vocabulary_lacks_fails(recipe: Recipe, keys: dict[str, Any]) -> None:
    recipe.values.update(keys)
    verdicts = check(recipe)
    assert fails(verdicts) == ["vocabulary"]
    assert "adds 1 tokens to the tokenizer's 1,447" in find(verdicts, "vocabulary").found


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


def test_model_smaller_than_the_tokenizer_fails(recipe: Recipe, tmp_path: Path) -> None:
    AutoTokenizer.from_pretrained(TINY).save_pretrained(tmp_path / "base")
    LlamaConfig(vocab_size=500).save_pretrained(tmp_path / "base")
    recipe.values["base_model"] = str(tmp_path / "base")
    row = find(check(recipe), "vocabulary")
    assert row.verdict == "fail" and "among the model's 500 embeddings" in row.found


def test_special_token_of_no_known_kind_is_refused(recipe: Recipe) -> None:
    recipe.values["special_tokens"] = {"padding": "<pad>"}
    with pytest.raises(UserError, match=r"recipe.yml: `special_tokens`: .*padding"):
        load_recipe_tokenizer(recipe)


def second_bos(ids: Row, labels: Row) -> None:
    ids.insert(1, ids[0])
    labels.insert(1, IGNORE_INDEX)


def no_bos(ids: Row, labels: Row) -> None:
    del ids[0], labels[0]


def bos_in_second_place(ids: Row, labels: Row) -> None:
    ids[0], ids[1] = ids[1], ids[0]


def eos_in_the_middle(ids: Row, labels: Row) -> None:
    ids[20] = ids[-1]


def no_eos(ids: Row, labels: Row) -> None:
    del ids[-1], labels[-1]


def masked_eos(ids: Row, labels: Row) -> None:
    labels[-1] = IGNORE_INDEX


@pytest.mark.parametrize(
    ("change", "check_name", "found"),
    [
        (second_bos, "one BOS", "found 2 BOS, first token '<s>'"),
        (bos_in_second_place, "one BOS", "found 1 BOS, first token '##"),
        (no_bos, "one BOS", "found 0 BOS, first token "),
        (eos_in_the_middle, "EOS is trained", "found 2 EOS, last label '</s>'"),
        (no_eos, "EOS is trained", "found 0 EOS, last label '}'"),
        (masked_eos, "EOS is trained", "found 1 EOS, last label -100"),
    ],
)
def test_ends_that_are_wrong_are_named(
    recipe: Recipe, change: Callable[[Row, Row], None], check_name: str, found: str
) -> None:
    row = find(check(recipe, spoil(recipe, change)), check_name)
    assert row.verdict == "fail" and row.figures == {"rows": 10, "failed": 1}
    assert "row count-2: " in row.found and found in row.found


def test_ends_are_looked_at_in_every_row(recipe: Recipe) -> None:
    for row in range(5):
        assert fails(check(recipe, spoil(recipe, masked_eos, row), sample=0)) == ["EOS is trained"]


def other_token(ids: Row, labels: Row) -> None:
    ids[3] += 1


def row_cut_in_the_prompt(ids: Row, labels: Row) -> None:
    del ids[10:], labels[10:]


def unmasked_prompt(ids: Row, labels: Row) -> None:
    labels[first_trained(labels) - 1] = ids[first_trained(labels) - 1]


def masked_program(ids: Row, labels: Row) -> None:
    labels[first_trained(labels)] = IGNORE_INDEX


def gap_in_the_labels(ids: Row, labels: Row) -> None:
    labels[-5] = IGNORE_INDEX


def shifted_label(ids: Row, labels: Row) -> None:
    labels[-5] = ids[-4]


def first_trained(labels: Row) -> int:
    return next(index for index, label in enumerate(labels) if label != IGNORE_INDEX)


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        (other_token, ["round trip", "prompt is a prefix"]),
        (row_cut_in_the_prompt, ["EOS is trained", "round trip", "prompt is a prefix", "mask"]),
        (unmasked_prompt, ["mask"]),
        (masked_program, ["mask"]),
        (gap_in_the_labels, ["mask"]),
        (shifted_label, ["mask"]),
    ],
)
def test_row_that_does_not_say_what_it_should_is_named(
    recipe: Recipe, change: Callable[[Row, Row], None], failing: list[str]
) -> None:
    verdicts = check(recipe, spoil(recipe, change))
    assert fails(verdicts) == failing
    for name in failing:
        assert "1 rows: row count-2: " in find(verdicts, name).found


def test_what_was_expected_and_found_is_shown(recipe: Recipe) -> None:
    verdicts = check(recipe, spoil(recipe, unmasked_prompt))
    assert "trained text: at character 0 expected 'def count" in find(verdicts, "mask").found
    verdicts = check(recipe, spoil(recipe, other_token))
    assert find(verdicts, "prompt is a prefix").found.startswith(
        "fails for 1 rows: row count-2: token 3"
    )


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
    tokenized = spoil(recipe, other_token)
    drawn = [find(check(recipe, tokenized, sample=5), "round trip") for _ in range(8)]
    assert all(row == drawn[0] for row in drawn)
    assert drawn[0].figures["rows"] == 5
    assert "5 of 10 rows, drawn with seed 42" in drawn[0].found
