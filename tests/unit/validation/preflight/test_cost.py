"""Preflight's cost section: the batch, micro batches and steps, beside the engine's own."""

import gc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from accelerate.data_loader import BatchSamplerShard
from axolotl.utils.dict import DictDefault
from datasets import Dataset
from torch.utils.data import BatchSampler
from transformers import Trainer, TrainingArguments

from tools.errors import UserError
from tools.recipe import Recipe, read_recipe
from validation.preflight.architecture import load_config
from validation.preflight.batches import Batches, Lengths, batch, kept
from validation.preflight.cards import CARDS, planned_card
from validation.preflight.cost import check_cost
from validation.preflight.memory import GIB
from validation.preflight.schedule import (
    steps_per_epoch,
    total_steps,
    warmup_steps,
)
from validation.verdict import VerdictRow

RECIPES = Path(__file__).parents[4] / "recipes"
A6000 = CARDS["a6000"]
PACKED = {"sample_packing": True, "packs_per_step": 16, "micro_batch_size": 1}
LORA = {
    "adapter": "lora",
    "lora_r": 16,
    "lora_alpha": 32,
    "lora_dropout": 0.05,
    "lora_target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"],
}


@pytest.fixture(scope="module", autouse=True)
def small_heap() -> Iterator[None]:
    """Axolotl collects garbage after each packing, which takes long on all that is imported."""
    gc.freeze()
    yield
    gc.unfreeze()


def recipe(**values: Any) -> Recipe:
    given = {"sequence_len": 2048, "attn_implementation": "sdpa", "seed": 42, **LORA}
    given |= {"examples_per_step": 32, "packs_per_step": 16}
    return Recipe(Path("r.yml"), given | values)


def lengths(*values: int) -> Lengths:
    return np.array(values, dtype=np.int32)


def cost(
    given: Recipe, rows: Lengths | None, gpus: int = 2, **options: Any
) -> dict[str, VerdictRow]:
    verdicts = check_cost(given, rows, **{"card": None, "gpus": gpus, **options})
    return {row.name: row for row in verdicts}


# the batch of an optimizer step


@pytest.mark.parametrize(
    ("values", "gpus", "value"),
    [
        ({}, 2, "32 examples = 4 (micro) x 4 (accumulation) x 2 (ranks)"),
        (PACKED, 2, "16 packs = 1 (micro) x 8 (accumulation) x 2 (ranks)"),
    ],
)
def test_the_batch_is_the_same_on_any_number_of_gpus(
    values: dict[str, Any], gpus: int, value: str
) -> None:
    found = cost(recipe(**{"micro_batch_size": 4, **values}), None, gpus)
    assert (found["batch"].verdict, found["batch"].found) == ("ok", value)
    assert found["steps and tokens"].verdict == "note"  # the rows' lengths are not known


def test_a_batch_that_cannot_be_kept_fails_alone() -> None:
    found = cost(recipe(micro_batch_size=4), lengths(10), gpus=16)
    assert list(found) == ["batch"] and found["batch"].verdict == "fail"
    assert "set micro_batch_size to 2" in found["batch"].todo


