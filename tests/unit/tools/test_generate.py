"""Batched generation is that of one prompt at a time, cut at EOS, in the order of the prompts."""

import copy
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoConfig, MistralConfig
from transformers.cache_utils import DynamicCache

from prompt_strategies.layout import render_prompt
from prompt_strategies.tokenise import after_prompt, decode, encode_prompts
from tools import generate as module
from tools.backend import NOTHING, Generation
from tools.generate import (
    PromptBatch,
    generate,
    generate_batch,
    plan_batches,
)

PROMPTS = [render_prompt("Add.", "1 " * count) for count in (9, 0, 30, 3, 0, 17, 5, 12)]
MAX_LENGTH = 100
ARCHITECTURES = Path(__file__).parents[3] / "models" / "architectures.yml"


@pytest.fixture(scope="module")
def model(tiny_model: Any, tiny_tokenizer: Any) -> Any:
    """The tiny model, made to say EOS now and then."""
    model = copy.deepcopy(tiny_model)
    with torch.no_grad():
        model.lm_head.weight[tiny_tokenizer.eos_token_id] *= 1.1
    return model


def plain_greedy(model: Any, tokenizer: Any, prompt: str) -> Generation:
    """One token after the other, without padding and cache."""
    [ids] = encode_prompts(tokenizer, [prompt])

    def made(ended: bool) -> Generation:
        text = after_prompt(prompt, decode(tokenizer, ids), decode(tokenizer, new, ids))
        return Generation(text, len(new), ended)

    new: list[int] = []
    while len(ids) + len(new) < MAX_LENGTH:
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids + new])).logits[0, -1]
        token = int(logits.argmax())
        if token == tokenizer.eos_token_id:
            return made(ended=True)
        new.append(token)
    return made(ended=False)


@pytest.fixture(scope="module")
def expected(model: Any, tiny_tokenizer: Any) -> list[Generation]:
    return [plain_greedy(model, tiny_tokenizer, prompt) for prompt in PROMPTS]


