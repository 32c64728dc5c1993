"""Makes a Llama of random weights with a real SentencePiece vocabulary of 32,000, and adapters."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, set_seed

from tests import real_tokenizers
from tools.models import load_base


def llama3_tokenizer(folder: Path) -> Any:
    """Write a tokenizer of tiktoken's kind with 128,000 tokens."""
    real_tokenizers.TIKTOKEN_SIZE = 128_000
    return real_tokenizers.build_tiktoken(folder)


def make_llama(
    folder: Path,
    hidden: int,
    layers: int,
    write_tokenizer: Callable[[Path], Any] = real_tokenizers.build_llama2_hub,
) -> None:
    """Write model and tokenizer to a new folder; the same numbers make the same weights."""
    folder.mkdir()
    tokenizer = write_tokenizer(folder)
    set_seed(42)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=hidden * 8 // 3,
        num_hidden_layers=layers, num_attention_heads=max(1, hidden // 64),
        max_position_embeddings=4096,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)


def write_checkpoint(folder: Path, base: str, values: dict[str, Any], number: int) -> None:
    """Write what training leaves: an adapter, here of random weights, and the trainer's state."""
    lora = LoraConfig(
        r=values["lora_r"], lora_alpha=values["lora_alpha"], init_lora_weights=False,
        target_modules=values["lora_target_modules"], task_type="CAUSAL_LM",
    )  # fmt: skip
    set_seed(number)
    shutil.rmtree(folder, ignore_errors=True)
    get_peft_model(load_base(base), lora).save_pretrained(folder)
    state = {"global_step": number, "epoch": float(number), "log_history": []}
    (folder / "trainer_state.json").write_text(json.dumps(state))
