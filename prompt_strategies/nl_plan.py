"""Axolotl strategy for the paper's NL plan: `type: prompt_strategies.nl_plan` on CoGEX rows.

    datasets:
      - path: data/cogex/train.jsonl
        ds_type: json
        type: prompt_strategies.nl_plan

Loss is on plan and output unless the recipe says otherwise: see `prompt_strategies.base`.
`roles_to_train: [code, output]` is that default; the plan takes the place of the code.
"""

from collections.abc import Mapping
from typing import ClassVar

from prompt_strategies import nl_plan_layout
from prompt_strategies.base import Rendered, Task
from prompt_strategies.cogex import CogexStrategy


class PlanStrategy(CogexStrategy):
    """CoGEX rows in the four sections of `prompt_strategies.nl_plan_layout`."""

    layout_version: ClassVar[int] = nl_plan_layout.LAYOUT_VERSION
    task: ClassVar[Task] = "plan"
    trained_to: ClassVar[str] = (
        "answer an instruction by a numbered plan and a dict with an\n"
        "`answer` (the paper's NL plan ablation)"
    )

    @staticmethod
    def render(row: Mapping[str, str]) -> Rendered:
        """Return prompt (instruction, input) and completion (plan, output)."""
        return Rendered(
            prompt=nl_plan_layout.render_prompt(row["instruction"], row["input"]),
            completion=nl_plan_layout.render_completion(row["code"], row["output"]),
            output_start=len(nl_plan_layout.render_plan_section(row["code"])),
        )

    @staticmethod
    def parse(text: str) -> dict[str, str]:
        """Return plan and output of a generated completion."""
        return vars(nl_plan_layout.parse_completion(text))

    @classmethod
    def prepared_version(cls) -> int:
        """Return the version of the CoGEX rows that are read: no plan is in them."""
        return CogexStrategy.layout_version


load = PlanStrategy.from_recipe  # what Axolotl calls
