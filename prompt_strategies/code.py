"""Axolotl strategy for tasks in Python: `type: prompt_strategies.code` in a recipe's dataset.

    datasets:
      - path: data/code/train.jsonl
        ds_type: json
        type: prompt_strategies.code

The prompt is Python as far as the docstring, the solution the body below it, both exactly as in
the row: no heading stands between them. Loss is on the solution and EOS, or on the whole text with
`train_on_inputs: true`; there is no part of it to choose by `roles_to_train`.
"""

from typing import Any, ClassVar

from transformers import PreTrainedTokenizerFast

from prompt_strategies.base import CompletionStrategy, Rendered


class CodeStrategy(CompletionStrategy):
    """Rows of a prompt and its solution."""

    columns: ClassVar[tuple[str, ...]] = ("id", "prompt", "solution")

    def render(self, row: dict[str, str]) -> Rendered:
        """Return prompt and solution as they are."""
        return Rendered(prompt=row["prompt"], completion=row["solution"], output_start=0)


def load(
    tokenizer: PreTrainedTokenizerFast, cfg: dict[str, Any], ds_cfg: dict[str, Any] | None = None
) -> CodeStrategy:
    """Return the strategy of one dataset entry of a recipe; Axolotl calls this by its name.

    Raises ValueError if the entry has `roles_to_train`, for a row has no roles.
    """
    if (ds_cfg or {}).get("roles_to_train"):
        raise ValueError("`roles_to_train` is for rows of code and output: remove it")
    return CodeStrategy.from_recipe(tokenizer, cfg, ds_cfg)
