"""Memory and hours that preflight estimates: by hand, beside autograd's own, beside the paper's.

The toy is a Llama of two layers: hidden size 64, MLP 128, vocabulary 100. By hand: 40,960
parameters in the linear maps of a layer (4 x 64 x 64 + 3 x 64 x 128), 6,400 in the embedding, as
many in the head, 320 in five norms: 95,040 in all. LoRA r=16 on q, k, v and o adds
4 x 16 x (64 + 64) = 8,192 a layer.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    LlamaConfig,
    LlamaForCausalLM,
)

from tests.unit.validation.preflight.test_cost import A6000, LORA, RECIPES
from tools.errors import UserError
from tools.recipe import Recipe, read_recipe
from validation.preflight.architecture import (
    Architecture,
    Widths,
    add_fresh_adapter,
    attention_targets,
    build,
    build_base,
)
from validation.preflight.batches import Batches
from validation.preflight.hours import epoch_operations, estimate_hours
from validation.preflight.memory import (
    RESERVE,
    adapter_bytes,
    estimate,
    evaluation_bytes,
    moment_bytes,
    read_sharding,
    training_bytes,
    weight_bytes,
)

LINEAR, PARAMETERS, TRAINED = 81_920, 95_040, 16_384


def recipe(**values: Any) -> Recipe:
    return Recipe(Path("r.yml"), LORA | values)


def build_llama(folder: Path, **values: Any) -> Architecture:
    config = LlamaConfig(num_hidden_layers=2, num_attention_heads=4, vocab_size=100, **values)
    config.save_pretrained(folder)
    return build(recipe(base_model=str(folder)))


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Architecture:
    folder = tmp_path_factory.mktemp("toy")
    return build_llama(folder, hidden_size=64, intermediate_size=128)


def test_the_toy_is_what_was_counted_by_hand(toy: Architecture) -> None:
    assert (toy.parameters, toy.linear, toy.trained) == (PARAMETERS, LINEAR, TRAINED)
    assert toy.adapted_inputs == 2 * 4 * 64


def test_weights_by_hand(toy: Architecture) -> None:
    alone, spread = read_sharding(recipe(), 64), read_sharding(recipe(fsdp_config={"a": 1}), 64)
    assert weight_bytes(recipe(), toy, alone, gpus=1) == 2 * PARAMETERS
    # 81,920 x 4.127 bits: halves, 8-bit constants for 64, 32-bit ones for 256 of those
    nf4 = 40_960 + 1280 + 20
    others = 2 * (PARAMETERS - LINEAR)
    assert weight_bytes(recipe(load_in_4bit=True), toy, alone, gpus=1) == nf4 + others
    gathered = others + 2 * LINEAR  # both layers of two
    assert weight_bytes(recipe(), toy, spread, gpus=2) == PARAMETERS + gathered


@pytest.mark.parametrize(("stage", "each"), [(0, 16), (1, 4 + 6), (2, 2 + 7), (3, 8)])
def test_adapter_by_hand(stage: int, each: int) -> None:
    assert adapter_bytes(TRAINED, 8, stage, gpus=2) == each * TRAINED


# every architecture, beside the tensors of a real model

SMALL = {
    "hidden_size": 512, "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 4,
    "intermediate_size": 1024, "vocab_size": 2000, "head_dim": 64, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
MIXED = {"moe_intermediate_size": 256, "num_local_experts": 4, "num_experts": 4}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    **{name: {} for name in (
        "llama", "qwen3", "gemma3_text", "phi3", "gpt_neox", "gpt2",
    )},
    "mixtral": MIXED | {"num_experts_per_tok": 2},
}  # fmt: skip


def write_config(name: str, folder: Path) -> Recipe:
    """A small config of an architecture, and a recipe that trains its attention."""
    config = SMALL | ARCHITECTURES[name]
    AutoConfig.for_model(name, **config).save_pretrained(folder)
    targets = attention_targets(build_base(str(folder)))
    return recipe(base_model=str(folder), lora_target_modules=targets)


def counted(tensors: Iterable[torch.Tensor]) -> int:
    return sum(item.numel() * item.element_size() for item in tensors)


def quantised(folder: Path) -> Any:
    """A model with its linear maps in NF4, as `load_base` holds them."""
    plain = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    plain.to(torch.bfloat16).save_pretrained(folder)
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True
    )
    return AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=config, dtype=torch.bfloat16
    )


def state_of(model: Any) -> int:
    """The constants of quantised weights."""
    states = [item.quant_state for item in model.parameters() if hasattr(item, "quant_state")]
    return counted(tensor for state in states for tensor in (state.absmax, state.state2.absmax))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_weights_adapter_and_optimizer_are_within_3_percent_of_the_tensors(
    name: str, tmp_path: Path
) -> None:
    given = write_config(name, tmp_path)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path))
    model.to(torch.bfloat16)
    weights = counted(model.parameters())
    peft = add_fresh_adapter(model, given)
    trained = [item for item in peft.parameters() if item.requires_grad]
    assert {item.dtype for item in trained} == {torch.float32}
    optimizer = torch.optim.AdamW(trained)
    for item in trained:
        item.grad = torch.zeros_like(item)
    optimizer.step()
    moments = counted(value for state in optimizer.state.values() for value in state.values())
    found = estimate(given, build(given), tokens=1, eval_tokens=1, gpus=1)
    assert found.weights == pytest.approx(weights, rel=0.03)
    assert found.adapter == pytest.approx(2 * counted(trained) + moments, rel=0.03)


@pytest.mark.parametrize("name", ["phi3", "gpt2", "mixtral"])
def test_weights_in_4_bits_are_within_3_percent_of_the_tensors(name: str, tmp_path: Path) -> None:
    given = write_config(name, tmp_path)
    given.values.update(load_in_4bit=True, adapter="qlora")
    model = quantised(tmp_path)
    found = weight_bytes(given, build(given), read_sharding(given, 512), gpus=1)
    assert found == pytest.approx(counted(model.parameters()) + state_of(model), rel=0.03)


@pytest.mark.parametrize(
    ("optimizer", "each"),
    [(None, 8), ("paged_adamw_8bit", 2), ("adamw_torch_4bit", 1), ("lion_8bit", 1), ("sgd", 0)],
)
def test_what_an_optimizer_keeps(optimizer: str | None, each: float) -> None:
    assert moment_bytes(recipe(optimizer=optimizer)) == each


def test_of_a_mixture_only_the_experts_that_a_token_takes_cost_time(tmp_path: Path) -> None:
    built = build(write_config("mixtral", tmp_path))
    experts = 2 * 4 * 3 * 512 * 1024  # layers, experts, maps
    assert built.experts == experts
    assert built.active == built.linear + experts // 2  # two of four
    assert built.widths.mlp == 2 * 1024
    # heads wider than the hidden size, norms around attention and MLP, and of q and k
    built = build(write_config("gemma3_text", tmp_path / "wide"))
    assert built.widths == Widths(norm=4 * 512 + 2 * 512, attention=512, mlp=1024)


def test_activations_by_hand(toy: Architecture) -> None:
    layer = 16 * 64 + 6 * 128 + 3 * 4 * 64
    logits = 12 * 100
    assert layer == 2560
    assert training_bytes(toy, checkpointing=True) == 2 * 2 * 64 + layer
    assert training_bytes(toy, checkpointing=False) == 2 * layer + logits
    wide = replace(toy, config=LlamaConfig(**(toy.config.to_dict() | {"vocab_size": 1000})))
    assert training_bytes(wide, checkpointing=True) == 2 * 2 * 64 + 12 * 1000
    assert evaluation_bytes(toy) == 10 * 100 + 2 * 64


def test_activations_are_what_autograd_keeps(tmp_path: Path) -> None:
    built = build_llama(tmp_path, hidden_size=256, intermediate_size=704)
    base = LlamaForCausalLM(built.config).to(torch.bfloat16)
    peft = add_fresh_adapter(base, recipe()).to(torch.bfloat16).train()  # as DeepSpeed makes it
    peft.enable_input_require_grads()
    weights = {item.untyped_storage().data_ptr() for item in peft.parameters()}
    saved: dict[int, torch.UntypedStorage] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage
        return tensor

    ids = torch.ones((2, 128), dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        assert peft.model.model(ids).last_hidden_state.requires_grad
    measured = sum(storage.nbytes() for storage in saved.values()) / ids.numel()
    layers = training_bytes(built, checkpointing=False) - 12 * built.config.vocab_size
    last_norm = 4 * 256
    mask = built.adapted_inputs  # a CPU keeps dropout's mask in two bytes an element, a GPU in one
    assert measured == pytest.approx(layers + last_norm + mask, rel=0.02)


def test_deepspeed_buckets(tmp_path: Path) -> None:
    def buckets(zero: dict[str, Any]) -> tuple[int, int]:
        path = tmp_path / "zero.json"
        path.write_text(json.dumps({"zero_optimization": zero}))
        found = read_sharding(recipe(deepspeed=str(path)), hidden_size=64)
        return found.stage, found.buckets

    assert buckets({"stage": 2}) == (2, 1_000_000_000)
    assert buckets({"stage": 2, "overlap_comm": True}) == (2, 2_000_000_000)
    assert buckets({"stage": 2, "contiguous_gradients": False}) == (2, 0)
    assert buckets({"stage": 2, "reduce_bucket_size": 1000}) == (2, 2000)
    assert buckets({"stage": 3, "reduce_bucket_size": "auto"}) == (3, 2 * 64**2)
    assert read_sharding(recipe(), hidden_size=64).buckets == 0


@pytest.mark.parametrize(
    "content", ["{", '{"zero_optimization": []}', '{"zero_optimization": {"stage": 4}}']
)
def test_a_deepspeed_file_that_is_no_use(tmp_path: Path, content: str) -> None:
    path = tmp_path / "zero.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"r\.yml: `deepspeed: .*zero\.json` is not a DeepSpeed"):
        read_sharding(recipe(deepspeed=str(path)), hidden_size=64)


def test_the_whole_by_hand(toy: Architecture) -> None:
    given = recipe(gradient_checkpointing=True)
    found = estimate(given, toy, tokens=128, eval_tokens=64, gpus=1)
    held = 2 * PARAMETERS + 16 * TRAINED + RESERVE
    assert found.total == held + 128 * 2816
    evaluating = estimate(given, toy, tokens=128, eval_tokens=640, gpus=1)
    assert evaluating.total == held + 640 * 1128


# hours


def batches(tokens: int, pairs: int) -> Batches:
    return Batches(1, 1, 1, tokens, tokens, tokens, pairs)


def test_operations_by_hand(toy: Architecture) -> None:
    found = batches(64, 64**2)
    head = 100 * 64
    assert epoch_operations(toy, found, checkpointing=True) == (
        (6 * LINEAR + 4 * head) * 64 + 16 * 2 * 64 * 64**2
    )
    assert epoch_operations(toy, found, checkpointing=False) == (
        4 * (LINEAR + head) * 64 + 12 * 2 * 64 * 64**2
    )


@pytest.mark.parametrize(("name", "hours"), [("cogex-llama2-7b", 12), ("cogex-llama2-13b", 20)])
def test_the_papers_hours_come_out_within_a_tenth(name: str, hours: float) -> None:
    # 49,760 rows of 530 tokens: the assumption behind the utilisation
    given = read_recipe(RECIPES / f"{name}.yml")
    rows, tokens = 49_760, 530
    found = batches(rows * tokens, rows * tokens**2)
    estimated = estimate_hours(given, build(given), found, 5, A6000, gpus=2)
    assert estimated == pytest.approx(hours, rel=0.1)
