"""Do the rows come out of the tokenizer as they went in, masked and ended where they should be?"""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from prompt_strategies import tokenise
from prompt_strategies.tokenise import IGNORE_INDEX
from tools.errors import UserError
from tools.models import load_tokenizer
from tools.recipe import Recipe
from validation.preflight.architecture import load_config
from validation.preflight.tokenized import Split, Tokenized
from validation.verdict import VerdictRow

SAMPLE = 5000  # rows that are decoded: a stated sample, for decoding all of them takes minutes
SEED = 42  # of the sample
NAMED = 3  # rows named in one row
TODO = "tokenizer and strategy do not fit: is the tokenizer the base model's own?"

Sampled = Sequence[tuple[Split, int]]  # a split, and the index of one of its rows
Problem = tuple[str, str]  # a row's id, and what was expected and found


def load_recipe_tokenizer(recipe: Recipe) -> Any:
    """Load the tokenizer that training will use: the base model's, with the recipe's own tokens.

    They are applied as Axolotl's `load_tokenizer` does; where there is no pad token, pad is EOS.
    Raises UserError if there is no tokenizer or it has no such special token.
    """
    from tokenizers import AddedToken

    tokenizer = _load_as_it_is(recipe)
    try:
        special = dict(recipe.values.get("special_tokens") or {})
        more = special.pop("additional_special_tokens", None)
        for name, text in special.items():
            tokenizer.add_special_tokens({name: AddedToken(text, normalized=False)})
        for text in recipe.values.get("tokens") or ():
            tokenizer.add_tokens([AddedToken(text, normalized=False)])
        if more:
            tokenizer.add_special_tokens({"additional_special_tokens": more})
    except (AssertionError, TypeError, ValueError) as error:
        what = " ".join(str(error).split())
        raise UserError(f"{recipe.path}: `special_tokens`: {what}; correct it there") from None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _load_as_it_is(recipe: Recipe) -> Any:
    """Load the base model's tokenizer by the class that the recipe names."""
    kind = recipe.values.get("tokenizer_type") or "AutoTokenizer"
    return load_tokenizer(recipe.base_model, str(kind))


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
    return [
        _check_pad(tokenizer),
        _check_vocabulary(recipe, tokenizer, tokenized),
        _check_bos(tokenizer, tokenized),
        _check_eos(tokenizer, tokenized),
        _on_sample("round trip", _round_trip(tokenizer, drawn), len(drawn), len(every)),
        _on_sample("prompt is a prefix", _prefix(tokenizer, drawn), len(drawn), len(every)),
        _on_sample("mask", _mask(tokenizer, drawn), len(drawn), len(every)),
    ]


def _check_pad(tokenizer: Any) -> VerdictRow:
    pad, eos = tokenizer.pad_token, tokenizer.eos_token
    if pad is None or eos is None:
        value = f"the tokenizer has no {'EOS' if eos is None else 'pad'} token"
        return _fail("pad token", value, "use the tokenizer that belongs to the base model")
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        return _fail(
            "pad token",
            f"{pad}, which is EOS: where padding is masked, so is the EOS that is to be learnt",
            "set `special_tokens: {pad_token: …}` to another token of the vocabulary",
        )
    return VerdictRow("pad token", f"{pad} ({tokenizer.pad_token_id}), not EOS ({eos})")


def _check_vocabulary(recipe: Recipe, tokenizer: Any, tokenized: Tokenized) -> VerdictRow:
    """No token may be added: the adapter trains no embedding, so it would stay a random vector."""
    check = "vocabulary"
    size, before = len(tokenizer), len(_load_as_it_is(recipe))
    if size != before:
        return _fail(
            check,
            f"the recipe adds {size - before} tokens to the tokenizer's {before:,}",
            "name only tokens that the vocabulary has in `special_tokens` and `tokens`",
        )
    rows = load_config(recipe.base_model).vocab_size
    used = (ids.max() for split in _splits(tokenized) for ids in split.input_ids)
    largest = max(int(max(used)), *tokenizer.all_special_ids)
    if largest >= rows:
        return _fail(
            check,
            f"the token id {largest:,} has no row among the model's {rows:,} embeddings",
            "tokenizer and model do not belong together: correct `base_model`",
        )
    value = f"{size:,} tokens, none added; largest id {largest:,} of the model's {rows:,}"
    return VerdictRow(check, value, figures={"tokens": size, "embeddings": rows})


