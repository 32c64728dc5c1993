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
    import numpy as np
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
        prompt_ends: Sequence[int],
        names: Sequence[str],
        trained_from: Sequence[int],
    ) -> Self | None:
        """Return the encoder, or None if it cannot be built or gives other ids for these rows.

        Raises ValueError as `tokenise.encode_texts`.
        """
        tokenise.check_tokenizer(tokenizer)
        try:
            fast = cls(tokenizer)
        except (ImportError, RuntimeError):
            return None
        plain = tokenise.encode_texts(tokenizer, texts, prompt_ends, names, trained_from)
        ours = fast.encode_texts(texts, prompt_ends, trained_from)
        same = all(
            row is None or (row.masked == other.masked and list(row.ids) == other.ids)
            for row, other in zip(ours, plain, strict=True)
        )
        return fast if same else None

    def encode_texts(
        self, texts: Sequence[str], prompt_ends: Sequence[int], trained_from: Sequence[int]
    ) -> list[tokenise.EncodedRow | None]:
        """Return ids and masked count of each text, None for one that `tokenise` must encode.

        Offsets are in characters, as in `tokenise.encode_texts`. `</s>` in a text, which gigatoken
        takes for the control token, leaves it to `tokenise`; so does a prompt whose ids the whole
        text does not begin with.
        """
        import numpy as np

        texts = [text if text.isascii() and len(text) <= LONGEST else "" for text in texts]
        prompts = [text[:end] for text, end in zip(texts, prompt_ends, strict=True)]
        starts = [text[:start] for text, start in zip(texts, trained_from, strict=True)]
        ids, lengths, masked, sure = self._encode(texts, starts)
        prompt_ids, _, counts, prompt_sure = self._encode(prompts, prompts)
        width = min(ids.shape[1], prompt_ids.shape[1])
        others = np.arange(width) >= counts[:, None]
        same = ((ids[:, :width] == prompt_ids[:, :width]) | others).all(axis=1)
        sure &= prompt_sure & same & (counts <= width) & (counts > len(self.bos))
        return [
            tokenise.EncodedRow(ids[row, : lengths[row]], int(masked[row])) if sure[row] else None
            for row in range(len(texts))
        ]

    def _encode(
        self, texts: Sequence[str], starts: Sequence[str]
    ) -> "tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]":
        """Return ids, lengths, how many tokens hold each start, and which rows are certain.

        Tokens are found by their bytes: those of a row add up to its text, with the space that
        SentencePiece puts in front where it does.
        """
        import numpy as np

        ids, lengths = self.encoder.encode_batch_padded(
            texts, pad_id=self.eos, prefix=self.bos, suffix=[self.eos]
        )
        sizes = self.bytes[ids]
        ends = sizes.cumsum(axis=1)
        in_front = ends[:, -1] - np.array([len(text) for text in texts])
        until = np.array([len(start.rstrip()) for start in starts])
        held = ((ends - sizes < (until + in_front)[:, None]) & (sizes > 0)).sum(axis=1)
        counts = len(self.bos) + np.where(until > 0, held, 0)
        sure = np.array([text != "" for text in texts]) & np.isin(in_front, (0, 1))
        control = self.control[ids].sum(axis=1)
        sure &= control == len(self.bos) + 1 + ids.shape[1] - lengths
        return ids, lengths, counts, sure