@pytest.mark.parametrize(
    ("packs", "length", "gpus", "examples", "advice"),
    [
        (8, 500, 2, 32, ""),  # four rows in each pack
        (10, 500, 2, 40, "set packs_per_step to 8, which gives 32.0"),
        (4, 290, 1, 28, "set packs_per_step to 5, which gives 35.0"),  # seven in each
    ],
)
def test_packed_examples_are_as_near_as_they_can_be(
    packs: int, length: int, gpus: int, examples: int, advice: str
) -> None:
    given = recipe(sample_packing=True, packs_per_step=packs)
    rows = lengths(*[length] * (200_000 // length // 84 * 84))
    row = cost(given, rows, gpus)["examples per step"]
    assert row.figures["examples_per_step"] == pytest.approx(examples, rel=0.01)
    assert (row.verdict, row.todo) == ("fail" if advice else "ok", advice)


# batches


@pytest.mark.parametrize(
    ("values", "tokens"),
    [
        ({}, 2 * 128),  # the longest row, in steps of 64
        ({"pad_to_sequence_len": True, "sequence_len": 200}, 2 * 256),
        ({"pad_to_sequence_len": False}, 2 * 70),
        ({"pad_to_multiple_of": 8}, 2 * 72),
        ({"attn_implementation": "flash_attention_2"}, 2 * 128),
    ],
)
def test_padding_follows_the_recipe(values: dict[str, Any], tokens: int) -> None:
    found = batch(recipe(micro_batch_size=2, **values), lengths(10, 70))
    assert (found.count, found.example_tokens, found.tokens, found.longest) == (
        1,
        80,
        tokens,
        tokens,
    )
    assert found.padding == (tokens - 80) / tokens
    if not values:
        assert found.pairs == 2 * 128**2
    if values.get("attn_implementation"):  # over examples, not padding
        assert found.pairs == 10**2 + 70**2


def test_grouping_by_length_puts_like_rows_together() -> None:
    given = recipe(examples_per_step=8, micro_batch_size=2)
    rows = lengths(64, 128, 64, 128, 64, 128, 64, 128)
    assert cost(given, rows, gpus=1)["padding"].figures["padding"] > 0
    given.values["group_by_length"] = True
    assert cost(given, rows, gpus=1)["padding"].figures["padding"] == 0


def test_packs_hold_what_fits() -> None:
    rows = lengths(*[500] * 100)
    one = batch(recipe(sample_packing=True), rows)
    assert (one.count, one.examples, one.tokens) == (25, 100, 25 * 2048)
    assert one.padding == 1 - 50_000 / 51_200
    two = batch(recipe(sample_packing=True, micro_batch_size=2), rows)
    assert (two.count, two.examples) == (12, 96)  # the 25th pack has no partner
    long = batch(
        recipe(sample_packing=True, micro_batch_size=2, attn_implementation="flash_attention_2"),
        rows,
    )
    assert (long.count, long.examples, long.longest) == (13, 100, 4096)  # eight in each
    mixed = np.random.default_rng(0).integers(20, 900, 500).astype(np.int32)
    found = batch(recipe(sample_packing=True, pad_to_sequence_len=False), mixed)
    assert (found.examples, found.example_tokens) == (500, mixed.sum())
    assert found.tokens == found.example_tokens  # one pack in each batch needs no padding


def test_rows_over_the_length_are_dropped_and_counted_or_cut() -> None:
    rows = lengths(1, 2, 2048, 2049)
    assert kept(recipe(), rows).tolist() == [2, 2048]
    assert kept(recipe(excess_length_strategy="truncate"), rows).tolist() == [2, 2048, 2048]
    row = cost(recipe(micro_batch_size=2), lengths(100, 3000, 100, 100, 1))["tokens"]
    assert (row.figures["dropped"], row.figures["tokens_per_epoch"]) == (2, 300)
    assert "2 of 5 rows dropped" in row.found


@pytest.mark.parametrize(
    ("values", "rows"),
    [
        ({}, lengths(3000)),
        ({"sample_packing": True, "micro_batch_size": 2}, lengths(100)),
        ({"dataloader_drop_last": True, "micro_batch_size": 2}, lengths(100)),
    ],
)
def test_too_few_rows_for_one_batch_fail(values: dict[str, Any], rows: Lengths) -> None:
    assert cost(recipe(**values), rows)["rows"].verdict == "fail"


# steps, beside the engine's own


@pytest.mark.parametrize("rows", [31, 33, 49_760])
@pytest.mark.parametrize("gpus", [1, 3])
@pytest.mark.parametrize("drop_last", [False, True])
def test_steps_of_an_epoch_are_the_trainers(rows: int, gpus: int, drop_last: bool) -> None:
    sampler = BatchSampler(range(rows), 4, drop_last)
    shard = BatchSamplerShard(sampler, gpus, 0)
    arguments = SimpleNamespace(max_steps=-1, num_train_epochs=5, gradient_accumulation_steps=4)
    trainer = SimpleNamespace(
        get_total_train_batch_size=lambda _: 16 * gpus,
        get_sp_size=lambda: 1,
        num_examples=lambda _: rows,
    )
    values = Trainer.set_initial_training_values(trainer, arguments, [None] * len(shard))
    given = recipe(gradient_accumulation_steps=4, dataloader_drop_last=drop_last)
    assert steps_per_epoch(given, batches(len(sampler), rows), gpus) == values[1]


def batches(count: int, rows: int) -> Batches:
    return Batches(rows, count, rows, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "values",
    [
        {"micro_batch_size": 4, "gradient_accumulation_steps": 4},
        {"micro_batch_size": 4, "gradient_accumulation_steps": 4, "num_epochs": 1.5},
        {"sample_packing": True, "micro_batch_size": 2, "dataloader_drop_last": True},
        {"sample_packing": True, "micro_batch_size": 2, "attn_implementation": "flash_attention_2"},
    ],
)
@pytest.mark.parametrize("gpus", [1, 2])
def test_steps_in_all_are_those_of_the_engine(values: dict[str, Any], gpus: int) -> None:
    given = recipe(**{"num_epochs": 5, "micro_batch_size": 1, **values})
    rows = 203
    dataset = Dataset.from_dict(
        {"input_ids": [[1] * 500] * rows, "labels": [[1] * 500] * rows, "length": [500] * rows}
    )
    defaults = {"sample_packing_group_size": 100_000, "sample_packing_bin_size": 200}
    from axolotl.utils.trainer import calculate_total_num_steps  # takes seconds to import

    cfg = DictDefault(given.values | defaults)
    cfg.gradient_accumulation_steps = given.values.get("gradient_accumulation_steps", 1)
    cfg.batch_size = cfg.micro_batch_size * cfg.gradient_accumulation_steps * gpus
    cfg.attn_supports_packing = cfg.attn_implementation == "flash_attention_2"
    found = batch(given, lengths(*[500] * rows))
    assert total_steps(given, found, gpus) == calculate_total_num_steps(cfg, dataset)


@pytest.mark.parametrize("steps", [1, 66, 7775])
@pytest.mark.parametrize(
    "values", [{"warmup_ratio": 0.03}, {"warmup_steps": 1}, {"warmup_steps": 0}, {}]
)
def test_warm_up_steps_are_the_trainers(values: dict[str, Any], steps: int, tmp_path: Path) -> None:
    kwargs: dict[str, Any] = {}
    builder = SimpleNamespace(cfg=DictDefault(values))
    from axolotl.core.builders import HFCausalTrainerBuilder  # takes seconds to import

    HFCausalTrainerBuilder._configure_warmup_and_logging(builder, steps, kwargs)
    arguments = TrainingArguments(str(tmp_path), warmup_steps=kwargs["warmup_steps"])
    assert warmup_steps(recipe(**values), steps) == arguments.get_warmup_steps(steps)


def test_the_papers_steps() -> None:
    # a public replication of the paper ended at step 7,775
    given = read_recipe(RECIPES / "cogex-llama2-7b.yml")
    row = cost(given, lengths(*[500] * 49_760))["steps"]
    assert row.figures["steps_per_epoch"] == 1555
    assert (row.figures["steps"], row.figures["warmup"]) == (7775, 233)


def test_max_steps_end_the_run() -> None:
    found = cost(recipe(examples_per_step=2, micro_batch_size=1, max_steps=5), lengths(*[10] * 20))
    assert found["steps"].figures["steps"] == 5
    assert found["steps"].figures["epochs"] == 0.5
    assert found["tokens"].figures["examples"] == 10


# memory and hours: the estimates themselves are in test_memory.py


@pytest.mark.parametrize(
    ("name", "card", "gpus", "verdict"),
    [
        ("cogex-llama2-13b", "a6000", 2, "ok"),
        ("cogex-llama2-13b", "rtx4090", 2, "fail"),
        ("cogex-llama2-13b", "rtx5090", 2, "note"),
        ("cogex-llama2-13b-qlora", "rtx4090", 1, "ok"),
    ],
)
def test_memory_of_the_recipes_and_the_cards(name: str, card: str, gpus: int, verdict: str) -> None:
    given = read_recipe(RECIPES / f"{name}.yml")
    row = cost(given, None, gpus, card=CARDS[card])["GPU memory"]
    assert row.verdict == verdict
    assert ("lower micro_batch_size" in row.todo) == (verdict == "fail")


@pytest.mark.parametrize(
    ("asked", "name", "memory", "known"),
    [
        ((None, None, None), None, None, False),
        ((None, None, 48), "RTX A6000", 48, True),
        ((None, None, 80), "A100 80 GB", 80, True),  # the slower one
        ((None, 11.5, 48), "GPU of 11.5 GiB", 11.5, False),
        (("a100-80g", 40, 48), "A100 80 GB with 40 GiB", 40, True),
    ],
)
def test_any_card_can_be_planned_for(
    asked: tuple[Any, ...], name: str | None, memory: float | None, known: bool, tiny_base: Path
) -> None:
    card = planned_card(*asked)
    assert (card and card.name, card and card.memory_gib) == (name, memory)
    found = cost(recipe(base_model=str(tiny_base)), lengths(*[64] * 64), card=card)
    assert ("about" in found["hours"].found) == known
    assert name is None or f"GiB on each {name}" in found["GPU memory"].found


def test_the_longest_batch_counts_where_it_is_known(tiny_base: Path) -> None:
    given = recipe(base_model=str(tiny_base), micro_batch_size=2)
    short = cost(given, lengths(*[64] * 8), card=A6000)["GPU memory"].figures["parts_gib"]
    unknown = cost(given, None, card=A6000)["GPU memory"].figures["parts_gib"]
    a_token = 2 * (16 * 32 + 6 * 64 + 3 * 4 * 32) + 12 * load_config(str(tiny_base)).vocab_size
    assert short["training"] * GIB == pytest.approx(2 * 64 * a_token)
    assert unknown["training"] * GIB == pytest.approx(2 * 2048 * a_token)


def test_nothing_is_estimated_for_a_cpu_or_for_what_is_not_modelled(tiny_base: Path) -> None:
    on_cpu = cost(recipe(base_model=str(tiny_base)), None)
    whole = cost(recipe(base_model=str(tiny_base), adapter=None), None, card=A6000)
    unknown = cost(recipe(base_model="no/such"), None, card=A6000)
    for check in ("GPU memory", "hours"):
        assert on_cpu[check].found == "not estimated for a CPU"
        for row in (whole[check], unknown[check]):
            assert (row.verdict, row.found[:13]) == ("note", "not estimated")


def test_a_malformed_number_is_one_message() -> None:
    with pytest.raises(UserError, match=r"r\.yml: `num_epochs: many` must be"):
        cost(recipe(num_epochs="many"), lengths(10, 10))
