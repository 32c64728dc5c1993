"""Tiny random bases of the families that the recipes name, each in a folder named as on the hub.

What tells a family apart is kept: heads and their groups, rotary embedding, the kind of tokenizer
with its control tokens, and that no pad token is set. Width, depth and vocabulary are cut down.
Sources: config.json and tokenizer_config.json of each model on the hub.
"""

import json
import shutil
import string
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    LlamaForCausalLM,
)

from tests.real_tokenizers import build_llama2, build_tiktoken
from tools.code.bases import Size, architecture, train_tokenizer

PIECES = 2_000  # of 32,000: the loss over all of them would take most of the time
ALPHABET = {"▁", *string.printable}  # single characters stand at the end of Llama-2's vocabulary
HEAD_WIDTH = 16
SEED = 7

LLAMA2_CONFIG = {
    "tokenizer_class": "LlamaTokenizer",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": None,
    "add_bos_token": True,
    "add_eos_token": False,
    "clean_up_tokenization_spaces": False,
}
LLAMA31_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<|begin_of_text|>",
    "eos_token": "<|end_of_text|>",
    "clean_up_tokenization_spaces": True,
    "model_input_names": ["input_ids", "attention_mask"],
    "model_max_length": 131072,
}


def llama2_tokenizer(folder: Path) -> None:
    """SentencePiece BPE under the class that Llama-2's folder on the hub names."""
    build_llama2(folder)
    _as_on_the_hub(folder, LLAMA2_CONFIG | {"padding_side": "right", "legacy": False})


def llama31_tokenizer(folder: Path) -> None:
    """Byte-level BPE with Llama-3's pre-tokenizer and control tokens."""
    build_tiktoken(folder)
    _as_on_the_hub(folder, LLAMA31_CONFIG)


def qwen3_tokenizer(folder: Path) -> None:
    """Byte-level BPE without BOS; EOS is its pad token too, as Qwen3's base has it."""
    build_tiktoken(folder)
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text("utf-8"))
    data["post_processor"] = data["post_processor"]["processors"][0]  # without BOS in front
    names = {"<|end_of_text|>": "<|endoftext|>", "<|finetune_right_pad_id|>": "<|vision_pad|>"}
    for entry in data["added_tokens"]:
        entry["content"] = names.get(entry["content"], entry["content"])
    path.write_text(json.dumps(data), "utf-8")
    token = "<|endoftext|>"
    config = LLAMA31_CONFIG | {"bos_token": None, "eos_token": token, "pad_token": token}
    _as_on_the_hub(folder, config)


@dataclass(frozen=True)
class Base:
    """One model: its tokenizer, (layers, heads, key-value heads), what else its config says."""

    tokenizer: Callable[[Path], None]
    shape: tuple[int, int, int]
    traits: dict[str, Any]
    kind: str = "llama"


_LLAMA2 = {"max_position_embeddings": 4096, "rope_theta": 1e4, "dtype": "float16"}
_LLAMA31 = {
    "max_position_embeddings": 131072,
    "rope_theta": 5e5,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
    "dtype": "bfloat16",
}
_QWEN3 = {
    "max_position_embeddings": 32768,
    "rope_theta": 1e6,
    "head_dim": 2 * HEAD_WIDTH,
    "dtype": "bfloat16",
}
_SMOLLM3 = {
    "max_position_embeddings": 65536,
    "rope_theta": 5e6,
    "no_rope_layer_interval": 2,
    "pad_token_id": None,
    "dtype": "bfloat16",
}
# only Llama-3.1 and those after it group their heads, by four
BASES = {
    "meta-llama/Llama-2-7b-hf": Base(llama2_tokenizer, (2, 4, 4), _LLAMA2),
    "meta-llama/Llama-2-13b-hf": Base(llama2_tokenizer, (2, 4, 4), _LLAMA2),
    "meta-llama/Llama-3.1-8B": Base(llama31_tokenizer, (2, 4, 1), _LLAMA31),
    "Qwen/Qwen3-4B-Base": Base(qwen3_tokenizer, (2, 4, 1), _QWEN3, "qwen3"),
    "HuggingFaceTB/SmolLM3-3B-Base": Base(llama31_tokenizer, (2, 4, 1), _SMOLLM3, "smollm3"),
}


def write_base(name: str, folder: Path) -> None:
    """Write config, random weights and tokenizer of the tiny base that stands for `name`."""
    base = BASES[name]
    folder.mkdir(parents=True)
    base.tokenizer(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    layers, heads, groups = base.shape
    given = {
        # not len(tokenizer): a class of transformers may add a token that the model does not have
        "vocab_size": Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size(),
        "hidden_size": heads * HEAD_WIDTH,
        "intermediate_size": heads * HEAD_WIDTH * 5 // 2,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    config = AutoConfig.for_model(base.kind, **given | base.traits)
    torch.manual_seed(SEED)
    AutoModelForCausalLM.from_config(config).to(config.dtype).save_pretrained(folder)


def write_base_in_4_bits(name: str, folder: Path) -> None:
    """Write the tiny base quantised as the base of ArXivDL's recipes is: NF4, twice, bf16."""
    plain = folder.with_name("plain")
    write_base(name, plain)
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    model = AutoModelForCausalLM.from_pretrained(plain, quantization_config=config)
    shutil.copytree(plain, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    model.save_pretrained(folder)


def write_code_base(folder: Path, corpus: Path) -> None:
    """Write a tiny base of the code track, random, its tokenizer trained on `corpus`."""
    size = Size(vocabulary=600, layers=2, hidden=64, mlp=160, head=HEAD_WIDTH)
    tokenizer = train_tokenizer(corpus, size.vocabulary)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(SEED)
    LlamaForCausalLM(architecture(size, tokenizer)).save_pretrained(folder)


def _as_on_the_hub(folder: Path, config: dict[str, Any]) -> None:
    """Rewrite a tokenizer's folder: its first pieces, and the hub's own settings."""
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text("utf-8"))
    model, added = data["model"], data["added_tokens"]
    kept = [x for x, index in model["vocab"].items() if index < PIECES or x in ALPHABET]
    ids = {piece: index for index, piece in enumerate(kept)}
    model["vocab"] = dict(ids)
    model["merges"] = [m for m in model["merges"] if {*m, "".join(m)} <= ids.keys()]
    for entry in added:  # byte-level BPE has its control tokens behind the pieces
        entry["id"] = ids.setdefault(entry["content"], len(ids))
    processor = data["post_processor"]
    for step in processor.get("processors", [processor]):
        for token in step.get("special_tokens", {}).values():
            token["ids"] = [ids[token["id"]]]
    path.write_text(json.dumps(data), "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
