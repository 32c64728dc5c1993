"""Axolotl strategy for ArXivDLInstruct: `type: prompt_strategies.arxivdl` in a recipe's dataset.

    datasets:
      - path: data/arxivdl/1000/train.jsonl
        ds_type: json
        type: prompt_strategies.arxivdl

Rows, templates and loss are those of `prompt_strategies.alpaca`: the instruction asks for a
function, the response is the function. An augmented row's input is the rest of the function's
file; a plain row's is empty, and then the template without the Input section stands.
"""

from typing import Any

from transformers import PreTrainedTokenizerFast

from prompt_strategies.alpaca import AlpacaStrategy


def load(
    tokenizer: PreTrainedTokenizerFast, cfg: dict[str, Any], ds_cfg: dict[str, Any] | None = None
) -> AlpacaStrategy:
    """Return the strategy of one dataset entry of a recipe; Axolotl calls this by its name."""
    return AlpacaStrategy.from_recipe(tokenizer, cfg, ds_cfg)
