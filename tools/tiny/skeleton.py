"""The tiny base before training: tokenizer and architecture, without weights.

Tokenizer: byte-level BPE whose pre-tokenizer keeps a word or a digit the same token wherever it
stands (letter runs, single digits and lone capitals are split off), so that copying can form in a
model this small. Every word of the small world is one token.
"""

from pathlib import Path

from transformers import LlamaConfig, PreTrainedTokenizerFast

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
    """A Llama of 4 layers, 128 wide, about 1 M parameters with tied embeddings."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        architectures=["LlamaForCausalLM"],
        dtype="float32",
    )


def write_skeleton(folder: Path, documents: int = 20_000, seed: int = 7) -> None:
    """Write tokenizer and config.json into `folder`."""
    tokenizer = train_tokenizer(documents, seed, vocab_size=1536)
    tokenizer.save_pretrained(folder)
    config(tokenizer).save_pretrained(folder)