@pytest.mark.parametrize(
    ("rows_per_batch", "changes"), [(1, {}), (3, {}), (100, {}), (100, {"pad_token": None})]
)
def test_equals_one_prompt_at_a_time(
    model: Any,
    tiny_tokenizer: Any,
    expected: list[Generation],
    rows_per_batch: int,
    changes: dict[str, None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokenizer = copy.deepcopy(tiny_tokenizer)
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    monkeypatch.setattr(module, "TOKENS_PER_BATCH", rows_per_batch * MAX_LENGTH)
    assert generate(model, tokenizer, PROMPTS, max_length=MAX_LENGTH) == expected


def test_some_generations_end_and_some_are_cut(
    expected: list[Generation], tiny_tokenizer: Any
) -> None:
    """Else the test above would compare nothing."""
    assert {item.ended for item in expected} == {True, False}
    assert len({item.text for item in expected}) > 4
    assert any(item.tokens > 0 for item in expected if item.ended)
    for token in (tiny_tokenizer.eos_token, tiny_tokenizer.pad_token):
        assert all(token not in item.text for item in expected)


def test_sampling_repeats_with_its_seed(model: Any, tiny_tokenizer: Any) -> None:
    def sample(seed: int) -> list[Generation]:
        return generate(
            model, tiny_tokenizer, PROMPTS, max_length=MAX_LENGTH, temperature=1.0, seed=seed
        )

    assert sample(1) == sample(1)
    assert sample(1) != sample(2)


def test_high_temperature_reaches_tokens_beyond_the_first_fifty(
    tiny_model: Any, tiny_tokenizer: Any
) -> None:
    """By default transformers samples from 50 tokens."""
    prompts = [PROMPTS[1]] * 400
    [ids] = encode_prompts(tiny_tokenizer, prompts[:1])
    generations = generate(
        tiny_model, tiny_tokenizer, prompts, max_length=len(ids) + 1, temperature=1e6
    )
    assert len({item.text for item in generations}) > 60


def test_prompt_that_fills_the_context_has_no_answer(model: Any, tiny_tokenizer: Any) -> None:
    [ids] = encode_prompts(tiny_tokenizer, [PROMPTS[2]])
    made = generate(model, tiny_tokenizer, PROMPTS, max_length=len(ids))
    assert [item == NOTHING for item in made] == [prompt == PROMPTS[2] for prompt in PROMPTS]
    assert generate(model, tiny_tokenizer, [], max_length=MAX_LENGTH) == []


def test_rows_that_are_done_leave_the_batch(model: Any, tiny_tokenizer: Any) -> None:
    """Once they are half of it."""
    sizes: list[int] = []
    handle = model.get_input_embeddings().register_forward_pre_hook(
        lambda _, inputs: sizes.append(inputs[0].shape[0])
    )
    told: list[float] = []
    ids = encode_prompts(tiny_tokenizer, PROMPTS)
    generate_batch(model, tiny_tokenizer, PromptBatch(ids, MAX_LENGTH), told.append)
    handle.remove()
    assert sizes[0] == len(PROMPTS) > sizes[-1]
    assert sizes == sorted(sizes, reverse=True)
    assert all(after <= before / 2 for before, after in pairwise(sizes) if after != before)
    assert told == sorted(told)
    assert told[-1] == len(PROMPTS)


def sampled(
    model: Any, tokenizer: Any, prompts: list[str], seeds: list[int], **options: Any
) -> list[Generation]:
    ids = encode_prompts(tokenizer, prompts)
    batch = PromptBatch(ids, MAX_LENGTH, 1.0, seeds=seeds, **options)
    return generate_batch(model, tokenizer, batch)


def test_row_with_its_own_seed_is_sampled_alike_in_any_batch(
    model: Any, tiny_tokenizer: Any
) -> None:
    seeds = list(range(len(PROMPTS)))
    together = sampled(model, tiny_tokenizer, PROMPTS, seeds)
    alone = [
        sampled(model, tiny_tokenizer, [prompt], [seed])[0]
        for prompt, seed in zip(PROMPTS, seeds, strict=True)
    ]
    assert together == alone
    assert sampled(model, tiny_tokenizer, PROMPTS, seeds[::-1]) != together


def test_rows_with_own_seeds_follow_the_models_distribution(
    tiny_model: Any, tiny_tokenizer: Any
) -> None:
    [ids] = encode_prompts(tiny_tokenizer, PROMPTS[:1])
    with torch.inference_mode():
        logits = tiny_model(input_ids=torch.tensor([ids])).logits[0, -1]
    chance = torch.softmax(logits.double() / 3.0, dim=-1)
    batch = PromptBatch([ids] * 4000, 512, 3.0, max_new_tokens=1, seeds=range(4000))
    drawn = generate_batch(tiny_model, tiny_tokenizer, batch)
    texts = Counter(item.text for item in drawn)
    by_text: Counter[str] = Counter()
    for token, mass in enumerate(chance.tolist()):
        kept = [] if token == tiny_tokenizer.eos_token_id else [token]
        by_text[decode(tiny_tokenizer, kept, ids)] += mass
    assert len(by_text) > 100
    for text, mass in by_text.most_common(5):
        assert abs(texts[text] / 4000 - mass) < 4 * (mass * (1 - mass) / 4000) ** 0.5


def test_row_ends_where_it_writes_what_stops_it(tiny_model: Any, tiny_tokenizer: Any) -> None:
    """Its text is that of a row which went on, up to there; the batch does not go on for it."""
    seeds = list(range(len(PROMPTS)))
    whole = sampled(tiny_model, tiny_tokenizer, PROMPTS, seeds, max_new_tokens=60)
    texts = [item.text for item in whole]
    stop = next(text[9:11] for text in texts if len(text) > 30)
    made = sampled(tiny_model, tiny_tokenizer, PROMPTS, seeds, max_new_tokens=60, stop=stop)
    assert [item.text for item in made] == [text.split(stop)[0] for text in texts]
    for item, before in zip(made, whole, strict=True):
        assert item.ended is (before.ended or stop in before.text)
        assert (item.tokens < before.tokens) is (stop in before.text)
    alone = sampled(tiny_model, tiny_tokenizer, PROMPTS[:1], [0], max_new_tokens=60, stop=stop)
    assert alone == made[:1]  # also how many tokens it took


def test_new_tokens_are_limited_for_each_row(model: Any, tiny_tokenizer: Any) -> None:
    made = sampled(model, tiny_tokenizer, PROMPTS, [1] * len(PROMPTS), max_new_tokens=5)
    assert max(item.tokens for item in made) == 5
    assert all(item.ended or item.tokens == 5 for item in made)


@pytest.mark.parametrize(
    ("name", "weights", "gigabytes", "tokens"),
    [
        ("meta-llama/Llama-2-13b-hf", 26.0e9, 80, 32_768),
        ("meta-llama/Llama-2-13b-hf", 26.0e9, 51, 15_258),  # an A6000
        ("meta-llama/Llama-2-13b-hf", 8.0e9, 25.4, 10_620),  # in 4 bits, on an RTX 4090
        ("meta-llama/Llama-3.1-8B", 16.1e9, 25.4, 32_768),
        ("meta-llama/Llama-2-13b-hf", 26.0e9, 26.0001, 1),
        ("meta-llama/Llama-2-13b-hf", 26.0e9, 16, 1),
    ],
)
def test_keys_and_values_of_a_batch_fit_the_memory(
    name: str, weights: float, gigabytes: float, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of what the weights leave; 819,200 bytes a token for 13B, 131,072 for Llama-3.1 8B."""
    config = AutoConfig.for_model(**yaml.safe_load(ARCHITECTURES.read_text())[name]["config"])
    monkeypatch.setattr(module, "_memory", lambda device: int(gigabytes * 1e9))
    model = SimpleNamespace(
        config=config,
        dtype=torch.bfloat16,
        device=torch.device("cpu"),
        get_memory_footprint=lambda: int(weights),
    )
    assert module.tokens_per_batch(model) == tokens


def test_bytes_of_a_token_are_those_of_the_cache(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert module._memory(model.device) > 1e9  # this machine's
    cache = module._cache(model)
    with torch.inference_mode():
        model(input_ids=torch.tensor([[5] * 10]), past_key_values=cache)
    held = sum(part.nbytes for layer in cache.layers for part in (layer.keys, layer.values))
    free = held // 10 * 1000 / module.CACHE_SHARE
    monkeypatch.setattr(module, "_memory", lambda _: model.get_memory_footprint() + int(free))
    assert module.tokens_per_batch(model) == 1000


def test_cache_grows_by_steps_and_holds_what_the_librarys_own_does(model: Any) -> None:
    ours, theirs = module._cache(model), DynamicCache(config=model.config)
    held = set()
    for ids in ([[1, 2, 3]], *([[number]] for number in range(4, 150))):
        with torch.inference_mode():
            logits = [
                model(input_ids=torch.tensor(ids), past_key_values=cache).logits
                for cache in (ours, theirs)
            ]
        assert torch.equal(*logits)
        held.add(ours.layers[0].keys.data_ptr())
    assert len(held) == 3
    for one, other in zip(ours.layers, theirs.layers, strict=True):
        assert torch.equal(one.keys, other.keys)
        assert torch.equal(one.values, other.values)


def test_layers_of_another_kind_stay_the_librarys() -> None:
    config = MistralConfig(sliding_window=8, num_hidden_layers=2)
    layers = module._cache(SimpleNamespace(config=config)).layers
    assert [type(layer).__name__ for layer in layers] == ["DynamicSlidingWindowLayer"] * 2


def test_batches_are_planned_alike_without_the_first() -> None:
    assert plan_batches([5, 7], 1, 500) == [[0], [1]]  # a row that fits no batch has its own
    lengths = [5, 300, 20, 7, 90, 300, 40, 11, 250]
    batches = plan_batches(lengths, 32_768, 500, 8000)
    assert sorted(index for batch in batches for index in batch) == list(range(9))
    lengths *= 100
    many = plan_batches(lengths, 32_768, 500, 100)
    assert len(many) > 4
    done = {index for batch in many[:2] for index in batch}
    rest = [index for index in range(len(lengths)) if index not in done]
    again = plan_batches([lengths[index] for index in rest], 32_768, 500, 100)
    assert [[rest[place] for place in batch] for batch in again] == many[2:]
