"""Token ids of many rows by gigatoken, in a tenth of the time that tokenizers takes, or less.

It reads the model's own `tokenizer.json`. It is young, so it is held to the tokenizer itself:
`FastEncoder.of` compares the two on rows of the dataset, and `tokenise` encodes every row that
gigatoken may get wrong. Those with more than ASCII are among them, for the two follow different
versions of Unicode (which characters are letters).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from prompt_strategies import tokenise

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LONGEST = 16_384  # characters; each batch is a matrix as wide as its longest row
SPACE = "▁".encode()  # how SentencePiece writes a space in its pieces


class FastEncoder:
    """What `tokenise.encode_texts` does, for the rows that it can encode with certainty."""

    def __init__(self, tokenizer: "PreTrainedTokenizerFast") -> None:
        """Read the tokenizer.

        Raises ImportError where gigatoken is not installed, RuntimeError if it does not know the
        tokenizer's kind.
        """
        import gigatoken
        import numpy as np

        self.encoder = gigatoken.Tokenizer.from_json(tokenizer.backend_tokenizer.to_str())
        self.bos = tokenise.bos_ids(tokenizer)
        self.eos: int = tokenizer.eos_token_id
        size = max(len(tokenizer), self.encoder.vocab_size)
        self.bytes = np.zeros(size, np.int64)  # that a token stands for
        for token, text in self.encoder.vocab.items():
            self.bytes[token] = len(text.replace(SPACE, b" "))
        self.control = np.zeros(size, bool)
        added = tokenizer.added_tokens_decoder.items()
        self.control[[token for token, what in added if what.special]] = True
        self.control[[*self.bos, self.eos]] = True
        self.bytes[self.control] = 0

    @classmethod
    def of(
        cls,
        tokenizer: "PreTrainedTokenizerFast",
        texts: Sequence[str],
        boundaries: Sequence[int],
        names: Sequence[str],
    ) -> Self | None:
        """Return the encoder, or None if it cannot be built or gives other ids for these rows.

        Raises ValueError as `tokenise.encode_texts`.
        """
        tokenise.check_tokenizer(tokenizer)
        try:
            fast = cls(tokenizer)
        except (ImportError, RuntimeError):
            return None
        plain = tokenise.encode_texts(tokenizer, texts, boundaries, names)
        ours = fast.encode_texts(texts, boundaries)
        same = all(
            row is None or (row.masked == other.masked and list(row.ids) == other.ids)
            for row, other in zip(ours, plain, strict=True)
        )
        return fast if same else None

    def encode_texts(
        self, texts: Sequence[str], boundaries: Sequence[int]
    ) -> list[tokenise.EncodedRow | None]:
        """Return ids and masked count of each text, None for one that `tokenise` must encode.

        `boundaries` are in characters, where loss starts. Tokens are found by their bytes: those of
        a row add up to its text, with the space that SentencePiece puts in front where it does.
        `</s>` in a text, which gigatoken takes for the control token, leaves it to `tokenise`.
        """
        import numpy as np

        texts = [text if text.isascii() and len(text) <= LONGEST else "" for text in texts]
        ids, lengths = self.encoder.encode_batch_padded(
            texts, pad_id=self.eos, prefix=self.bos, suffix=[self.eos]
        )
        ends = self.bytes[ids].cumsum(axis=1)
        in_front = ends[:, -1] - np.array([len(text) for text in texts])
        starts = np.array(boundaries) + in_front
        masked = (ends <= starts[:, None]).sum(axis=1)
        last_masked = ends[np.arange(len(texts)), masked - 1]
        sure = (
            np.array([text != "" for text in texts])
            & np.isin(in_front, (0, 1))
            & (np.array(boundaries) > 0)
            & (last_masked == starts)  # no token lies across
            & (masked < lengths)
            & (self.control[ids].sum(axis=1) == len(self.bos) + 1 + ids.shape[1] - lengths)
        )
        return [
            tokenise.EncodedRow(ids[row, : lengths[row]], int(masked[row])) if sure[row] else None
            for row in range(len(texts))
        ]
