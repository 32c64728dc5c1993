"""A run of the tiny base with all its parts, made by the commands themselves, without training.

The log is the recorded one, the adapters of the two checkpoints are random, and what is judged is
made by hand: the references, some of them spoilt.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from prompt_strategies.layout import render_completion, render_prompt
from tests.unit import recorded_run
from tests.unit.recorded_run import ROWS, STATE
from tools.backend import Generation
from tools.models import load_base
from tools.prepare.cogex import prepare_cogex
from tools.prepared_rows import read_prepared_rows
from tools.recipe import Recipe, read_recipe
from tools.tiny.corpus import write_cogex_rows
from validation.check.check import check
from validation.selection.select import select

ROOT = Path(__file__).parents[2]
RUN = Path("outputs/made")
RECIPE = recorded_run.RECIPE.replace("train.jsonl", "data/train.jsonl").replace(
    "output_dir: run\n", f"output_dir: {RUN}\n"
)
RECIPE += """base_model: models/tiny-base
adapter: lora
lora_r: 16
lora_alpha: 32
lora_dropout: 0.05
lora_target_modules: [q_proj, k_proj, v_proj, o_proj]
test_datasets:
  - path: data/val.jsonl
    split: train
    type: prompt_strategies.cogex
validation_rows: 12
"""


def make_run(folder: Path) -> Recipe:
    """Make the run in `folder`, which must be the working folder."""
    (folder / "models").symlink_to(ROOT / "models")
    Path("recipe.yml").write_text(RECIPE)
    write_cogex_rows(Path("data/data.json"), ROWS + 12, 42)
    prepare_cogex(Path("data/data.json"), Path("data"), val_size=12)
    _write_checkpoints()
    recipe = read_recipe(Path("recipe.yml"))
    select(recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tools.generate.generate", _hand_made)
        check(recipe)
    return recipe


def _hand_made(model: Any, tokenizer: Any, prompts: list[str], **settings: Any) -> list[Generation]:
    """The reference's completion of each prompt; the third of them is wrong, the fourth loops."""
    made = []
    for number, prompt in enumerate(prompts):
        text = _completion(prompt)
        if number == 2:
            text = re.sub(r"'answer': .*}", "'answer': 'wrong'}", text)
        if number == 3:
            text = "def loop():\n    " + "return " * 60
        made.append(Generation(text, len(text) // 3, ended=number != 3))
    return made


def _completion(prompt: str) -> str:
    """What stands below a prompt in the text of its validation row."""
    for row in read_prepared_rows(Path("data/val.jsonl")):
        text = render_prompt(row["instruction"], row["input"])
        text += render_completion(row["code"], row["output"])
        if text.startswith(prompt):
            return text.removeprefix(prompt)
    raise AssertionError(prompt)


def _write_checkpoints() -> None:
    """Two random adapters, nearer to the base than to noise, beside the recorded log."""
    for step in (11, 52):
        torch.manual_seed(step)
        config = LoraConfig(
            r=16,
            lora_alpha=32,
            target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
            task_type="CAUSAL_LM",
        )
        model = get_peft_model(load_base("models/tiny-base"), config)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.02)
        checkpoint = RUN / f"checkpoint-{step}"
        model.save_pretrained(checkpoint)
        (checkpoint / "trainer_state.json").write_text(json.dumps(_state(step)))
    shutil.copy(STATE, RUN / "trainer_state.json")


def _state(step: int) -> dict[str, Any]:
    """The recorded state as it was when the checkpoint of a step was written."""
    state = json.loads(STATE.read_text())
    history = [log for log in state["log_history"] if log["step"] <= step]
    return state | {"log_history": history, "global_step": step, "epoch": history[-1]["epoch"]}
