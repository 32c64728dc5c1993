"""The score of batched rows is that of a plain loop over rows, in float64."""

import copy
import math
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from prompt_strategies.tokenise import IGNORE_INDEX
from tools.models import add_adapter, load_base
from validation.selection.perplexity import Score, ScoringRow, batches, score


def made_rows(seed: int = 0) -> list[ScoringRow]:
    """Rows of 1 to 40 tokens, trained whole, from somewhere on, at the last token, or nowhere."""
    chance = random.Random(seed)
    rows = []
    for _ in range(12):
        ids = [chance.randrange(300) for _ in range(chance.randint(1, 40))]
        start = chance.choice([0, len(ids) // 2, len(ids) - 1, len(ids)])
        rows.append(ScoringRow.of(ids, [IGNORE_INDEX] * start + ids[start:]))
    return rows


ROWS = made_rows()
NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}


def plain_score(model: Any, rows: list[ScoringRow]) -> Score:
    """One row at a time, one token at a time, all in float64."""
    model = copy.deepcopy(model).double()
    total, tokens = 0.0, 0
    for row in rows:
        with torch.inference_mode():
            logits = model(input_ids=row.input_ids[None].long()).logits[0]
        for position, label in enumerate(row.labels.tolist()):
            if position > 0 and label != IGNORE_INDEX:
                total -= float(torch.log_softmax(logits[position - 1], dim=0)[label])
                tokens += 1
    return Score(total, tokens)


@pytest.fixture(scope="module")
def expected(tiny_model: Any) -> Score:
    return plain_score(tiny_model, ROWS)


@pytest.mark.parametrize("token_budget", [1, 50, 10_000])
def test_equals_plain_loop_in_any_order(
    tiny_model: Any, expected: Score, token_budget: int
) -> None:
    for rows in (ROWS, random.Random(1).sample(ROWS, len(ROWS))):
        result = score(tiny_model, rows, token_budget)
        assert result.nll_sum == pytest.approx(expected.nll_sum, rel=1e-6)
        assert result.tokens == expected.tokens


def test_equals_plain_loop_with_adapter(tiny_base: Path, tmp_path: Path, write_adapter) -> None:
    base = load_base(tiny_base)
    before = score(base, ROWS)
    model = add_adapter(base, write_adapter(tmp_path / "adapter"))
    result = score(model, ROWS, 100)
    assert result.nll_sum == pytest.approx(plain_score(model, ROWS).nll_sum, rel=1e-6)
    assert abs(result.perplexity / before.perplexity - 1) > 1e-3  # the adapter is at work


@pytest.mark.parametrize("adapted", [False, True])
def test_equals_plain_loop_on_a_quantised_base(
    tiny_base: Path, tmp_path: Path, write_adapter, adapted: bool
) -> None:
    model, plain = load_base(tiny_base, NF4), load_base(tiny_base, NF4).dequantize()
    if adapted:
        adapter = write_adapter(tmp_path / "adapter")
        model, plain = add_adapter(model, adapter), add_adapter(plain, adapter)
    expected = plain_score(plain, ROWS).nll_sum
    for token_budget in (1, 50, 10_000):
        result = score(model, ROWS, token_budget)
        assert result.nll_sum == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("token_budget", "positions"), [(1, 4 + 2), (100, 2 * 5)])
def test_logits_only_where_a_row_of_the_batch_is_trained(
    tiny_model: Any, token_budget: int, positions: int
) -> None:
    """Labels 6 to 9 of one row and 5 and 6 of the other: together five positions."""
    rows = [
        ScoringRow.of(range(10), [IGNORE_INDEX] * 6 + [6, 7, 8, 9]),
        ScoringRow.of(range(9), [IGNORE_INDEX] * 5 + [5, 6] + [IGNORE_INDEX] * 2),
    ]
    seen = []
    hook = tiny_model.lm_head.register_forward_hook(
        lambda _, __, logits: seen.append(logits.shape[0] * logits.shape[1])
    )
    try:
        score(tiny_model, rows, token_budget)
    finally:
        hook.remove()
    assert sum(seen) == positions


def test_sum_is_in_float64() -> None:
    """Summed in float32, equal losses would give away their last digits."""

    class Uniform(torch.nn.Module):
        device = torch.device("cpu")

        def forward(self, input_ids: torch.Tensor, logits_to_keep: torch.Tensor, **_: Any) -> Any:
            return SimpleNamespace(logits=torch.zeros(len(input_ids), len(logits_to_keep), 7))

    rows = [ScoringRow.of([5, 6, 5, 6], [IGNORE_INDEX, 6, 5, 6])] * 1001
    one = float(torch.tensor(math.log(7), dtype=torch.float32))
    assert score(Uniform(), rows, 10_000).nll_sum == pytest.approx(3003 * one, rel=1e-12)


def test_label_of_first_token_never_counts(tiny_model: Any) -> None:
    with_first = ScoringRow.of([5, 6, 7], [5, 6, 7])
    without = ScoringRow.of([5, 6, 7], [IGNORE_INDEX, 6, 7])
    assert score(tiny_model, [with_first]) == score(tiny_model, [without])
    assert with_first.trained_tokens == 2


@pytest.mark.parametrize("ids, labels", [([5], [5]), ([5, 6], [5, IGNORE_INDEX])])
def test_nothing_to_score(tiny_model: Any, ids: list[int], labels: list[int]) -> None:
    empty = score(tiny_model, [ScoringRow.of(ids, labels)])
    assert empty == Score(0.0, 0)
    with pytest.raises(ValueError, match="no token carries loss"):
        empty.perplexity  # noqa: B018


def test_batches_are_filled_and_a_row_takes_eight_bytes_a_token() -> None:
    row = ScoringRow.of(range(10), range(10))
    assert [len(batch) for batch in batches([10] * 6, 30)] == [3, 3]
    assert row.input_ids.nbytes + row.labels.nbytes == 80


def test_perplexity_is_the_exponential_of_the_mean() -> None:
    assert Score(6.0, 3).perplexity == pytest.approx(math.e**2)
    assert Score(1e6, 1).perplexity == math.inf  # beyond floats
    assert math.isnan(Score(math.nan, 1).perplexity)
