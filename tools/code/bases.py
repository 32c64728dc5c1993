"""Writes the untrained base models of the code track: tokenizer and config of each size.

    cogex prepare code-base --corpus data/python-corpus --out data/code-base

makes data/code-base/29m and the other sizes. Each is the `base_model` of a recipe such as
recipes/code-base-29m.yml, which draws random weights (`reinit_weights`).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tools.code.tokenizer import train_byte_level_bpe
from tools.errors import UserError

# newline | marks, with the spaces around them | spaces, as an indent | a word in any case | one
# digit | underscores | anything else. A newline is a piece of its own, so that a prompt, which ends
# in one, and its solution, which starts with an indent, never share a token. A word is the same
# token after a space and after a bracket: small models learn to copy names sooner that way.
PIECES = r"\n| ?[^\sA-Za-z0-9_]+ ?| +|[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]|_+|\s"
POSITIONS = 1024  # the longest text, in tokens


@dataclass(frozen=True)
class Size:
    """The shape of a Llama: pieces of the vocabulary, layers, and widths."""

    vocabulary: int
    layers: int
    hidden: int
    mlp: int
    head: int = 64


# Layers and widths are from the plan of the code track (docs/code-track.md), which names no MLP:
# this one gives the number of parameters that the plan names.
SIZES = {
    "tiny": Size(vocabulary=2048, layers=4, hidden=128, mlp=384, head=32),
    "29m": Size(vocabulary=8192, layers=8, hidden=512, mlp=1344),
    "52m": Size(vocabulary=8192, layers=20, hidden=512, mlp=864),
    "88m": Size(vocabulary=8192, layers=16, hidden=768, mlp=1184),
    "105m": Size(vocabulary=8192, layers=12, hidden=1024, mlp=1248),
}


def write_bases(corpus: Path, out: Path) -> dict[str, int]:
    """Write tokenizer and config.json of every size below `out`; return their parameters.

    `corpus` is a folder of `cogex prepare python-corpus`. Its train.jsonl trains one tokenizer for
    each size of vocabulary. Raises UserError if it cannot be used.
    """
    trained = {
        pieces: train_tokenizer(corpus / "train.jsonl", pieces)
        for pieces in sorted({size.vocabulary for size in SIZES.values()})
    }
    parameters = {}
    for name, size in SIZES.items():
        tokenizer = trained[size.vocabulary]
        config = architecture(size, tokenizer)
        tokenizer.save_pretrained(out / name)
        config.save_pretrained(out / name)
        with torch.device("meta"):
            parameters[name] = LlamaForCausalLM(config).num_parameters()
    return parameters


def train_tokenizer(documents: Path, pieces: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE of `pieces` tokens on JSON lines with a `text`, read one at a time.

    Raises UserError if the file cannot be read, or is too small for that many.
    """
    tokenizer = train_byte_level_bpe(_texts(documents), PIECES, pieces, POSITIONS)
    if len(tokenizer) < pieces:
        raise UserError(
            f"{documents}: makes {len(tokenizer):,} pieces where {pieces:,} are "
            "needed; prepare a larger corpus"
        )
    return tokenizer


def _texts(documents: Path) -> Iterator[str]:
    try:
        with documents.open(encoding="utf-8") as lines:
            for line in lines:
                text = json.loads(line)["text"]
                if not isinstance(text, str):
                    raise TypeError("a text is not a string")
                yield text
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{documents}: cannot be used: {error}; run `cogex prepare python-corpus` first"
        ) from None


def architecture(
    size: Size, tokenizer: PreTrainedTokenizerFast, positions: int = POSITIONS
) -> LlamaConfig:
    """Return the config of a Llama of that size with tied embeddings."""
    return LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=size.mlp,
        num_hidden_layers=size.layers,
        num_attention_heads=size.hidden // size.head,
        num_key_value_heads=size.hidden // size.head,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        architectures=["LlamaForCausalLM"],
        dtype="float32",
    )


def print_bases(parameters: dict[str, int], out: Path, console: Console) -> None:
    """Print each base's folder, shape and parameters."""
    table = Table("base", "layers", "width", "MLP", "vocabulary", "parameters")
    for name, count in parameters.items():
        size = SIZES[name]
        shape = (size.layers, size.hidden, size.mlp, size.vocabulary, count)
        table.add_row(str(out / name), *(f"{number:,}" for number in shape))
    console.print(table)
