"""Rows as Axolotl gets them, of prompts and completions."""

from collections.abc import Sequence
from typing import Any

from prompt_strategies.tokenise import IGNORE_INDEX, encode_texts


def encode_batch(
    tokenizer: Any,
    prompts: Sequence[str],
    completions: Sequence[str],
    *,
    trained_from: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, list[list[int]]]:
    """Ids, mask and labels; loss starts at the completion, and rows are named by their index."""
    texts = [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)]
    ends = [len(prompt) for prompt in prompts]
    names = [str(index) for index in range(len(texts))] if names is None else names
    rows = encode_texts(tokenizer, texts, ends, names, trained_from)
    return {
        "input_ids": [list(ids) for ids, _ in rows],
        "attention_mask": [[1] * len(ids) for ids, _ in rows],
        "labels": [[IGNORE_INDEX] * masked + list(ids[masked:]) for ids, masked in rows],
    }
