"""gigatoken's ids are the tokenizer's own, or the row is left to the tokenizer."""

import string
import sys

import pytest
from datasets import Dataset
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from prompt_strategies import base, cogex, fast_encoding, tokenise
from prompt_strategies.fast_encoding import FastEncoder
from prompt_strategies.layout import render_completion, render_prompt
from tests.real_tokenizers import BUILDERS
from tests.unit.prompt_strategies.test_tokenise import CODE, OUTPUT, field, filled

pytest_plugins = ["tests.real_tokenizers"]

CODE_LIKE = st.sampled_from(
    [
        "def f(x):\n    return x",
        "\n\n>>> f(1)",
        "'s",
        "'LL",
        "<0x0A>",
        "</b>",
        "{'a': [1]}",
        " //\n",
    ]
)
plain = st.lists(st.one_of(CODE_LIKE, st.text(string.printable, max_size=20)), max_size=8).map(
    "".join
)
ROW = {"id": "7", "instruction": "Say it.", "input": "", "code": CODE, "output": OUTPUT}


@pytest.fixture(scope="session", params=sorted(BUILDERS.keys() - {"newlines"}))
def tokenizer(request, tokenizer_folders):
    """Those to which gigatoken gives the right ids: it always cuts a text before it merges."""
    return AutoTokenizer.from_pretrained(tokenizer_folders[request.param])


@pytest.fixture(scope="session")
def fast(tokenizer) -> FastEncoder:
    return FastEncoder(tokenizer)


def both(fast, tokenizer, prompt: str, completion: str):
    texts, ends = [prompt + completion], [len(prompt)]
    [ours] = fast.encode_texts(texts, ends, ends)
    [theirs] = tokenise.encode_texts(tokenizer, texts, ends, ["0"])
    return ours, theirs


def same(ours: tokenise.EncodedRow, theirs: tokenise.EncodedRow) -> bool:
    return (list(ours.ids), ours.masked) == theirs


@settings(max_examples=60, deadline=None)
@given(instruction=plain, code=plain.filter(str.strip), output=plain.filter(str.strip))
def test_ascii_rows_get_the_tokenizers_ids(fast, tokenizer, instruction, code, output) -> None:
    prompt, completion = render_prompt(instruction), render_completion(code, output)
    assume(not any(token in prompt + completion for token in tokenizer.all_special_tokens))
    ours, theirs = both(fast, tokenizer, prompt, completion)
    assert ours is not None
    assert same(ours, theirs)


@settings(max_examples=40, deadline=None)
@given(instruction=field, code=filled, output=filled)
def test_hostile_rows_get_them_or_are_left(fast, tokenizer, instruction, code, output) -> None:
    prompt, completion = render_prompt(instruction), render_completion(code, output)
    ours, theirs = both(fast, tokenizer, prompt, completion)
    assert ours is None or same(ours, theirs)


def test_control_tokens_in_a_text_are_left(fast, tokenizer) -> None:
    ours, theirs = both(fast, tokenizer, render_prompt(f"a {tokenizer.eos_token} b"), "x = 1")
    assert ours is None
    assert list(theirs.ids).count(tokenizer.eos_token_id) == 1


@pytest.mark.parametrize(
    ("prompt", "completion"),
    [
        ("", "x = 1"),
        (render_prompt("Sage é."), "x = 1"),
        (render_prompt("Say it."), "x = 1\n" * fast_encoding.LONGEST),
    ],
)
def test_doubtful_rows_are_left(fast, prompt, completion) -> None:
    assert fast.encode_texts([prompt + completion], [len(prompt)], [len(prompt)]) == [None]


def test_a_prompt_that_ends_inside_a_token_is_left(fast, tokenizer) -> None:
    text, apart = "instruction:\n\n    of " * 3, 0
    for end in range(1, len(text)):
        for start in (0, end, len(text)):
            [ours] = fast.encode_texts([text], [end], [start])
            [theirs] = tokenise.encode_texts(tokenizer, [text], [end], ["0"], [start])
            assert ours is None or same(ours, theirs)
            apart += ours is None
    assert 0 < apart < 3 * len(text) - 3


