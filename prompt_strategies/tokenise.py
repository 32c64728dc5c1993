"""How text becomes token ids and labels; training and inference both go through here.

The whole text (prompt and completion) is tokenised once, and a token carries loss if its
characters lie at or after the offset where training starts. If a completion were tokenised
alone, it would begin with other ids than it has after its prompt (SentencePiece puts a space
before `def`), and the model would be trained on a text that it never sees.

- Text stays text: `</s>` or `<|end_of_text|>` inside a field never becomes a control token.
- BOS comes first if the tokenizer puts it there by default, exactly once, and has no label.
- EOS is appended by id, exactly once, and carries loss.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # transformers takes seconds to import, and only the types are needed
    import numpy as np
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerFast

IGNORE_INDEX = -100  # the label that PyTorch's cross-entropy leaves out

# Takes the place of the completion when a prompt is tokenised alone: some pre-tokenizers look one
# character ahead. It is not white space, and no vocabulary joins it to a newline.
_STAND_IN = ">"


class EncodedRow(NamedTuple):
    """The ids of a row, BOS and EOS among them, and how many of the first carry no loss."""

    ids: "list[int] | np.ndarray"
    masked: int


def encode_texts(
    tokenizer: "PreTrainedTokenizerFast",
    texts: Sequence[str],
    boundaries: Sequence[int],
    names: Sequence[str],
) -> list[EncodedRow]:
    """Return the row of each text; `boundaries` are the offsets, in characters, where loss starts.

    Errors call the rows by `names`. Raises ValueError if a token lies across a boundary, if
    the tokenizer reads a control token in a text, or if it has no EOS or no offsets.
    """
    check_tokenizer(tokenizer)
    bos = bos_ids(tokenizer)
    return [
        EncodedRow(
            [*bos, *encoding.ids, tokenizer.eos_token_id],
            len(bos) + _tokens_before(text, boundary, encoding, name),
        )
        for name, text, boundary, encoding in zip(
            names, texts, boundaries, _tokenize(tokenizer, texts, names), strict=True
        )
    ]


def check_tokenizer(tokenizer: "PreTrainedTokenizerFast") -> None:
    """Raise ValueError if rows cannot be made with this tokenizer."""
    if tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer has no EOS token: a model trained with it never stops")
    if not tokenizer.is_fast:
        raise ValueError("the tokenizer gives no offsets: load it with `use_fast=True`")


def encode_prompts(tokenizer: "PreTrainedTokenizerFast", prompts: Sequence[str]) -> list[list[int]]:
    """Return for each prompt the ids to generate from: a prefix of its row's training ids.

    A prompt ends in a newline, as those of `layout` do. Raises ValueError if a token would
    lie across its end, or if the tokenizer reads a control token in it.
    """
    check_tokenizer(tokenizer)
    texts = [prompt + _STAND_IN for prompt in prompts]
    names = [str(index) for index in range(len(texts))]
    bos = bos_ids(tokenizer)
    return [
        bos + encoding.ids[: _tokens_before(text, len(text) - len(_STAND_IN), encoding, name)]
        for name, text, encoding in zip(
            names, texts, _tokenize(tokenizer, texts, names), strict=True
        )
    ]


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


def _tokens_before(text: str, boundary: int, encoding: "Encoding", name: str) -> int:
    """Return how many tokens lie before a character offset; none may lie across it."""
    count = encoding.char_to_token(boundary)  # a tenth of the time that listing all offsets takes
    if count is None:  # no token holds that character, or the text ends there
        count = bisect_left(encoding.offsets, boundary, key=lambda span: span[0])
    across = [token for token in (count - 1, count) if 0 <= token < len(encoding.ids)]
    for token in across:
        start, end = encoding.token_to_chars(token) or (boundary, boundary)
        if start < boundary < end:
            raise ValueError(
                f"row {name}: the token {text[start:end]!r} lies across the end of "
                f"{text[max(0, boundary - 20) : boundary]!r}, so it cannot be masked or trained"
            )
    return count
