"""Axolotl strategy for Alpaca rows: `type: prompt_strategies.alpaca` in a recipe's dataset.

    datasets:
      - path: data/alpaca/train.jsonl
        ds_type: json
        type: prompt_strategies.alpaca

The text is that of Axolotl's own `type: alpaca`, which tokenises prompt and response apart;
here, as everywhere in this package, the whole text is tokenised once (see `tokenise`).
Loss is on the response unless the recipe says otherwise: see `prompt_strategies.base`.
A response is all output, so `roles_to_train: [output]` is the default under another name.
"""

from typing import Any, ClassVar

from transformers import PreTrainedTokenizerFast

from prompt_strategies import alpaca_layout
from prompt_strategies.base import CompletionStrategy, Rendered


class AlpacaStrategy(CompletionStrategy):
    """Rows in the templates of `prompt_strategies.alpaca_layout`."""

    columns: ClassVar[tuple[str, ...]] = ("id", "instruction", "input", "output")

    def render(self, row: dict[str, str]) -> Rendered:
        """Return prompt (instruction, input) and completion (the response)."""
        return Rendered(
            prompt=alpaca_layout.render_prompt(row["instruction"], row["input"]),
            completion=alpaca_layout.render_completion(row["output"]),
            output_start=0,
        )


def load(
    tokenizer: PreTrainedTokenizerFast, cfg: dict[str, Any], ds_cfg: dict[str, Any] | None = None
) -> AlpacaStrategy:
    """Return the strategy of one dataset entry of a recipe; Axolotl calls this by its name."""
    return AlpacaStrategy.from_recipe(tokenizer, cfg, ds_cfg)
