"""How long training an adapter takes: an estimate from operations and one utilisation."""

from tools.recipe import Recipe
from validation.preflight.architecture import Architecture
from validation.preflight.batches import Batches
from validation.preflight.cards import Card
from validation.preflight.memory import is_checkpointed

# The share of a card's dense bf16 throughput that training reaches: a calibration on the paper's
# two run times (12 h for 7B and 20 h for 13B on two A6000), not a measurement. Its assumption is
# 530 tokens a row, because the paper gives none: between the 313 of data/sample (with a tokenizer
# of Llama-2's kind) and the 907 of the published file if all its 160 MB / 52,000 rows were trained
# on (3.39 bytes a token, as in data/sample), their geometric mean. Twice the tokens would take
# twice the hours. With it the estimates are 11.1 h and 21.6 h.
UTILISATION = 0.43


def estimate_hours(
    recipe: Recipe, built: Architecture, batches: Batches, epochs: float, card: Card, gpus: int
) -> float:
    """Estimate the hours of training on `gpus` cards; evaluation is left out."""
    operations = epoch_operations(built, batches, checkpointing=is_checkpointed(recipe))
    return operations * epochs / (gpus * card.bf16_tflops * 1e12 * UTILISATION) / 3600


def epoch_operations(built: Architecture, batches: Batches, *, checkpointing: bool) -> int:
    """Count the floating-point operations of one epoch over a frozen base.

    A matrix of P parameters takes 2P for each token forward (Kaplan et al., arXiv 2001.08361,
    section 2.1), 2P for the gradient of its input and, with checkpointing, 2P to go forward again,
    which the head is spared; no gradient of a frozen matrix is computed. Attention takes 4 times
    the width for each pair of tokens and layer forward, and twice that backward (PaLM, arXiv
    2204.02311, appendix B); as there the causal half is not left out. The adapter, below 1%, is.
    """
    config = built.config
    head = config.vocab_size * config.hidden_size
    width = config.num_hidden_layers * built.widths.attention
    forward = 2 if checkpointing else 1
    a_token = 2 * (built.active * (forward + 1) + head * 2)
    return a_token * batches.tokens + 4 * width * (forward + 2) * batches.pairs
