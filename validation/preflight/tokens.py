"""Does decoding give back each row, and are its mask and its end where they should be?"""

import json
import random
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from prompt_strategies import tokenise
from prompt_strategies.tokenise import IGNORE_INDEX
from tools.models import load_unchanged_tokenizer
from tools.pad_token import pad_candidates
from tools.recipe import Recipe
from validation.preflight.architecture import load_config
from validation.preflight.tokenized import Tokenized, TokenizedRows
from validation.verdict import VerdictRow

SAMPLE = 5000  # rows that are decoded: to decode all of them would take minutes
SEED = 42  # of the sample
NAMED = 3  # rows of data named in one verdict
TODO = "tokenizer and strategy do not fit: is the tokenizer the base model's own?"

Sampled = Sequence[tuple[TokenizedRows, int]]  # a split, and the index of one of its rows
Problem = tuple[str, str]  # a row's id, and what was expected and found


def check_tokens(
    recipe: Recipe, tokenizer: Any, tokenized: Tokenized, sample: int = SAMPLE
) -> list[VerdictRow]:
    """Check the special tokens and all rows' ends, and decode a seeded sample of the rows.

    `tokenizer` is that of `load_recipe_tokenizer`. The sample is drawn from both files together;
    with `sample` rows or fewer all are decoded.
    """
    every = [
        (split, index)
        for split in (tokenized.train, tokenized.val)
        for index in range(len(split.rows))
    ]
    drawn = random.Random(SEED).sample(every, min(sample, len(every)))
    all_rows = f"all {len(every):,} rows"
    stated = all_rows
    if len(drawn) < len(every):
        stated = f"{len(drawn):,} of {len(every):,} rows, drawn with seed {SEED}"
    return [
        _check_pad(tokenizer, load_config(recipe.base_model).get_text_config().vocab_size),
        _check_vocabulary(recipe, tokenizer, tokenized),
        _check_bos(tokenizer, every, all_rows),
        _judge("EOS is trained", _eos(tokenizer, every), every, all_rows),
        _judge("round trip", _round_trip(tokenizer, drawn), drawn, stated),
        _judge(
            "prompt is a prefix", _prefix(tokenizer, drawn), drawn, stated, _seam(tokenizer, drawn)
        ),
        _judge("mask", _mask(tokenizer, drawn), drawn, stated),
    ]


def _judge(
    check: str, problems: Iterator[Problem], rows: Sampled, stated: str, shown: str = ""
) -> VerdictRow:
    """Return the row of a check that yields the problems of `rows`; `shown` where there is none."""
    try:
        found = list(problems)
    except ValueError as error:  # tokenise's, where a prompt alone cannot be encoded
        return VerdictRow(check, str(error), "fail", TODO)
    figures = {"rows": len(rows), "failed": len(found)}
    if not found:
        return VerdictRow(check, f"holds for {stated}{shown}", figures=figures)
    named = "; ".join(f"row {name}: {what}" for name, what in found[:NAMED])
    named = f"{len(found):,} rows: {named}" + ("; …" if len(found) > NAMED else "")
    return VerdictRow(check, f"fails for {named} ({stated})", "fail", TODO, figures)


def _check_pad(tokenizer: Any, embeddings: int) -> VerdictRow:
    pad, eos = tokenizer.pad_token, tokenizer.eos_token
    row = partial(VerdictRow, "pad token")
    if eos is None:
        todo = "use the tokenizer that belongs to the base model"
        return row("the tokenizer has no EOS token", "fail", todo)
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        found = f"{pad}, which is EOS: where padding is masked, so is the EOS that is to be learnt"
        return row(found, "fail", _set_pad(tokenizer, embeddings))
    return row(f"{pad} ({tokenizer.pad_token_id}), not EOS ({eos})")


def _set_pad(tokenizer: Any, embeddings: int) -> str:
    """What to write into the recipe, and what the vocabulary has besides."""
    first, *others = pad_candidates(tokenizer, embeddings)[:NAMED] or ["…"]
    todo = f"set `special_tokens: {{pad_token: {json.dumps(first, ensure_ascii=False)}}}`"
    return f"{todo}; the vocabulary also has {', '.join(others)}" if others else todo


def _check_vocabulary(recipe: Recipe, tokenizer: Any, tokenized: Tokenized) -> VerdictRow:
    """No token may be added: the adapter trains no embedding, so it would stay a random vector."""
    unchanged = load_unchanged_tokenizer(recipe)
    size, before = len(tokenizer), len(unchanged)
    rows = load_config(recipe.base_model).get_text_config().vocab_size
    row = partial(VerdictRow, "vocabulary")
    if size != before:
        todo = "name only tokens that the vocabulary has in `special_tokens` and `tokens`"
        if tokenizer.pad_token not in unchanged.get_vocab():
            todo += f": {_set_pad(unchanged, rows)}"
        return row(
            f"the recipe adds {size - before} tokens to the tokenizer's {before:,}", "fail", todo
        )
    used = (ids.max() for split in (tokenized.train, tokenized.val) for ids in split.input_ids)
    largest = max(int(max(used)), *tokenizer.all_special_ids)
    if largest >= rows:
        return row(
            f"the token id {largest:,} has no row among the model's {rows:,} embeddings",
            "fail",
            "tokenizer and model do not belong together: correct `base_model`",
        )
    found = f"{size:,} tokens, none added; largest id {largest:,} of the model's {rows:,}"
    return row(found, figures={"tokens": size, "embeddings": rows})


