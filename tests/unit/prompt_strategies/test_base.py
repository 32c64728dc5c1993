"""Every strategy, called the way Axolotl calls it."""

import json
import os
from datetime import datetime

import axolotl.prompt_strategies
import pytest
from datasets import Dataset
from hypothesis import given, settings
from transformers import AutoTokenizer

from prompt_strategies import alpaca_layout, base
from prompt_strategies.base import find_strategy
from prompt_strategies.layout import render_completion, render_prompt
from prompt_strategies.tokenise import IGNORE_INDEX, decode, encode_prompts
from tests.real_tokenizers import BUILDERS
from tests.unit.prompt_strategies.test_tokenise import check_seam, field

pytest_plugins = ["tests.real_tokenizers"]

CODE = "def plural(word):\n    return add_s(word)\n\n>>> plural('cat')"
OUTPUT = "{'answer': 'cats'}"
ROW = {"id": "7", "instruction": "Pluralise.", "input": "cat", "code": CODE, "output": OUTPUT}
PROMPT = render_prompt("Pluralise.", "cat")
COMPLETION = render_completion(CODE, OUTPUT)
PLAN = f"# Step 1: plural\n### Output\n{OUTPUT}"  # a program without steps: its name
LONG_PROMPT = {**ROW, "id": "8", "instruction": "word " * 700}
LONG_OUTPUT = {**ROW, "id": "9", "output": "['word'," * 400}


@pytest.fixture
def load(tokenizer):
    """Load the strategy by the name a recipe has for it."""

    def load(
        cfg: dict | None = None, ds_cfg: dict | None = None, kind: str = "cogex"
    ) -> base.CompletionStrategy:
        return axolotl.prompt_strategies.load(
            f"prompt_strategies.{kind}",
            tokenizer,
            {"sequence_len": 512, **(cfg or {})},
            {"path": "rows.jsonl", **(ds_cfg or {})},
        )

    return load


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What the strategy logs, by level."""
    lines: dict[str, list[str]] = {"info": [], "warning": []}
    for level in lines:
        monkeypatch.setattr(base.LOG, level, lines[level].append)
    return lines


def trained_text(tokenizer, row: dict) -> str:
    pairs = zip(row["input_ids"], row["labels"], strict=True)
    return decode(tokenizer, [token for token, label in pairs if label != IGNORE_INDEX])


WHOLE, OUTPUT_ONLY = {"train_on_inputs": True}, {"roles_to_train": ["output"]}


@pytest.mark.parametrize(
    ("kind", "cfg", "ds_cfg", "trained"),
    [
        ("cogex", {}, {}, COMPLETION),
        ("cogex", {"train_on_inputs": False}, {"roles_to_train": ["code", "output"]}, COMPLETION),
        ("cogex", {}, OUTPUT_ONLY, OUTPUT),
        ("cogex", WHOLE, {}, PROMPT + COMPLETION),
        ("nl_plan", {}, {}, PLAN),
        ("nl_plan", {}, OUTPUT_ONLY, OUTPUT),
        ("nl_plan", WHOLE, {}, PROMPT.replace("### Code", "### Plan") + PLAN),
        ("alpaca", {}, {}, OUTPUT),
        ("alpaca", {}, OUTPUT_ONLY, OUTPUT),
        ("alpaca", WHOLE, {}, alpaca_layout.render_prompt("Pluralise.", "cat") + OUTPUT),
        ("arxivdl", {}, {}, OUTPUT),
        ("code", {}, {}, CODE),
        ("code", WHOLE, {}, PROMPT + CODE),
    ],
)
def test_recipe_says_what_is_trained(tokenizer, load, kind, cfg, ds_cfg, trained) -> None:
    strategy = load(cfg, ds_cfg, kind)
    row = ROW | {"prompt": PROMPT, "solution": CODE}
    [encoded] = strategy.wrap_dataset(Dataset.from_list([row]))
    assert trained_text(tokenizer, encoded).lstrip() == trained
    rendered = strategy.render(row)
    assert decode(tokenizer, encoded["input_ids"]) == rendered.prompt + rendered.completion
    assert encoded["labels"][-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("train_on", ["completion", "output", "full"])
@pytest.mark.parametrize("strategy", base.own_strategies())
@settings(max_examples=20, deadline=None)
@given(instruction=field, input=field, code=field, output=field)
def test_prompts_as_trained_are_prompts_as_generated(
    tokenizer, strategy, train_on, instruction, input, code, output
) -> None:
    row = ROW | {"instruction": instruction, "input": input, "code": code, "output": output}
    row |= {"prompt": f"def f():{instruction}", "solution": code}
    made = strategy(tokenizer, train_on=train_on, sequence_len=512)
    rendered = made.render(row)
    text, start = rendered.prompt + rendered.completion, made.trained_from(rendered)
    [(ids, masked)] = made.encode_prepared([row])
    [generated] = encode_prompts(tokenizer, [rendered.prompt])
    assert ids[: len(generated)] == generated
    assert masked == len(generated) or start != len(rendered.prompt)
    check_seam(tokenizer, text, start, ids[:masked], ids[masked:])
    whole = [*ids[: len(ids) - len(text_ids(tokenizer, text)) - 1], *text_ids(tokenizer, text)]
    assert ids[:-1] == whole or whole[: len(generated)] != generated


def text_ids(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


FUNCTION = {"prompt": 'def f():\n    """Say it."""\n', "solution": "    return 1\n"}
SEAMS = {
    "cogex": ("### Code", "\ndef"),
    "nl_plan": ("### Plan", "\n# Step 1"),
    "alpaca": ("Response:", "\n{'a"),
    "arxivdl": ("Response:", "\n{'a"),
    "code": ('"""', "\n    return"),
}
JOINED = {  # to these a newline is one token with the character before it
    "tiktoken": {"alpaca", "arxivdl", "code"},
    "newlines": {"cogex", "alpaca", "arxivdl", "code"},
}


