"""Axolotl strategy for the paper's NL plan: `type: prompt_strategies.nl_plan` on CoGEX rows.

    datasets:
      - path: data/cogex/train.jsonl
        ds_type: json
        type: prompt_strategies.nl_plan

Loss is on plan and output unless the recipe says otherwise: see `prompt_strategies.base`.
`roles_to_train: [code, output]` is that default; the plan stands where the code stood.
"""

from typing import Any, ClassVar

from transformers import PreTrainedTokenizerFast

from prompt_strategies import nl_plan_layout
from prompt_strategies.base import CompletionStrategy, Rendered
from prompt_strategies.cogex import CogexStrategy


class PlanStrategy(CompletionStrategy):
    """CoGEX rows in the four sections of `prompt_strategies.nl_plan_layout`."""

    columns: ClassVar[tuple[str, ...]] = CogexStrategy.columns

    def render(self, row: dict[str, str]) -> Rendered:
        """Return prompt (instruction, input) and completion (plan, output)."""
        return Rendered(
            prompt=nl_plan_layout.render_prompt(row["instruction"], row["input"]),
            completion=nl_plan_layout.render_completion(row["code"], row["output"]),
            output_start=len(nl_plan_layout.render_plan_section(row["code"])),
        )


def load(
    tokenizer: PreTrainedTokenizerFast, cfg: dict[str, Any], ds_cfg: dict[str, Any] | None = None
) -> PlanStrategy:
    """Return the strategy of one dataset entry of a recipe; Axolotl calls this by its name."""
    return PlanStrategy.from_recipe(tokenizer, cfg, ds_cfg)
