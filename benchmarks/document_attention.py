"""Attention of packed rows on a CPU, document by document, as Axolotl computes it on a GPU.

There its `sdpa_varlen`, on by itself, skips what one document of a pack would see of another. On a
CPU it leaves that to a mask: all pairs of a pack are computed, and most thrown away.
"""

from typing import Any

import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


def install() -> None:
    """Put it in the place of transformers' `sdpa`, for rows without an attention mask."""
    ALL_ATTENTION_FUNCTIONS.register("sdpa", attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register("sdpa", mask)


def mask(*arguments: Any, **named: Any) -> torch.Tensor | None:
    """No mask where there is no padding: position ids say where documents begin."""
    return None if named.get("attention_mask") is None else sdpa_mask(*arguments, **named)


def attend(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    attention_mask: torch.Tensor | None, **named: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """Attend within each document of a pack; query, key, value (batch, heads, tokens, width)."""
    if attention_mask is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **named)
    assert len(query) == 1, "a pack is a micro batch of its own"
    starts = (named["position_ids"][0] == 0).nonzero().flatten().tolist()
    documents = [slice(*ends) for ends in zip(starts, [*starts[1:], query.shape[2]], strict=True)]
    parts = [
        sdpa_attention_forward(
            module, query[:, :, part], key[:, :, part], value[:, :, part], None, **named
        )[0]
        for part in documents
    ]
    return torch.cat(parts, dim=1), None
