"""Evaluates every checkpoint of a run by transformers' Trainer: the contestant of `selecting`.

python -m benchmarks.selecting_by_trainer RECIPE, which writes the losses to trainer.json
"""

import json
import sys
from pathlib import Path

from peft import PeftModel
from transformers import AutoModelForCausalLM, DataCollatorForSeq2Seq, Trainer, TrainingArguments

from tools.models import load_tokenizer
from tools.prepared_rows import encode_validation
from tools.recipe import read_recipe
from tools.run_folder import checkpoint_folders


def main(path: Path) -> None:
    """Load the base once, put each adapter on it, and let the Trainer evaluate."""
    recipe = read_recipe(path)
    tokenizer = load_tokenizer(recipe.base_model)
    tokenizer.pad_token = tokenizer.unk_token
    rows = [
        {
            "input_ids": ids.tolist(),
            "attention_mask": [1] * len(ids),
            "labels": labels.tolist(),
        }
        for ids, labels in encode_validation(recipe, tokenizer)
    ]
    base = AutoModelForCausalLM.from_pretrained(recipe.base_model, attn_implementation="sdpa")
    arguments = TrainingArguments(
        "unused", per_device_eval_batch_size=recipe.values["eval_batch_size"], use_cpu=True,
        prediction_loss_only=True, report_to="none", disable_tqdm=True,
    )  # fmt: skip
    losses = []
    for folder in checkpoint_folders(recipe.output_dir).values():
        model = PeftModel.from_pretrained(base, folder)
        trainer = Trainer(model, arguments, DataCollatorForSeq2Seq(tokenizer), eval_dataset=rows)
        losses.append(trainer.evaluate()["eval_loss"])
        base = model.unload()
    Path("trainer.json").write_text(json.dumps(losses))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
