"""Trains a recipe for some steps, measured, in a process of its own: a contestant's side.

    python -m benchmarks.training_run axolotl RECIPE RESULT
    python -m benchmarks.training_run trl RECIPE RESULT [random | sequential | group_by_length]

`axolotl` trains as `axolotl train` does. `trl` is the usual alternative: SFTTrainer on
prompt-completion rows with loss on the completion alone, its values read from the same recipe. It
takes the rows at random unless told otherwise. RESULT is JSON: what `benchmarks.meter` saw.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from benchmarks.meter import Meter
from tools.files import write_json
from tools.recipe import Recipe, read_recipe


def axolotl(recipe: Recipe) -> dict[str, Any]:
    """Train by Axolotl; return the report."""
    from axolotl.cli.args import TrainerCliArgs
    from axolotl.cli.config import load_cfg
    from axolotl.cli.train import do_train
    from axolotl.integrations.base import BasePlugin, PluginManager

    from tools.training.gradients import StopAtNaN, keep_gradients_finite

    class Attach(BasePlugin):
        """Does what a benchmark needs of the project's plugin, and measures."""

        def pre_lora_load(self, cfg: Any, model: Any) -> None:
            set_seed(cfg.seed)

        def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
            keep_gradients_finite(trainer)
            self.meter = Meter(trainer.processing_class.pad_token_id)
            self.meter.attach(trainer)
            trainer.add_callback(StopAtNaN(sys.exit))

    attach = Attach()
    PluginManager.get_instance().plugins["meter"] = attach  # beside those that the recipe names
    do_train(load_cfg(str(recipe.path)), TrainerCliArgs())
    return attach.meter.report()


def trl(recipe: Recipe, sampling: str = "random") -> dict[str, Any]:
    """Train by TRL's SFTTrainer with the recipe's values; return the report."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    from tools.models import load_recipe_tokenizer
    from tools.training.gradients import StopAtNaN

    values = recipe.values
    set_seed(values["seed"])
    model = AutoModelForCausalLM.from_pretrained(
        recipe.base_model,
        dtype=torch.bfloat16 if values["bf16"] else torch.float32,
        attn_implementation=values["attn_implementation"],
        device_map={"": 0} if on_gpu() else None,
    )
    lora = LoraConfig(
        r=values["lora_r"], lora_alpha=values["lora_alpha"], lora_dropout=values["lora_dropout"],
        target_modules=values["lora_target_modules"], task_type="CAUSAL_LM",
    )  # fmt: skip
    trainer = SFTTrainer(
        model, SFTConfig(**arguments(values), train_sampling_strategy=sampling),
        train_dataset=Dataset.from_list(pairs(recipe)),
        processing_class=load_recipe_tokenizer(recipe), peft_config=lora,
    )  # fmt: skip
    meter = Meter(trainer.processing_class.pad_token_id)
    meter.attach(trainer)
    trainer.add_callback(StopAtNaN(sys.exit))
    trainer.train()
    return meter.report()


def arguments(values: dict[str, Any]) -> dict[str, Any]:
    """The recipe's values as SFTConfig names them; what it does not say is TRL's default."""
    return {
        "output_dir": f"{values['output_dir']}-trl",
        "max_length": values["sequence_len"],
        "completion_only_loss": True,
        "per_device_train_batch_size": values["micro_batch_size"],
        "gradient_accumulation_steps": values["gradient_accumulation_steps"],
        "max_steps": values["max_steps"],
        "optim": values["optimizer"],
        "learning_rate": float(values["learning_rate"]),
        "lr_scheduler_type": values["lr_scheduler"],
        "warmup_steps": values["warmup_steps"],
        "weight_decay": values["weight_decay"],
        "max_grad_norm": values["max_grad_norm"],
        "seed": values["seed"],
        "bf16": values["bf16"],
        "tf32": values["tf32"] or None,
        "use_cpu": not on_gpu(),
        "gradient_checkpointing": values["gradient_checkpointing"],
        "logging_steps": values["logging_steps"],
        "save_strategy": "no",
        "report_to": "none",
    }


def pairs(recipe: Recipe) -> list[dict[str, str]]:
    """The training rows as prompt and completion, in the file's order."""
    from prompt_strategies.layout import render_completion, render_prompt
    from tools.prepared_rows import read_prepared_rows

    return [
        {
            "prompt": render_prompt(row["instruction"], row["input"]).rstrip(),
            "completion": "\n" + render_completion(row["code"], row["output"]),
        }
        for row in read_prepared_rows(Path(recipe.training["path"]))
    ]


def on_gpu() -> bool:
    """Whether training goes to a GPU."""
    return torch.cuda.is_available()


if __name__ == "__main__":
    contestant, path, result, *more = sys.argv[1:]
    train = {"axolotl": axolotl, "trl": trl}[contestant]
    write_json(Path(result), train(read_recipe(Path(path)), *more))
