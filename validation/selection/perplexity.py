"""Exact perplexity: exp(sum of NLL over all trained tokens / their number).

The trainer's `eval_loss` averages batches, so it depends on batch size, padding and the number of
ranks; this does not. NLL is in nats, computed per token in fp32 and summed in float64, with one
division at the end.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from prompt_strategies.tokenise import IGNORE_INDEX

# a GPU wants large matrices; a CPU is faster where its caches hold a batch
TOKEN_BUDGET = {"cuda": 8192, "cpu": 1024}

Tokens = Sequence[int] | NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class ScoringRow:
    """One tokenised row: two int32 tensors of shape (tokens,); label -100 carries no loss."""

    input_ids: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def of(cls, input_ids: Tokens, labels: Tokens) -> Self:
        """Hold a row in 8 bytes a token; Python lists take up to ten times that."""
        return cls(
            torch.tensor(input_ids, dtype=torch.int32), torch.tensor(labels, dtype=torch.int32)
        )

    @property
    def trained_tokens(self) -> int:
        """How many labels carry loss; the first token is never predicted."""
        return int((self.labels[1:] != IGNORE_INDEX).sum())


@dataclass(frozen=True)
class Score:
    """The NLL summed over `tokens` trained tokens, in nats."""

    nll_sum: float
    tokens: int

    @property
    def perplexity(self) -> float:
        """exp(nll_sum / tokens); infinite where that overflows, NaN where the sum is.

        Raises ValueError if no token carries loss.
        """
        if not self.tokens:
            raise ValueError("no token carries loss: there is nothing to score")
        try:
            return math.exp(self.nll_sum / self.tokens)
        except OverflowError:
            return math.inf


def score(model: Any, rows: Sequence[ScoringRow], token_budget: int | None = None) -> Score:
    """Sum the NLL of all trained tokens of `rows`, as `score_rows` gives it row by row."""
    nlls = score_rows(model, rows, token_budget)
    return Score(math.fsum(nlls), sum(row.trained_tokens for row in rows))


def score_rows(
    model: Any, rows: Sequence[ScoringRow], token_budget: int | None = None
) -> list[float]:
    """Return the NLL of each row's trained tokens under a causal model in evaluation mode.

    Rows are batched by length; a batch holds at most `token_budget` tokens, padding counted, or
    one row; the default is `TOKEN_BUDGET` of the model's device. A row without a token that carries
    loss scores 0.
    """
    budget = token_budget or TOKEN_BUDGET.get(model.device.type, TOKEN_BUDGET["cuda"])
    nlls = [0.0] * len(rows)
    with torch.inference_mode():
        for places in batches([len(row.input_ids) for row in rows], budget):
            made = _batch_nll(model, [rows[place] for place in places])
            for place, nll in zip(places, made, strict=True):
                nlls[place] = nll
    return nlls


def batches(lengths: Sequence[int], token_budget: int) -> Iterator[list[int]]:
    """Group places of similar length so that rows x longest row stays within `token_budget`."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[place] > token_budget:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _batch_nll(model: Any, batch: Sequence[ScoringRow]) -> list[float]:
    ids = pad_sequence([row.input_ids for row in batch], batch_first=True).long()
    labels = pad_sequence([row.labels for row in batch], True, IGNORE_INDEX).long()
    targets = labels[:, 1:]
    # logits only where at least one row of the batch carries loss: the head is the largest matrix
    positions = (targets != IGNORE_INDEX).any(dim=0).nonzero().flatten()
    if len(positions) == 0:
        return [0.0] * len(batch)
    where = model.device
    # no attention mask: padding is behind a row, where causal attention does not look, and
    # without one the kernels skip the half of the matrix that causality leaves out
    logits = model(
        input_ids=ids.to(where),
        logits_to_keep=positions.to(where),
        use_cache=False,
    ).logits
    return list(map(_row_nll, logits, targets[:, positions].to(where)))


def _row_nll(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """NLL of one row's trained tokens; in fp32, which one row of a large vocabulary has room for.

    Shapes: logits (positions, vocabulary), targets (positions,).
    """
    trained = targets != IGNORE_INDEX
    nll = cross_entropy(logits[trained].float(), targets[trained], reduction="none")
    return float(nll.double().sum())