@pytest.mark.parametrize("kind", SEAMS)
@pytest.mark.parametrize("name", BUILDERS)
def test_completion_starts_with_the_white_space_after_the_prompt(
    tokenizer_folders, name: str, kind: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folders[name])
    made = find_strategy(f"prompt_strategies.{kind}").from_recipe(tokenizer, {"sequence_len": 512})
    [(ids, masked)] = made.encode_prepared([ROW | FUNCTION])
    before, after = SEAMS[kind]
    if kind in JOINED.get(name, ()):
        before, after = before + "\n", after[1:]
    assert decode(tokenizer, ids[:masked]).endswith(before)
    assert decode(tokenizer, ids[masked:], after=ids[:masked]).startswith(after)


@pytest.mark.parametrize(
    ("cfg", "ds_cfg", "message"),
    [
        ({"train_on_inputs": True}, {"roles_to_train": ["output"]}, "keep one of the two"),
        ({}, {"roles_to_train": ["assistant"]}, "not known"),
        ({}, {"train_on": "output"}, "use `roles_to_train`"),
    ],
)
def test_recipe_that_cannot_be_followed_is_refused(load, cfg, ds_cfg, message) -> None:
    with pytest.raises(ValueError, match=message):
        load(cfg, ds_cfg)


def test_rows_of_a_prompt_have_no_roles(load) -> None:
    with pytest.raises(ValueError, match="roles_to_train"):
        load({}, OUTPUT_ONLY, "code")


@pytest.mark.parametrize(("kind", "column"), [("cogex", "code"), ("code", "solution")])
def test_missing_column_is_named(load, kind: str, column: str) -> None:
    rows = Dataset.from_list([ROW | {"prompt": PROMPT}]).remove_columns(["code"])
    with pytest.raises(ValueError, match=f"rows.jsonl: no column {column}"):
        load(kind=kind).wrap_dataset(rows)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["x", None], "column 'input' as texts and nulls, not as text; prepare"),
        ([None], "column 'input' as null, not as text; prepare"),
        ([["cat"]], "column 'input' as List, not"),
        ([3], "column 'input' as int64, not"),
        ([datetime(2024, 1, 2)], "as timestamp.*, for all its texts look like dates; prepare"),
    ],
)
def test_value_that_is_no_text_is_named_with_its_cause(load, values, said) -> None:
    rows = Dataset.from_list([{**ROW, "input": value} for value in values])
    with pytest.raises(ValueError, match=said):
        load().wrap_dataset(rows)


