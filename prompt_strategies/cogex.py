"""Axolotl strategy for CoGEX rows: `type: prompt_strategies.cogex` in a recipe's dataset.

    datasets:
      - path: data/cogex/train.jsonl
        ds_type: json
        type: prompt_strategies.cogex
        roles_to_train: [output]  # only for loss on the output alone

Loss is on code and output unless the recipe says otherwise: see `prompt_strategies.base`.
"""

from typing import Any, ClassVar

from transformers import PreTrainedTokenizerFast

from prompt_strategies import layout
from prompt_strategies.base import CompletionStrategy, Rendered


class CogexStrategy(CompletionStrategy):
    """Rows in the four sections of `prompt_strategies.layout`."""

    columns: ClassVar[tuple[str, ...]] = ("id", "instruction", "input", "code", "output")

    def render(self, row: dict[str, str]) -> Rendered:
        """Return prompt (instruction, input) and completion (program, call, output)."""
        return Rendered(
            prompt=layout.render_prompt(row["instruction"], row["input"]),
            completion=layout.render_completion(row["code"], row["output"]),
            output_start=len(layout.render_code_section(row["code"])),
        )


def load(
    tokenizer: PreTrainedTokenizerFast, cfg: dict[str, Any], ds_cfg: dict[str, Any] | None = None
) -> CogexStrategy:
    """Return the strategy of one dataset entry of a recipe; Axolotl calls this by its name."""
    return CogexStrategy.from_recipe(tokenizer, cfg, ds_cfg)
