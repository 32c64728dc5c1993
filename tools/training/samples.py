"""Trainer callback: what the model writes for a few validation rows at each checkpoint.

`samples_per_save: 2` in a recipe asks for it. `samples.jsonl` in the run folder gets a line for
each checkpoint and row; `cogex report` shows them over time. The weights are the same as without.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from prompt_strategies.tokenise import encode_prompts
from tools.files import write_jsonl
from tools.generate import PromptBatch, generate_batch
from tools.prepared_rows import declared_strategy, read_prepared_rows
from tools.recipe import Recipe
from tools.results import Sample, read_results

NAME = "samples.jsonl"
MOST_TOKENS = 256  # of a sample
TRAIN = "accelerate launch -m axolotl.cli.train"


class SampleWriter(TrainerCallback):
    """Lets the model go on with each prompt, greedily, whenever a checkpoint was saved."""

    def __init__(self, prompts: Sequence[tuple[str, str]], tokenizer: Any, max_length: int) -> None:
        """Take (row id, prompt) of each row, and the most tokens of prompt and sample."""
        self.ids = [name for name, _ in prompts]
        self.encoded = encode_prompts(tokenizer, [prompt for _, prompt in prompts])
        self.tokenizer, self.max_length = tokenizer, max_length

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the samples from the first rank, in place of an earlier run's from here on."""
        if not state.is_world_process_zero:
            return
        model = kwargs["model"]
        training, model = model.training, model.eval()
        try:
            batch = PromptBatch(self.encoded, self.max_length, max_new_tokens=MOST_TOKENS)
            made = generate_batch(model, self.tokenizer, batch)
        finally:
            model.train(training)
        step = state.global_step
        path = Path(args.output_dir) / NAME
        with suppress(OSError):  # training continues where its log cannot be written
            earlier = [item for item in read_results(Sample, path, TRAIN) if item.step < step]
            new = [Sample(step=step, id=name, text=item.text)
                   for name, item in zip(self.ids, made, strict=True)]  # fmt: skip
            write_jsonl(path, (item.model_dump() for item in (*earlier, *new)))


def validation_prompts(recipe: Recipe, count: int) -> list[tuple[str, str]]:
    """Return (row id, prompt) of the first validation rows; none for a type of Axolotl's own."""
    strategy = declared_strategy(recipe, recipe.validation)
    if strategy is None:
        return []
    rows = read_prepared_rows(Path(recipe.validation["path"]), strategy.columns)
    return [(row["id"], strategy.render(row).prompt) for row in rows[:count]]