def _check_bos(tokenizer: Any, every: Sampled, stated: str) -> VerdictRow:
    bos = tokenizer.bos_token_id
    if bos is None:
        return VerdictRow("one BOS", "the tokenizer has none")
    if tokenizer("x")["input_ids"][0] != bos:
        found = f"the tokenizer has {tokenizer.bos_token}, but does not put it before a text"
        return VerdictRow("one BOS", found, "note")
    return _judge("one BOS", _bos(tokenizer, every), every, stated)


def _bos(tokenizer: Any, every: Sampled) -> Iterator[Problem]:
    """One BOS is in front."""
    for split, index in every:
        ids = split.input_ids[index]
        count = np.count_nonzero(ids == tokenizer.bos_token_id)
        if count != 1 or ids[0] != tokenizer.bos_token_id:
            found = f"{count} BOS, first token {_shown(tokenizer, ids[0])}"
            yield split.rows[index]["id"], f"expected one BOS, in front; found {found}"


def _eos(tokenizer: Any, every: Sampled) -> Iterator[Problem]:
    """One EOS is at the end, and carries loss."""
    eos = tokenizer.eos_token_id
    for split, index in every:
        ids, labels = split.input_ids[index], split.labels[index]
        count = np.count_nonzero(ids == eos)
        if count != 1 or ids[-1] != eos or labels[-1] != eos:
            found = f"{count} EOS, last label {_shown(tokenizer, labels[-1])}"
            yield split.rows[index]["id"], f"expected one EOS, trained; found {found}"


def _round_trip(tokenizer: Any, sample: Sampled) -> Iterator[Problem]:
    """Decoded, the ids must be the rendered text."""
    for split, index in sample:
        rendered = split.strategy.render(split.rows[index])
        text = rendered.prompt + rendered.completion
        decoded = tokenise.decode(tokenizer, split.input_ids[index].tolist())
        if decoded != text:
            yield split.rows[index]["id"], _difference(text, decoded)


def _prefix(tokenizer: Any, sample: Sampled) -> Iterator[Problem]:
    """A prompt alone, as it is generated from, must be the beginning of the training ids."""
    prompts = [split.strategy.render(split.rows[index]).prompt for split, index in sample]
    for (split, index), ids in zip(
        sample, tokenise.encode_prompts(tokenizer, prompts), strict=True
    ):
        trained = split.input_ids[index][: len(ids)].tolist()
        if trained != ids:
            at = _first_difference(ids, trained)
            found = _shown(tokenizer, trained[at]) if at < len(trained) else "the row's end"
            what = f"token {at}: expected {_shown(tokenizer, ids[at])}, found {found}"
            yield split.rows[index]["id"], what


def _seam(tokenizer: Any, sample: Sampled) -> str:
    """Show in one row where the prompt ends and the model begins to write."""
    for split, index in sample[:1]:
        rendered = split.strategy.render(split.rows[index])
        [prompt] = tokenise.encode_prompts(tokenizer, [rendered.prompt])
        before = tokenise.decode(tokenizer, prompt)
        after = tokenise.decode(tokenizer, split.input_ids[index][len(prompt) :].tolist(), prompt)
        return f"; a prompt ends in {before[-10:]!r}, its completion begins with {after[:10]!r}"
    return ""


def _mask(tokenizer: Any, sample: Sampled) -> Iterator[Problem]:
    """Labels are -100 up to where the strategy starts to train, and the ids from there on.

    White space before that place is trained, unless one token joins it with what stands before it.
    """
    for split, index in sample:
        ids, labels = split.input_ids[index].tolist(), split.labels[index]
        rendered = split.strategy.render(split.rows[index])
        text = rendered.prompt + rendered.completion
        before = text[: split.strategy.trained_from(rendered)].rstrip()
        expected, masked = text[len(before) :], int(np.argmax(labels != IGNORE_INDEX))
        found = tokenise.decode(tokenizer, ids[masked:], ids[:masked])
        joined = False
        if masked and expected.endswith(found) and expected.removesuffix(found).isspace():
            last = tokenise.decode(tokenizer, ids[masked - 1 : masked], ids[: masked - 1])
            joined = bool(last.strip())
        if not np.array_equal(labels[masked:], ids[masked:]):
            yield split.rows[index]["id"], f"labels differ from the ids after token {masked}"
        elif found != expected and not joined:
            yield split.rows[index]["id"], "trained text: " + _difference(expected, found)


def _difference(expected: str, found: str) -> str:
    """Return some characters of both texts around the first that differs."""
    at = _first_difference(expected, found)
    near = slice(max(0, at - 10), at + 20)
    return f"at character {at} expected {expected[near]!r}, found {found[near]!r}"


def _first_difference(left: Sequence[Any], right: Sequence[Any]) -> int:
    pairs = enumerate(zip(left, right, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(left), len(right)))


def _shown(tokenizer: Any, token: int) -> str:
    """Return a token as written in the vocabulary; a label without loss as -100."""
    return str(token) if token < 0 else repr(tokenizer.convert_ids_to_tokens(int(token)))
