"""How Axolotl puts the rows of an epoch into batches: its own samplers, run on lengths only."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from axolotl.utils.samplers import MultipackBatchSampler
from axolotl.utils.schemas.enums import ATTN_IMPLS_SUPPORTING_PACKING, attn_impl_base
from numpy.typing import NDArray
from torch.utils.data import RandomSampler
from transformers.trainer_pt_utils import LengthGroupedSampler

from tools.recipe import Recipe, number, whole

Lengths = NDArray[np.int32]
Rows = Sequence[Sequence[int]]  # the rows of one batch, as the lengths of the examples in each

PAD_TO = 64  # Axolotl pads to a multiple of this by default (core/builders/causal.py)
GROUP_SIZE, BIN_SIZE = 100_000, 200  # Axolotl's defaults for packing (utils/schemas/config.py)


@dataclass(frozen=True)
class Batches:
    """The micro batches of one epoch, over all ranks."""

    rows: int  # of the dataset
    count: int
    examples: int  # rows in the batches: packing leaves out a last batch that is not full
    example_tokens: int
    tokens: int  # padding included
    longest: int  # tokens of the largest micro batch, padding included
    pairs: int  # sum of the squared lengths over which attention is computed

    @property
    def padding(self) -> float:
        """The share of all tokens that is padding."""
        return (self.tokens - self.example_tokens) / self.tokens


def kept(recipe: Recipe, lengths: Lengths) -> Lengths:
    """Return the lengths of the rows that are trained on, as Axolotl's `handle_long_seq` has it.

    It drops rows of one token, and those over `sequence_len` unless it is told to cut them.
    """
    lengths = lengths[lengths >= whole(recipe, "min_sample_len", 2)]
    if str(recipe.values.get("excess_length_strategy")).lower() == "truncate":
        return np.minimum(lengths, recipe.sequence_len)
    return lengths[lengths <= recipe.sequence_len]


def batch(recipe: Recipe, lengths: Lengths) -> Batches:
    """Put rows of these lengths, at least one, into the micro batches of an epoch."""
    if recipe.values.get("sample_packing"):
        return _count(recipe, len(lengths), _packed(recipe, lengths))
    ordered = lengths[_order(recipe, lengths)].tolist()
    size = whole(recipe, "micro_batch_size")
    micro = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    if recipe.values.get("dataloader_drop_last") and len(micro[-1]) < size:
        micro.pop()
    return _count(recipe, len(lengths), [[[length] for length in examples] for examples in micro])


def padded(recipe: Recipe, length: int) -> int:
    """Return the width of a batch whose longest row has `length` tokens."""
    multiple = _pad_multiple(recipe)
    return -(-length // multiple) * multiple


def has_varlen_attention(recipe: Recipe) -> bool:
    """Whether attention goes over each example by itself; sdpa goes over the padded row."""
    name = attn_impl_base(recipe.values.get("attn_implementation"))
    return name in ATTN_IMPLS_SUPPORTING_PACKING


def _order(recipe: Recipe, lengths: Lengths) -> list[int]:
    """The rows in the order of an epoch, by the trainer's samplers."""
    if not recipe.values.get("group_by_length"):
        return list(_shuffled(recipe, lengths))
    step = whole(recipe, "micro_batch_size") * whole(recipe, "gradient_accumulation_steps")
    return list(LengthGroupedSampler(step, lengths=lengths.tolist(), generator=_seeded(recipe)))


def _packed(recipe: Recipe, lengths: Lengths) -> list[Rows]:
    """Axolotl's packs: a batch of them, or one as long as a batch if attention tells rows apart."""
    size, longest = whole(recipe, "micro_batch_size"), recipe.sequence_len
    several = recipe.values.get("multipack_real_batches")
    several = not has_varlen_attention(recipe) if several is None else several
    sampler = MultipackBatchSampler(
        _shuffled(recipe, lengths),
        batch_size=size if several else 1,
        batch_max_len=longest if several else size * longest,
        lengths=lengths,
        group_size=whole(recipe, "sample_packing_group_size", GROUP_SIZE),
        bin_size=whole(recipe, "sample_packing_bin_size", BIN_SIZE),
        sequential=bool(recipe.values.get("sample_packing_sequentially")),
        drop_last=True,
    )
    return [[lengths[pack].tolist() for pack in packs] for packs in sampler.generate_batches()]


def _shuffled(recipe: Recipe, lengths: Lengths) -> RandomSampler:
    return RandomSampler(range(len(lengths)), generator=_seeded(recipe))


def _seeded(recipe: Recipe) -> torch.Generator:
    """The recipe's seed; the order is not the run's own, which has drawn other numbers before."""
    return torch.Generator().manual_seed(int(number(recipe, "seed", 42)))


def _count(recipe: Recipe, rows: int, batches: Sequence[Rows]) -> Batches:
    lengths = [length for batch in batches for row in batch for length in row]
    shapes = [(len(batch), padded(recipe, max(map(sum, batch)))) for batch in batches]
    squares = (height * width**2 for height, width in shapes)
    if has_varlen_attention(recipe):
        squares = (length**2 for length in lengths)
    return Batches(
        rows=rows,
        count=len(batches),
        examples=len(lengths),
        example_tokens=sum(lengths),
        tokens=sum(height * width for height, width in shapes),
        longest=max((height * width for height, width in shapes), default=0),
        pairs=sum(squares),
    )


def _pad_multiple(recipe: Recipe) -> int:
    """What the collator pads to a multiple of (core/builders/causal.py)."""
    multiple = max(1, whole(recipe, "pad_to_multiple_of", PAD_TO))
    full = recipe.values.get("pad_to_sequence_len")
    if full is None and recipe.values.get("sample_packing"):
        full = True  # utils/schemas/validation.py
    if full:
        return -(-recipe.sequence_len // multiple) * multiple
    return multiple if full is None else 1
