"""The tiny base before training: tokenizer and architecture, without weights.

The tokenizer is byte-level BPE. Its pre-tokenizer splits off letter runs, single digits and lone
capitals, so that a word or a digit is the same token in every position, and so small a model can
learn to copy. Every word that it knows is one token.
"""

from pathlib import Path

from transformers import LlamaConfig, PreTrainedTokenizerFast

from tools.code.bases import Size, architecture
from tools.code.tokenizer import train_byte_level_bpe
from tools.tiny.corpus import base_documents, world_words

# newline with its indent | word | one capital, digit or underscore | marks, with the spaces at
# their edges | spaces | anything else
PIECES = r"\n *|[A-Z]?[a-z]+|[A-Z0-9_]| ?[^\sA-Za-z0-9_]+ ?| +|\s"


def train_tokenizer(documents: int, seed: int, vocab_size: int) -> PreTrainedTokenizerFast:
    """Train the byte-level BPE on base documents and on the list of all known words."""
    texts = list(base_documents(documents, seed))
    texts += documents // 50 * [" ".join(world_words())]  # so that each word becomes one token
    return train_byte_level_bpe(texts, PIECES, vocab_size, max_length=512)


def config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """Return the config of a Llama of 4 layers, 128 wide: about 1 M parameters."""
    size = Size(vocabulary=len(tokenizer), layers=4, hidden=128, mlp=384, head=32)
    return architecture(size, tokenizer, positions=512)


def write_skeleton(folder: Path, documents: int = 20_000, seed: int = 7) -> None:
    """Write tokenizer and config.json into `folder`."""
    tokenizer = train_tokenizer(documents, seed, vocab_size=1536)
    tokenizer.save_pretrained(folder)
    config(tokenizer).save_pretrained(folder)
