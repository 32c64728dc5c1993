"""Makes a Llama of random weights with a real SentencePiece vocabulary of 32,000."""

from pathlib import Path

from transformers import LlamaConfig, LlamaForCausalLM, set_seed

from tests import real_tokenizers


def make_llama(folder: Path, hidden: int, layers: int) -> None:
    """Write model and tokenizer to a new folder; the same numbers make the same weights."""
    folder.mkdir()
    tokenizer = real_tokenizers.build_llama2_hub(folder)
    set_seed(42)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=hidden * 8 // 3,
        num_hidden_layers=layers, num_attention_heads=hidden // 64, max_position_embeddings=4096,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
