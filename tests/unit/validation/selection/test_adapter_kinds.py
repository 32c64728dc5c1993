"""Adapters of every kind that PEFT has are scored as they were trained, whatever they change."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import set_seed

from tests.unit.validation.selection.test_select import write_state
from tools.in_process import base_of, load_in_process
from tools.models import load_base, load_recipe_tokenizer, quantization
from tools.recipe import Recipe
from validation.selection import select as module
from validation.selection.asked_adapter import DECIDED
from validation.selection.perplexity import score
from validation.selection.select import select, validation_rows

BASE = Path(__file__).parents[4] / "models/tiny-base"
SEED = 42
NOISE = (0.5, 0.05, 0.2)
RELOAD = {  # these leave another base behind, or may
    "pissa": {"init_lora_weights": "pissa"},
    "pissa by a random projection": {"init_lora_weights": "pissa_niter_1"},
    "olora": {"init_lora_weights": "olora"},
    "olora, DoRA": {"init_lora_weights": "olora", "use_dora": True},
    "repeated layers": {"layer_replication": [[0, 2], [1, 3]]},
    # the base ties its head to its embeddings
    "whole head": {"modules_to_save": ["lm_head"]},
    "whole head and embeddings": {"modules_to_save": ["lm_head", "embed_tokens"]},
    "biases": {"bias": "all"},
    **{name: {"init_lora_weights": name} for name in ("orthogonal", "lora_ga")},
}
KEEP = {
    "DoRA": {"use_dora": True},
    "rank-stabilised": {"use_rslora": True},
    "embeddings as target": {"target_modules": ["embed_tokens", "q_proj"]},
    "tokens": {"trainable_token_indices": [5, 6, 7, 300]},
    "all linear": {"target_modules": "all-linear"},
}
PLAIN: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"]}
QUANTIZED = {"adapter": "qlora", "load_in_4bit": True}


def as_trained(base: Any, noise: float, **settings: Any) -> PeftModel:
    """A new adapter, started as Axolotl starts it, and moved by noise in place of training."""
    set_seed(SEED)
    model = get_peft_model(base, LoraConfig(**PLAIN | settings, task_type="CAUSAL_LM"))
    set_seed(7)
    for weights in model.parameters():
        if weights.requires_grad:
            scale = float(weights.detach().std()) or 0.1
            weights.data += noise * scale * torch.randn_like(weights)
    return model.eval()


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """One entry for each time that `select` loads a base."""
    made: list[Any] = []

    def load(*arguments: Any) -> Any:
        made.append(arguments)
        return load_base(*arguments)

    monkeypatch.setattr(module, "load_base", load)
    return made


def make_run(recipe: Recipe, **settings: Any) -> dict[str, float]:
    """Write checkpoints of one kind, the worst first and the best next; return their perplexities.

    They are those of the models in memory, before anything was saved.
    """
    recipe.values.update({"base_model": str(BASE), "seed": SEED, "lora_dropout": 0.0})
    recipe.values.update({DECIDED.get(key, key): item for key, item in (PLAIN | settings).items()})
    rows, _ = validation_rows(recipe, load_recipe_tokenizer(recipe))
    models = [as_trained(load_base(BASE, quantization(recipe)), each, **settings) for each in NOISE]
    best, middle, worst = sorted(models, key=lambda model: score(model, rows).perplexity)
    found = {}
    for step, model in ((5, worst), (10, best), (15, middle)):
        found[f"checkpoint-{step}"] = score(model, rows).perplexity
        model.save_pretrained(recipe.output_dir / f"checkpoint-{step}")
        write_state(recipe.output_dir / f"checkpoint-{step}", step, loss=1.0)
    return found


@pytest.mark.parametrize("kind", [*RELOAD, *KEEP, "olora in 4 bits"])
@pytest.mark.filterwarnings("ignore")
def test_each_checkpoint_is_scored_as_it_was_trained(
    recipe: Recipe, kind: str, loads: list[Any]
) -> None:
    if kind == "olora in 4 bits":
        recipe.values.update(QUANTIZED)
    settings = (RELOAD | KEEP).get(kind, RELOAD["olora"])
    expected = make_run(recipe, **settings)
    result = select(recipe)
    scored = {item.name: item.perplexity for item in result.checkpoints}
    assert scored == pytest.approx(expected, rel=1e-5)
    assert len(set(expected.values())) == 3 and result.best == "checkpoint-10"
    # each adapter has a base of its own: three checkpoints, and the copy in best/
    assert len(loads) == (1 if kind in KEEP else 4)
    recipe.path.write_text(json.dumps(recipe.values))
    rows, _ = validation_rows(recipe, load_recipe_tokenizer(recipe))
    backend = load_in_process(recipe.path)
    best = score(backend.model, rows).perplexity
    assert best == pytest.approx(expected["checkpoint-10"], rel=1e-5)
    base = base_of(backend)  # which search compares with
    assert base
    with nullcontext() if base.adapted else base.model.disable_adapter():
        assert score(base.model, rows).perplexity == pytest.approx(result.base.perplexity, rel=1e-6)
