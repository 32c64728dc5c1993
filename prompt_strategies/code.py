"""Axolotl strategy for tasks in Python: `type: prompt_strategies.code` in a recipe's dataset.

    datasets:
      - path: data/code/train.jsonl
        ds_type: json
        type: prompt_strategies.code

The prompt is Python as far as the docstring, the solution the body below it, both exactly as in
the row, without a heading between them. Loss is on the solution and EOS, or on the whole text with
`train_on_inputs: true`. `roles_to_train` is not supported.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from prompt_strategies.base import CompletionStrategy, Rendered, Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class CodeStrategy(CompletionStrategy):
    """Rows of a prompt and its solution."""

    columns: ClassVar[tuple[str, ...]] = ("id", "prompt", "solution")
    given: ClassVar[tuple[str, ...]] = ("prompt",)
    dataset: ClassVar[str] = "code"
    prepared_by: ClassVar[str] = "cogex prepare code"
    task: ClassVar[Task] = "code"
    trained_to: ClassVar[str] = "go on with a Python function below its docstring"

    @classmethod
    def from_recipe(
        cls,
        tokenizer: "PreTrainedTokenizerFast",
        cfg: dict[str, Any],
        ds_cfg: dict[str, Any] | None = None,
    ) -> Self:
        """Return the strategy; raises ValueError for `roles_to_train`, for a row has no roles."""
        if (ds_cfg or {}).get("roles_to_train"):
            raise ValueError("`roles_to_train` is for rows of code and output: remove it")
        return super().from_recipe(tokenizer, cfg, ds_cfg)

    @staticmethod
    def render(row: Mapping[str, str]) -> Rendered:
        """Return prompt and solution as they are."""
        return Rendered(prompt=row["prompt"], completion=row["solution"], output_start=0)

    @classmethod
    def render_question(cls, instruction: str, input: str = "") -> str:
        """Return the start of a function as it is; it takes no input."""
        return instruction

    @staticmethod
    def parse(text: str) -> dict[str, str]:
        """Return the solution as it is: its indentation is Python."""
        return {"solution": text}


load = CodeStrategy.from_recipe  # what Axolotl calls