def test_a_tokenizer_without_eos_is_refused(tokenizer_folders, small) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folders["llama2"])
    tokenizer.eos_token = None
    rows = [ROW | {"id": str(number)} for number in range(20)]
    with pytest.raises(ValueError, match="no EOS"):
        list(cogex.load(tokenizer, {"sequence_len": 512}).encode_prepared(rows))


@pytest.fixture
def dataset() -> Dataset:
    texts = ["a cat", "é", "</s>", "日本", "it's 12345 //\n", "<|end_of_text|>"]
    return Dataset.from_list(
        [{**ROW, "id": str(n), "input": texts[n % 6] * (n % 7)} for n in range(40)]
    )


@pytest.fixture
def small(monkeypatch) -> None:
    monkeypatch.setattr(base, "FAST_FROM", 10)
    monkeypatch.setattr(base, "COMPARED", 5)


def test_axolotl_gets_the_same_rows_either_way(tokenizer, dataset, small, monkeypatch) -> None:
    made = cogex.load(tokenizer, {"sequence_len": 512})
    fast = made.wrap_dataset(dataset)
    assert made.fast is not None
    monkeypatch.setattr(base, "FAST_FROM", 1_000)
    slow = made.wrap_dataset(dataset)
    assert made.fast is None
    assert fast[:] == slow[:]
    assert fast.features == slow.features


def test_an_encoder_with_other_ids_is_not_used(tokenizer, dataset, small, monkeypatch) -> None:
    right = FastEncoder.encode_texts

    def wrong(self, *row):
        return [row and row._replace(masked=row.masked - 1) for row in right(self, *row)]

    monkeypatch.setattr(fast_encoding.FastEncoder, "encode_texts", wrong)
    made = cogex.load(tokenizer, {"sequence_len": 512})
    expected = made.encode(dataset[:]).to_pydict()
    assert made.wrap_dataset(dataset)[:] == expected
    assert made.fast is None


@pytest.mark.parametrize("why", ["unknown to gigatoken", "other ids", "gigatoken not installed"])
def test_otherwise_the_tokenizer_itself_is_used(
    tokenizer_folders, dataset, small, monkeypatch, why
) -> None:
    if why == "gigatoken not installed":
        monkeypatch.setitem(sys.modules, "gigatoken", None)
    named = {"unknown to gigatoken": "models/tiny-base", "other ids": tokenizer_folders["newlines"]}
    name = named.get(why, tokenizer_folders["llama2"])
    made = cogex.load(AutoTokenizer.from_pretrained(name), {"sequence_len": 512})
    rows = made.wrap_dataset(dataset)
    assert made.fast is None
    assert rows[:] == made.encode(dataset[:]).to_pydict()


def test_a_row_that_holds_a_control_token_is_named(tokenizer_folders, dataset, small) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folders["small"], eos_token="def")
    with pytest.raises(ValueError, match="row 0: the tokenizer reads BOS or EOS"):
        cogex.load(tokenizer, {"sequence_len": 512}).wrap_dataset(dataset)


def test_cached_results_are_those_of_these_rows_and_settings(tokenizer_folders, dataset) -> None:
    def named(name="llama2", cfg=None, rows=dataset) -> str:
        tokenizer = AutoTokenizer.from_pretrained(tokenizer_folders[name])
        made = cogex.load(tokenizer, {"sequence_len": 512, **(cfg or {})})
        return made.wrap_dataset(rows)._fingerprint

    others = [
        named("tiktoken"), named(cfg={"train_on_inputs": True}), named(rows=dataset.select([1, 2]))
    ]  # fmt: skip
    assert named() == named()
    assert len({named(), *others}) == 4
