"""oneDNN's products are those of the layers that they stand in for, which come back."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, set_seed

from validation.selection import onednn
from validation.selection.onednn import OneDnnLinear, fast_products
from validation.selection.perplexity import ScoringRow, score

ROWS = [
    ScoringRow.of(list(range(2, 2 + length)), list(range(2, 2 + length))) for length in (50, 9, 120)
]


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    set_seed(42)
    config = LlamaConfig(
        vocab_size=600, hidden_size=256, intermediate_size=512, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=256,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def stand_ins(model: torch.nn.Module) -> int:
    return sum(isinstance(module, OneDnnLinear) for module in model.modules())


def test_score_is_the_same_within_rounding(model, monkeypatch) -> None:
    fast = score(model, ROWS)
    monkeypatch.setattr(onednn, "LEAST", 2**60)
    plain = score(model, ROWS)
    assert fast.nll_sum == pytest.approx(plain.nll_sum, rel=1e-7)
    assert fast.tokens == plain.tokens


@pytest.mark.parametrize("dora", [False, True])
def test_score_with_an_adapter_is_the_same_within_rounding(model, monkeypatch, dora) -> None:
    lora = LoraConfig(
        r=8, init_lora_weights=False, target_modules=["q_proj", "down_proj"], use_dora=dora
    )
    adapted = get_peft_model(copy.deepcopy(model), lora).eval()
    monkeypatch.setattr(onednn, "LEAST", 2**60)
    plain = score(adapted, ROWS)
    monkeypatch.setattr(onednn, "LEAST", 1)  # the adapter's own layers too
    assert score(adapted, ROWS).nll_sum == pytest.approx(plain.nll_sum, rel=1e-6)
    assert plain.nll_sum != pytest.approx(score(model, ROWS).nll_sum, rel=1e-6)


@pytest.mark.parametrize("bias", [False, True])
def test_layer_is_the_same_within_rounding(bias) -> None:
    linear, x = torch.nn.Linear(300, 400, bias=bias), torch.randn(3, 17, 300)
    with torch.inference_mode():
        torch.testing.assert_close(OneDnnLinear(linear)(x), linear(x), rtol=1e-5, atol=1e-5)


def test_layers_come_back_whatever_happens(model) -> None:
    before = [(name, id(module)) for name, module in model.named_modules()]
    with pytest.raises(KeyboardInterrupt), fast_products(model):
        assert stand_ins(model) == 15
        raise KeyboardInterrupt
    assert [(name, id(module)) for name, module in model.named_modules()] == before


@pytest.mark.parametrize("why", ["no memory", "not built in", "bf16", "small"])
def test_layers_stay_where_it_cannot_be_done_or_is_no_use(model, monkeypatch, why) -> None:
    match why:
        case "no memory":
            monkeypatch.setattr(onednn, "SHARE", 0.0)
        case "not built in":
            monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
        case "bf16":
            model = LlamaForCausalLM(model.config).to(torch.bfloat16)
        case "small":
            monkeypatch.setattr(onednn, "LEAST", 2**60)
    with fast_products(model):
        assert stand_ins(model) == 0
