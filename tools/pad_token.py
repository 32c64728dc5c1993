"""Which tokens of a vocabulary can pad: the adapter trains no embedding, so none may be added."""

import re
from typing import Any

_CONTROL = re.compile(r"<.+>|\[.+\]")  # how control tokens are written
_PAD = re.compile(r"\W*pad(ding)?\W*", re.IGNORECASE)
_PAD_LIKE = re.compile(r"(?<![a-z])pad(ding)?(?![a-z])", re.IGNORECASE)
_UNUSED = re.compile(r"reserved|unused|placeholder|dummy|extra|control|special_\d", re.IGNORECASE)
_NO_TEXT = ("<0xFF>", "<0xC0>", "ÿ", "À")  # bytes that UTF-8 never has, as vocabularies write them


def pad_candidates(tokenizer: Any, rows: int) -> list[str]:
    """Return the tokens that can pad a model of `rows` embeddings, best first; none is EOS.

    First the tokenizer's own, then what is named like padding, what is reserved, the unknown token,
    and last a byte that no text holds.
    """
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    control = sorted(filter(_CONTROL.fullmatch, vocabulary), key=vocabulary.__getitem__)
    best_first = [
        tokenizer.pad_token,
        *filter(_PAD.fullmatch, control),
        *filter(_PAD_LIKE.search, control),
        *filter(_UNUSED.search, control),
        tokenizer.unk_token,
        *_NO_TEXT,
    ]
    taken = {tokenizer.eos_token_id, tokenizer.bos_token_id}
    return [
        token
        for token in dict.fromkeys(best_first)
        if vocabulary.get(token, rows) < rows and vocabulary[token] not in taken
    ]