def test_rows_too_long_are_counted(load, logged) -> None:
    kept = load().wrap_dataset(Dataset.from_list([ROW, LONG_PROMPT, LONG_OUTPUT]))
    assert [len(ids) > 512 for ids in kept["input_ids"]] == [False, True, True]
    [line] = logged["warning"]
    assert "rows.jsonl: 3 rows, 2 longer than 512 tokens (excess_length_strategy: drop)" in line
    assert "1 without a trained token within that length" in line
    assert logged["info"] == []


def test_one_line_is_logged_where_all_rows_fit(load, logged) -> None:
    [row] = load().wrap_dataset(Dataset.from_list([ROW]))
    length = len(row["input_ids"])
    load({"sequence_len": length}).wrap_dataset(Dataset.from_list([ROW, ROW]))
    assert logged["warning"] == [] and "2 rows, 0 longer" in logged["info"][1]
    load({"sequence_len": length - 1}).wrap_dataset(Dataset.from_list([ROW]))
    assert "1 rows, 1 longer" in logged["warning"][0]


def test_empty_dataset_is_refused(load) -> None:
    with pytest.raises(ValueError, match=r"rows.jsonl: no rows"):
        load().wrap_dataset(Dataset.from_list([ROW]).select([]))


def test_axolotl_gets_the_rows_of_encode_in_order(load) -> None:
    rows = Dataset.from_list([{**ROW, "id": str(n), "input": "cat " * n} for n in range(4)])
    wrapped = load().wrap_dataset(rows, process_count=2)
    assert wrapped[:] == load().encode(rows[:]).to_pydict()
    types = {name: feature.feature.dtype for name, feature in wrapped.features.items()}
    assert types == {"input_ids": "int32", "attention_mask": "int8", "labels": "int64"}


@pytest.mark.parametrize("before", [None, "false"])
def test_threads_are_allowed_to_the_tokenizer_while_it_works(load, monkeypatch, before) -> None:
    name = "TOKENIZERS_PARALLELISM"
    monkeypatch.delenv(name, raising=False)
    if before:
        monkeypatch.setenv(name, before)
    seen = []
    strategy = load()
    monkeypatch.setattr(strategy, "encode", lambda rows: seen.append(os.environ[name]))
    with pytest.raises(KeyError):  # what it returns is no rows
        strategy.wrap_dataset(Dataset.from_list([ROW]))
    assert seen == ["true"]
    assert os.environ.get(name) == before


@pytest.mark.engine
def test_axolotl_keeps_what_the_strategy_counts(tokenizer_folders, tmp_path, monkeypatch) -> None:
    """From a recipe's text to the trainer's datasets, through Axolotl's schema and loaders."""
    from axolotl.utils.config import validate_config
    from axolotl.utils.data import prepare_datasets
    from axolotl.utils.dict import DictDefault

    monkeypatch.setenv("AXOLOTL_IS_PREPROCESS", "1")  # no count of steps, which needs a trainer
    lines: list[str] = []
    monkeypatch.setattr(base.LOG, "warning", lines.append)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folders["llama2"])
    files = {split: tmp_path / f"{split}.jsonl" for split in ("train", "val")}
    for file in files.values():
        file.write_text("".join(json.dumps(row) + "\n" for row in [ROW, LONG_PROMPT, LONG_OUTPUT]))
    dataset = {
        "ds_type": "json",
        "type": "prompt_strategies.cogex",
        "split": "train",
        "roles_to_train": ["output"],
    }
    cfg = validate_config(
        DictDefault(
            base_model=str(tokenizer_folders["llama2"]),
            datasets=[{**dataset, "path": str(files["train"]), "train_on": "full"}],
            test_datasets=[{**dataset, "path": str(files["val"])}],
            dataset_prepared_path=str(tmp_path / "prepared"),
            output_dir=str(tmp_path / "output"),
            sequence_len=512,
            dataset_num_proc=1,
            micro_batch_size=1,
            gradient_accumulation_steps=1,
            num_epochs=1,
            learning_rate=3e-4,
            bf16=False,
        )
    )
    assert "train_on" not in cfg["datasets"][0]  # why the strategy has no key of that name
    train, evaluation, _, _ = prepare_datasets(cfg, tokenizer)
    assert len(lines) == 2
    assert all("3 rows, 2 longer than 512" in line for line in lines)
    for split in (train, evaluation):
        assert len(split) == 1
        assert trained_text(tokenizer, split[0]) == "\n" + OUTPUT
