"""A tiny random model with a tokenizer, and runs of made checkpoints on it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from tests.real_tokenizers import build_small
from tools.models import load_base
from tools.recipe import Recipe

WriteAdapter = Callable[..., Path]


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random two-layer Llama with a byte-level tokenizer."""
    folder = tmp_path_factory.mktemp("tiny-base")
    tokenizer = build_small(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,  # far from uniform, so that a shifted label shows
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_base: Path) -> Any:
    """The model of `tiny_base`, loaded; tests leave it as it is."""
    return load_base(tiny_base)


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_base: Path) -> Any:
    """The tokenizer of `tiny_base`."""
    return AutoTokenizer.from_pretrained(tiny_base)


@pytest.fixture
def write_adapter(tiny_base: Path) -> WriteAdapter:
    """Save a random adapter for `tiny_base`, whose dropout would show if it were left on."""

    def write(folder: Path, seed: int = 0, modules: Sequence[str] = ("q_proj", "v_proj")) -> Path:
        torch.manual_seed(seed)
        base = LlamaForCausalLM.from_pretrained(tiny_base)
        config = LoraConfig(
            r=4,
            lora_dropout=0.5,
            target_modules=list(modules),
            task_type="CAUSAL_LM",
            init_lora_weights=False,  # lora_B is random too
        )
        get_peft_model(base, config).save_pretrained(folder)
        return folder

    return write


@pytest.fixture
def write_checkpoint(write_adapter: WriteAdapter) -> WriteAdapter:
    """Save a checkpoint as the trainer leaves it: adapter, state, and pickles to keep away from."""

    def write(run: Path, step: int, *, loss: float = 2.0, seed: int = 0, **options: Any) -> Path:
        folder = write_adapter(run / f"checkpoint-{step}", seed or step, **options)
        history = [{"step": 1, "eval_loss": 99.0}, {"step": step, "eval_loss": loss}]
        state = {"epoch": step / 10, "global_step": step, "log_history": history}
        (folder / "trainer_state.json").write_text(json.dumps(state))
        return folder

    return write


@pytest.fixture
def rows() -> list[dict[str, str]]:
    """Prepared rows of different lengths."""
    return [
        {
            "id": f"count-{number}",
            "instruction": "Count the words.",
            "input": "word " * number,
            "code": "def count(text):\n    return {'n': size(text), 'answer': size(text)}\n\n"
            f">>> count('{'word ' * number}')",
            "output": f"{{'n': {number}, 'answer': {number}}}",
        }
        for number in range(5)
    ]


@pytest.fixture
def recipe(tmp_path: Path, tiny_base: Path, rows: list[dict[str, str]]) -> Recipe:
    """A recipe of `tiny_base` with validation rows; its run folder is not there yet."""
    validation = tmp_path / "val.jsonl"
    validation.write_text("".join(json.dumps(row) + "\n" for row in rows))
    entry = {
        "path": str(validation),
        "ds_type": "json",
        "split": "train",
        "type": "prompt_strategies.cogex",
    }
    values = {
        "base_model": str(tiny_base),
        "adapter": "lora",
        "sequence_len": 512,
        "test_datasets": [entry],
        "output_dir": str(tmp_path / "run"),
    }
    path = tmp_path / "recipe.yml"
    path.write_text(json.dumps(values))  # JSON is YAML
    return Recipe(path, values)