def _check_bos(tokenizer: Any, tokenized: Tokenized) -> VerdictRow:
    check, bos = "one BOS", tokenizer.bos_token_id
    if bos is None:
        return VerdictRow(check, "the tokenizer has none")
    if tokenizer("x")["input_ids"][0] != bos:
        value = f"the tokenizer has {tokenizer.bos_token}, but does not put it before a text"
        return VerdictRow(check, value, "note")
    problems = []
    for split in _splits(tokenized):
        for row, ids in zip(split.rows, split.input_ids, strict=True):
            count = np.count_nonzero(ids == bos)
            if count != 1 or ids[0] != bos:
                found = f"{count} BOS, first token {_shown(tokenizer, ids[0])}"
                problems.append((row["id"], f"expected one BOS, in front; found {found}"))
    return _on_all(check, problems, tokenized, f"{tokenizer.bos_token} in front")


def _check_eos(tokenizer: Any, tokenized: Tokenized) -> VerdictRow:
    check, eos = "EOS is trained", tokenizer.eos_token_id
    problems = []
    for split in _splits(tokenized):
        for row, ids, labels in zip(split.rows, split.input_ids, split.labels, strict=True):
            count = np.count_nonzero(ids == eos)
            if count != 1 or ids[-1] != eos or labels[-1] != eos:
                found = f"{count} EOS, last label {_shown(tokenizer, labels[-1])}"
                problems.append((row["id"], f"expected one EOS, trained; found {found}"))
    return _on_all(check, problems, tokenized, f"{tokenizer.eos_token} at the end, with a label")


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


def _mask(tokenizer: Any, sample: Sampled) -> Iterator[Problem]:
    """Labels are -100 up to where the strategy starts to train, and the ids from there on."""
    for split, index in sample:
        ids, labels = split.input_ids[index], split.labels[index]
        rendered = split.strategy.render(split.rows[index])
        expected = (rendered.prompt + rendered.completion)[split.strategy.trained_from(rendered) :]
        masked = int(np.argmax(labels != IGNORE_INDEX))
        found = tokenise.decode(tokenizer, ids[masked:].tolist(), ids[:masked].tolist())
        if not np.array_equal(labels[masked:], ids[masked:]):
            yield split.rows[index]["id"], f"labels differ from the ids after token {masked}"
        elif found != expected:
            yield split.rows[index]["id"], "trained text: " + _difference(expected, found)


def _on_sample(check: str, problems: Iterator[Problem], sample: int, rows: int) -> VerdictRow:
    """Return the row of a check of `sample` rows out of `rows`."""
    try:
        found = list(problems)
    except ValueError as error:  # masking's, where a prompt alone cannot be encoded
        return _fail(check, str(error), TODO)
    stated = f"all {rows:,} rows"
    if sample < rows:
        stated = f"{sample:,} of {rows:,} rows, drawn with seed {SEED}"
    figures = {"rows": sample, "failed": len(found)}
    if not found:
        return VerdictRow(check, f"holds for {stated}", figures=figures)
    return _fail(check, f"fails for {_named(found)} ({stated})", TODO, figures)


def _on_all(check: str, problems: list[Problem], tokenized: Tokenized, holds: str) -> VerdictRow:
    rows = sum(len(split.rows) for split in _splits(tokenized))
    figures = {"rows": rows, "failed": len(problems)}
    if not problems:
        return VerdictRow(check, f"{holds}, in all {rows:,} rows", figures=figures)
    return _fail(check, f"fails for {_named(problems)} (all {rows:,} rows)", TODO, figures)


def _named(problems: list[Problem]) -> str:
    first = "; ".join(f"row {name}: {what}" for name, what in problems[:NAMED])
    return f"{len(problems):,} rows: {first}" + ("; …" if len(problems) > NAMED else "")


def _difference(expected: str, found: str) -> str:
    """Return some characters of both texts around the first that differs."""
    at = _first_difference(expected, found)
    near = slice(max(0, at - 10), at + 20)
    return f"at character {at} expected {expected[near]!r}, found {found[near]!r}"


def _first_difference(left: Sequence[Any], right: Sequence[Any]) -> int:
    pairs = enumerate(zip(left, right, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(left), len(right)))


def _shown(tokenizer: Any, token: int) -> str:
    """Return a token as it stands in the vocabulary; a label without loss as -100."""
    return str(token) if token < 0 else repr(tokenizer.convert_ids_to_tokens(int(token)))


def _splits(tokenized: Tokenized) -> tuple[Split, Split]:
    return tokenized.train, tokenized.val


def _fail(check: str, value: str, todo: str, figures: dict[str, Any] | None = None) -> VerdictRow:
    return VerdictRow(check, value, "fail", todo, figures or {})
