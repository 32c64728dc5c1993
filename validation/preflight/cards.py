"""The GPUs that preflight can plan for."""

from dataclasses import dataclass, replace

from tools.errors import UserError


@dataclass(frozen=True)
class Card:
    """One GPU: memory in GiB, dense bf16 matrix throughput in TFLOP/s (fp32 accumulation)."""

    name: str
    memory_gib: float
    bf16_tflops: float  # 0 if not known
    compute_capability: str


# the makers' data sheets; figures "with sparsity" are halved
CARDS = {
    "a6000": Card("RTX A6000", 48, 154.8, "sm_86"),
    "a100-80g": Card("A100 80 GB", 80, 312, "sm_80"),
    "h100": Card("H100 SXM 80 GB", 80, 989, "sm_90"),
    "h200": Card("H200 141 GB", 141, 989, "sm_90"),
    "rtx4090": Card("GeForce RTX 4090", 24, 165.2, "sm_89"),
    "rtx5090": Card("GeForce RTX 5090", 32, 209.5, "sm_120"),
}


def planned_card(
    name: str | None, memory_gib: float | None, header_gb: float | None
) -> Card | None:
    """Return the card of that name, with that memory; the header's where both are None.

    Raises UserError naming the cards there are.
    """
    if name is None:
        return card_of(header_gb) if memory_gib is None else _any_card(memory_gib)
    if name not in CARDS:
        raise UserError(
            f"--gpu {name}: is not known; choose one of {', '.join(CARDS)}, or give its memory "
            "with --gpu-memory"
        )
    if memory_gib is None:
        return CARDS[name]
    return replace(
        CARDS[name], name=f"{CARDS[name].name} with {memory_gib:g} GiB", memory_gib=memory_gib
    )


def card_of(memory_gb: float | None) -> Card | None:
    """Return the slowest card with the memory a recipe's header names; None for a CPU recipe."""
    if memory_gb is None:
        return None
    cards = [card for card in CARDS.values() if card.memory_gib == memory_gb]
    return min(cards, key=lambda card: card.bf16_tflops, default=_any_card(memory_gb))


def _any_card(memory_gib: float) -> Card:
    """A card of which only the memory is known, and that it has bf16."""
    return Card(f"GPU of {memory_gib:g} GiB", memory_gib, 0, "sm_80")
