"""Token ids and labels, with real tokenizers of four kinds and hostile field text."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken
from transformers import AutoTokenizer, DataCollatorForSeq2Seq, PreTrainedTokenizerFast

from prompt_strategies.layout import (
    render_completion,
    render_emulator_prompt,
    render_prompt,
    split_code,
)
from prompt_strategies.tokenise import IGNORE_INDEX, after_prompt, decode, encode_prompts
from tests.encoded import encode_batch

pytest_plugins = ["tests.real_tokenizers"]

CODE = "def f(x):\n    return x != 1\n\n>>> f(1)"
OUTPUT = "{'answer': False}"

HOSTILE = [
    *("</s>", "<s>", "<unk>", "<|begin_of_text|>", "<|end_of_text|>", "<|endoftext|>", "<|pad|>"),
    *("### Instruction\n", "\n### Code\n", "\n### Output\n", "\n\n>>> f(1)", "<0x0A>", "<0x41>"),
    *("\r\n", "\n", "\n\n\n", "\t", "    ", " ", "\0", "\u00a0", "\u2028", "\u200b", "\ufeff"),
    *("e\u0301", "日本語", "🤖", "👩‍👩‍👧", "مرحبا", "\u202e", "}\n", "'", "//\n", "def "),
]
# SentencePiece writes a space as U+2581, so that character is the one it cannot give back
text = st.text(st.characters(codec="utf-8", exclude_characters="▁"), max_size=12)
field = st.lists(st.one_of(st.sampled_from(HOSTILE), text), max_size=6).map("".join)
filled = field.filter(str.strip)


def encode(tokenizer, prompt: str, completion: str, **options) -> tuple[list[int], list[int]]:
    encoded = encode_batch(tokenizer, [prompt], [completion], **options)
    return encoded["input_ids"][0], encoded["labels"][0]


def parts(ids: list[int], labels: list[int]) -> tuple[list[int], list[int]]:
    """The masked ids and the trained ids, which lie in one piece behind them."""
    masked = labels.count(IGNORE_INDEX)
    assert labels == [IGNORE_INDEX] * masked + ids[masked:]
    return ids[:masked], ids[masked:]


def check_seam(tokenizer, text: str, start: int, masked: list[int], trained: list[int]) -> None:
    """The trained text begins before the white space that ends `text[:start]`.

    The last masked token therefore holds the last character before it.
    """
    before, seen = text[:start].rstrip(), decode(tokenizer, masked)
    assert seen.rstrip() == before
    assert not before or decode(tokenizer, masked[:-1]).rstrip() != before
    assert seen + decode(tokenizer, trained, after=masked) == text


@settings(max_examples=80, deadline=None)
@given(instruction=field, input=field, code=field, output=field)
def test_any_row_is_masked_and_trained_as_its_text(
    tokenizer, instruction, input, code, output
) -> None:
    prompt, completion = render_prompt(instruction, input), render_completion(code, output)
    ids, labels = encode(tokenizer, prompt, completion)
    masked, trained = parts(ids, labels)
    check_seam(tokenizer, prompt + completion, len(prompt), masked, trained)
    assert encode_prompts(tokenizer, [prompt]) == [masked]
    assert ids.count(tokenizer.eos_token_id) == 1
    assert ids[-1] == labels[-1] == tokenizer.eos_token_id
    if tokenizer.bos_token_id is not None:
        assert ids.count(tokenizer.bos_token_id) == 1
        assert (ids[0], labels[0]) == (tokenizer.bos_token_id, IGNORE_INDEX)


@settings(max_examples=40, deadline=None)
@given(instruction=field, input=field, code=filled, output=filled)
def test_emulator_ids_are_a_prefix_of_training_ids(
    tokenizer, instruction, input, code, output
) -> None:
    program, call = split_code(code + "\n\n" + ">>> f(1)")
    completion = render_completion(f"{program}\n\n{call}", output)
    ids, _ = encode(tokenizer, render_prompt(instruction, input), completion)
    [prompt_ids] = encode_prompts(tokenizer, [render_emulator_prompt(instruction, input, program)])
    assert prompt_ids == ids[: len(prompt_ids)]
    after = decode(tokenizer, ids[len(prompt_ids) :], after=prompt_ids)
    assert after.lstrip().startswith(">>> f(1)")


def test_eos_alone_is_trained_where_the_completion_is_empty(tokenizer) -> None:
    _, trained = parts(*encode(tokenizer, "Say it.", ""))
    assert trained == [tokenizer.eos_token_id]


def test_rows_do_not_change_each_other(tokenizer) -> None:
    prompts = [render_prompt("a" * 40 * index, "</s>🤖") for index in range(4)]
    completions = [render_completion(CODE, OUTPUT + "\n" * index) for index in range(4)]
    together = encode_batch(tokenizer, prompts, completions)
    alone = [encode(tokenizer, *row) for row in zip(prompts, completions, strict=True)]
    assert list(zip(together["input_ids"], together["labels"], strict=True)) == alone
    assert together["attention_mask"] == [[1] * len(ids) for ids, _ in alone]


def test_earlier_truncation_and_padding_do_not_reach_a_row(tokenizer) -> None:
    row = render_prompt("Say it."), render_completion(CODE, OUTPUT)
    before = encode(tokenizer, *row)
    tokenizer("one two three", truncation=True, max_length=2, padding="max_length")
    assert encode(tokenizer, *row) == before


def test_last_label_of_a_padded_batch_is_eos(tokenizer) -> None:
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    prompts = [render_prompt("Say it."), render_prompt("Say it twice, and then once more.")]
    encoded = encode_batch(tokenizer, prompts, [render_completion(CODE, OUTPUT)] * 2)
    rows = [
        dict(zip(encoded, values, strict=True)) for values in zip(*encoded.values(), strict=True)
    ]
    batch = DataCollatorForSeq2Seq(tokenizer)(rows)
    for labels in batch["labels"]:
        assert labels[labels != IGNORE_INDEX][-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("name", ["llama2", "llama2_hub"])
def test_ids_are_those_of_sentencepiece(tokenizer_folders, sentencepiece_model, name) -> None:
    llama2 = AutoTokenizer.from_pretrained(tokenizer_folders[name])
    prompt, completion = render_prompt("</s> 🤖", "a  b"), render_completion(CODE, OUTPUT)
    ids, _ = encode(llama2, prompt, completion)
    assert ids == [1, *sentencepiece_model.encode(prompt + completion), 2]


def test_leading_space_of_a_generation_is_kept(tokenizer) -> None:
    [before] = encode_prompts(tokenizer, ["def f(): #"])
    [both] = encode_prompts(tokenizer, ["def f(): # pass."])
    assert both[: len(before)] == before
    assert decode(tokenizer, both[len(before) :], after=before) == " pass."


def test_decoding_cleans_nothing_up(tokenizer) -> None:
    source = "x != y , z . n 't"
    [ids] = encode_prompts(tokenizer, [source])
    assert decode(tokenizer, ids) == source


@pytest.mark.parametrize("prompt", ["import nu", "x = ", "f(1)\n>", "a:\n", "e\u0301", "é", "🤖\n"])
@pytest.mark.parametrize("completion", ["mpy", ">> f(2)", "\n    x", "\n\n\nx", " x", "\u0301", ""])
def test_what_follows_a_prompt_does_not_change_its_ids(tokenizer, prompt, completion) -> None:
    text, [generated] = prompt + completion, encode_prompts(tokenizer, [prompt])
    for start in (len(prompt), len(text), 0):  # where loss starts changes no id
        ids, _ = encode(tokenizer, prompt, completion, trained_from=[start])
        assert ids[: len(generated)] == generated
        assert decode(tokenizer, ids) == text
    whole = encode(tokenizer, text, "")[0]
    assert ids == whole or whole[: len(generated)] != generated
    masked, trained = parts(*encode(tokenizer, prompt, completion))
    assert masked == generated
    check_seam(tokenizer, text, len(prompt), masked, trained)


@pytest.mark.parametrize(
    ("seen", "text", "after"),
    [
        ("f():", "\n    x", "x"),
        ("f():\n", "    x", "x"),
        ("f():\n    ", "x", "x"),
        ("f():", "\n\tx", "\n\tx"),  # other white space than the prompt's stays
        ("f():", " # none\n", " # none\n"),
    ],
)
def test_white_space_of_the_prompt_is_not_repeated(seen: str, text: str, after: str) -> None:
    assert after_prompt("f():\n    ", seen, text) == after


def test_control_token_read_in_the_text_is_refused(tokenizer_folders) -> None:
    """An EOS that the vocabulary makes by merging cannot be told from text."""
    small = PreTrainedTokenizerFast.from_pretrained(tokenizer_folders["small"], eos_token="def")
    with pytest.raises(ValueError, match="row 0: the tokenizer reads BOS or EOS"):
        encode_prompts(small, ["def f():\n"])


@pytest.mark.parametrize(
    ("useless", "said"),
    [
        (SimpleNamespace(eos_token_id=None), "no EOS"),
        (SimpleNamespace(is_fast=False, bos_token_id=None, eos_token_id=1), "offsets"),
    ],
    ids=["no EOS", "slow"],
)
def test_useless_tokenizer_is_refused(useless, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        encode_batch(useless, ["a\n"], ["b"])
    with pytest.raises(ValueError, match=said):
        encode_prompts(useless, ["a\n"])


def test_bos_stands_only_where_the_tokenizer_puts_it(tokenizer_folders) -> None:
    small = PreTrainedTokenizerFast.from_pretrained(tokenizer_folders["small"])
    small.bos_token = AddedToken("<|pad|>", special=True)
    [ids] = encode_prompts(small, ["def f():\n"])
    assert small.bos_token_id not in ids
