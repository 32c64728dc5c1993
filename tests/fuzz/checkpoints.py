"""Checkpoint folders through the look that `cogex select` has at each."""

import json
import random
from pathlib import Path

import yaml

from tests.fuzz.findings import Findings
from tests.fuzz.mutation import mutate, spoil
from tools.models import load_base
from tools.recipe import Recipe
from validation.selection.checkpoints import ADAPTER, ADAPTER_CONFIG, STATE, checkpoints


def fuzz_checkpoints(rng: random.Random, count: int, findings: Findings) -> None:
    """A checkpoint is ok only with the bytes of its weights whole, and its own config and state."""
    recipe = _checkpoint_recipe()
    [whole] = recipe.output_dir.glob("checkpoint-*")
    files = {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file()}
    for _ in range(count):
        name = rng.choice([ADAPTER, ADAPTER_CONFIG, STATE])
        if name == ADAPTER or rng.random() < 0.3:
            data = spoil(rng, files[name])
        else:
            data = json.dumps(mutate(rng, json.loads(files[name]))).encode()
        (whole / name).write_bytes(data)
        with findings.attempt("checkpoint", (name, data[:300])):
            [found] = checkpoints(recipe)
            assert found.status in {"ok", "corrupt", "incomplete"}
            assert found.status == "ok" or found.reason
            if found.status == "ok" and name == ADAPTER:
                assert len(data) == len(files[name])  # never one that was cut short
        (whole / name).write_bytes(files[name])


def _checkpoint_recipe() -> Recipe:
    from peft import LoraConfig, get_peft_model

    values = yaml.safe_load(Path("recipes/cogex-tiny.yml").read_text())
    folder = Path(values["output_dir"]) / "checkpoint-24"
    config = LoraConfig(
        r=16,
        lora_alpha=32,
        target_modules=values["lora_target_modules"],
        task_type="CAUSAL_LM",
        init_lora_weights=False,
    )
    get_peft_model(load_base("models/tiny-base"), config).save_pretrained(folder)
    history = [{"step": 24, "epoch": 1.0, "eval_loss": 1.0}]
    state = {"global_step": 24, "epoch": 1.0, "log_history": history}
    (folder / STATE).write_text(json.dumps(state))
    return Recipe(Path("recipes/cogex-tiny.yml"), values)
