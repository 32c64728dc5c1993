"""Tiny random bases of any architecture of transformers, with a tokenizer of any kind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from tests.engine.tiny_bases import llama2_tokenizer, llama31_tokenizer
from tests.real_tokenizers import build_small

SIZES = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 96, "max_position_embeddings": 1024, "head_dim": 16,
}  # fmt: skip


def chatml_tokenizer(folder: Path) -> None:
    """Byte-level BPE whose EOS and pad token are each other's in another family; no BOS."""
    llama31_tokenizer(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (folder / name).read_text("utf-8")
        renamed = text.replace("<|end_of_text|>", "<|im_end|>")
        renamed = renamed.replace("<|finetune_right_pad_id|>", "<|endoftext|>")
        (folder / name).write_text(renamed, "utf-8")
    config = folder / "tokenizer_config.json"
    more = {"pad_token": "<|endoftext|>", "chat_template": "{{ messages }}"}
    config.write_text(json.dumps(json.loads(config.read_text("utf-8")) | more), "utf-8")


def gpt2_tokenizer(folder: Path) -> None:
    """Byte-level BPE with one control token, which is EOS and all else, and no BOS in front."""
    build_small(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        data = json.loads((folder / name).read_text("utf-8"))
        data.pop("pad_token", None)
        if "added_tokens" in data:
            data["added_tokens"] = [
                each for each in data["added_tokens"] if each["content"] != "<|pad|>"
            ]
            vocabulary = data["model"]["vocab"]
            vocabulary["unlikely"] = vocabulary.pop("<|pad|>")
        data.pop("added_tokens_decoder", None)
        (folder / name).write_text(json.dumps(data), "utf-8")


TOKENIZERS: dict[str, Callable[[Path], Any]] = {
    "sentencepiece": llama2_tokenizer,
    "chatml": chatml_tokenizer,
    "gpt2": gpt2_tokenizer,
}


def write_any_base(folder: Path, kind: str, tokenizer: str, **changes: Any) -> Path:
    """Write config, random weights and tokenizer; return the folder."""
    folder.mkdir(parents=True)
    TOKENIZERS[tokenizer](folder)
    made = AutoTokenizer.from_pretrained(folder)
    ids = {f"{name}_token_id": getattr(made, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    config = AutoConfig.for_model(kind, vocab_size=len(made), **SIZES | ids | changes)
    torch.manual_seed(7)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder
