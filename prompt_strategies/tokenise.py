"""How text becomes token ids and labels; training and inference both go through here.

A prompt ends before its trailing white space: the model writes that itself, and it carries loss.
Byte-level BPE joins a newline with the indentation below it, so a prompt that ended in the newline
would end inside a token. Only a token that joins white space with the character before it, as
Llama-3's `:\n`, stays whole in the prompt.

A row's ids are those of its whole text (prompt and completion), and begin with those of its prompt.
Where the whole text would give the prompt other ids (its last word goes on in the completion), the
completion is encoded apart: the prompt is generated from as it was trained, whatever follows it.

- Text stays text: `</s>` or `<|end_of_text|>` inside a field never becomes a control token.
- BOS comes first if the tokenizer puts it there by default, exactly once, and has no label.
- EOS is appended by id, exactly once, and carries loss.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # transformers takes seconds to import, and only the types are needed
    import numpy as np
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerFast

IGNORE_INDEX = -100  # the label that PyTorch's cross-entropy leaves out

VERSION = 2  # raise it when the ids or the mask of a text change: the run record names it


class EncodedRow(NamedTuple):
    """The ids of a row, BOS and EOS among them, and how many of the first carry no loss."""

    ids: "list[int] | np.ndarray"
    masked: int


def encode_texts(
    tokenizer: "PreTrainedTokenizerFast",
    texts: Sequence[str],
    prompt_ends: Sequence[int],
    names: Sequence[str],
    trained_from: Sequence[int] | None = None,
) -> list[EncodedRow]:
    """Return the row of each text; loss starts where the prompt ends, or at `trained_from`.

    Offsets are in characters. Either place moves to before its white space, as in `encode_prompts`.
    Errors call the rows by `names`. Raises ValueError if the tokenizer reads a control token in a
    text, or if it has no EOS or no offsets.
    """
    check_tokenizer(tokenizer)
    bos = bos_ids(tokenizer)
    prompts = [text[:end] for text, end in zip(texts, prompt_ends, strict=True)]
    rows = []
    for name, text, prompt, start, encoding, prompt_encoding in zip(
        names,
        texts,
        prompts,
        prompt_ends if trained_from is None else trained_from,
        _tokenize(tokenizer, texts, names),
        _tokenize(tokenizer, prompts, names),
        strict=True,
    ):
        before, read, skipped = [], text, 0
        count = _tokens_through(prompt, len(prompt), prompt_encoding)
        if encoding.ids[:count] != prompt_encoding.ids[:count]:
            before = prompt_encoding.ids[:count]
            rest = text[prompt_encoding.offsets[count - 1][1] :]
            read, encoding, skipped = _apart(tokenizer, rest, name)
        masked = 0
        if start:  # `read` is the end of `text`, with or without an anchor before it
            through = _tokens_through(read, start + len(read) - len(text), encoding)
            masked = max(count, len(before) + through - skipped)
        ids = [*bos, *before, *encoding.ids[skipped:], tokenizer.eos_token_id]
        rows.append(EncodedRow(ids, len(bos) + masked))
    return rows


def _apart(
    tokenizer: "PreTrainedTokenizerFast", text: str, name: str
) -> "tuple[str, Encoding, int]":
    """Encode a text that goes on with another; return what was read, and the tokens to skip.

    An anchor before it keeps SentencePiece from starting it with a space of its own.
    """
    anchor = "a" if text[:1].isspace() else "\n"
    [encoding] = _tokenize(tokenizer, [anchor + text], [name])
    skipped = bisect_left(encoding.offsets, 1, key=lambda span: span[0])
    if all(end <= 1 for _, end in encoding.offsets[:skipped]):
        return anchor + text, encoding, skipped
    [encoding] = _tokenize(tokenizer, [text], [name])
    return text, encoding, 0


def check_tokenizer(tokenizer: "PreTrainedTokenizerFast") -> None:
    """Raise ValueError if rows cannot be made with this tokenizer."""
    if tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer has no EOS token: a model trained with it never stops")
    if not tokenizer.is_fast:
        raise ValueError("the tokenizer gives no offsets: load it with `use_fast=True`")


def encode_prompts(tokenizer: "PreTrainedTokenizerFast", prompts: Sequence[str]) -> list[list[int]]:
    """Return for each prompt the ids to generate from, with which its row's training ids begin.

    Its trailing white space is left to the model: see `after_prompt`. Raises ValueError if the
    tokenizer reads a control token in a prompt.
    """
    check_tokenizer(tokenizer)
    bos = bos_ids(tokenizer)
    encodings = _tokenize(tokenizer, prompts, [str(index) for index in range(len(prompts))])
    return [
        bos + encoding.ids[: _tokens_through(prompt, len(prompt), encoding)]
        for prompt, encoding in zip(prompts, encodings, strict=True)
    ]


def after_prompt(prompt: str, seen: str, text: str) -> str:
    """Return a generated text as it follows `prompt`, of which the model has `seen` the start.

    The rest of the prompt is white space; where the model wrote it, it is not repeated.
    """
    left = len(trailing_space(prompt)) - len(trailing_space(seen))
    return text.removeprefix(prompt[len(prompt) - left :])


def trailing_space(text: str) -> str:
    """Return the white space that ends a text."""
    return text[len(text.rstrip()) :]


def decode(
    tokenizer: "PreTrainedTokenizerFast", ids: Sequence[int], after: Sequence[int] = ()
) -> str:
    """Return the exact text of `ids`, without control tokens.

    `after` holds the ids before them (a prompt's, for a generation). Without it a decoder of
    Llama-2's kind drops a leading space, which it takes for its own.
    """
    return _text(tokenizer, [*after, *ids])[len(_text(tokenizer, after)) :]


def _text(tokenizer: "PreTrainedTokenizerFast", ids: Sequence[int]) -> str:
    # clean-up would turn `x != y` into `x!= y`
    text = tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert isinstance(text, str)  # a list only for a batch
    return text


def bos_ids(tokenizer: "PreTrainedTokenizerFast") -> list[int]:
    """Return [BOS] if the tokenizer itself puts it before a text, else []."""
    bos = tokenizer.bos_token_id
    return [bos] if bos is not None and tokenizer("x")["input_ids"][0] == bos else []


def _tokenize(
    tokenizer: "PreTrainedTokenizerFast", texts: Sequence[str], names: Sequence[str]
) -> "list[Encoding]":
    """Return the encoding of each text, without BOS and EOS, all of it read as text."""
    if not texts:
        return []
    encoded = tokenizer(
        list(texts),
        add_special_tokens=False,
        split_special_tokens=True,
        return_attention_mask=False,  # a list of ones for each row
        verbose=False,  # over-long rows are counted by the strategy
    )
    control = {tokenizer.bos_token_id, tokenizer.eos_token_id}
    for name, ids in zip(names, encoded["input_ids"], strict=True):
        if not control.isdisjoint(ids):
            raise ValueError(f"row {name}: the tokenizer reads BOS or EOS in the row's own text")
    return encoded.encodings or []


def _tokens_through(text: str, end: int, encoding: "Encoding") -> int:
    """Return how many tokens hold `text[:end]` up to its last character that is no white space."""
    last = len(text[:end].rstrip()) - 1
    if last < 0:
        return 0
    token = encoding.char_to_token(last)  # a tenth of the time that listing all offsets takes
    if token is None:  # no token holds that character
        return bisect_right(encoding.offsets, last, key=lambda span: span[0])
    while (span := encoding.token_to_chars(token + 1)) and span[0] <= last:
        token += 1  # the next byte of the same character
    return token + 1
