"""The Alpaca baseline: Stanford's templates, and loss on the response."""

import axolotl.prompt_strategies
import pytest
from axolotl.prompters import AlpacaPrompter
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from prompt_strategies.alpaca_layout import render_completion, render_prompt
from prompt_strategies.tokenise import IGNORE_INDEX, decode, encode_prompts
from tests.encoded import encode_batch

pytest_plugins = ["tests.real_tokenizers"]

ROW = {"id": "7", "instruction": "Pluralise.", "input": "wolf", "output": "wolves"}
PROMPT = render_prompt("Pluralise.", "wolf")
# PROMPT_DICT of train.py in tatsu-lab/stanford_alpaca
STANFORD_NO_INPUT = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:"
)

PIECES = ["\n", "\r\n", "    ", "</s>", "🙂", "### Response:\n", "{input}", '"', "- ", ":", "1."]
# SentencePiece writes a space as U+2581, so that character is the one it cannot give back
text = st.text(st.characters(codec="utf-8", exclude_characters="▁"), max_size=8)
hostile = st.lists(st.one_of(st.sampled_from(PIECES), text), max_size=8).map("".join)


@pytest.mark.parametrize("input", ["wolf", "", " ", "a {instruction} {0}\n"])
def test_text_is_that_of_axolotls_own_alpaca(input: str) -> None:
    [text] = AlpacaPrompter().build_prompt("Say {it}.", input, "wolves")
    assert render_prompt("Say {it}.", input) + render_completion("wolves") == text


def test_prompt_is_stanfords_and_a_newline() -> None:
    assert render_prompt("Say it.") == STANFORD_NO_INPUT.format(instruction="Say it.") + "\n"


@pytest.mark.parametrize("name", ["llama2", "tiktoken"])
def test_without_that_newline_a_token_lies_across_the_end_of_the_prompt(
    tokenizer_folders, name
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folders[name])
    with pytest.raises(ValueError, match=r"the token ':.*' lies across"):
        encode_batch(tokenizer, [PROMPT.rstrip("\n")], ['"Wolves" is it.'])


@pytest.mark.parametrize(
    ("cfg", "ds_cfg", "trained"),
    [
        ({}, {}, "wolves"),
        ({}, {"roles_to_train": ["output"]}, "wolves"),
        ({"train_on_inputs": True}, {}, PROMPT + "wolves"),
    ],
)
def test_recipe_says_what_is_trained(tokenizer, cfg, ds_cfg, trained) -> None:
    strategy = axolotl.prompt_strategies.load(
        "prompt_strategies.alpaca", tokenizer, {"sequence_len": 512, **cfg}, ds_cfg
    )
    [row] = strategy.wrap_dataset(Dataset.from_list([ROW]))
    pairs = zip(row["input_ids"], row["labels"], strict=True)
    labelled = [token for token, label in pairs if label != IGNORE_INDEX]
    assert decode(tokenizer, labelled) == trained
    assert decode(tokenizer, row["input_ids"]) == PROMPT + "wolves"
    assert row["labels"][-1] == tokenizer.eos_token_id


@settings(max_examples=50, deadline=None)
@given(instruction=hostile, input=hostile, output=hostile.filter(str.strip))
def test_mask_ends_where_the_response_begins(tokenizer, instruction, input, output) -> None:
    prompt, completion = render_prompt(instruction, input), render_completion(output)
    encoded = encode_batch(tokenizer, [prompt], [completion])
    ids, labels = encoded["input_ids"][0], encoded["labels"][0]
    masked = ids[: labels.count(IGNORE_INDEX)]
    assert (decode(tokenizer, masked), decode(tokenizer, ids)) == (prompt, prompt + completion)
    assert encode_prompts(tokenizer, [prompt]) == [masked]
