"""Axolotl strategy for Alpaca rows: `type: prompt_strategies.alpaca` in a recipe's dataset.

    datasets:
      - path: data/alpaca/train.jsonl
        ds_type: json
        type: prompt_strategies.alpaca

The text is that of Axolotl's own `type: alpaca`, which tokenises prompt and response separately;
here, as everywhere in this package, the whole text is tokenised (see `tokenise`).
Loss is on the response unless the recipe says otherwise: see `prompt_strategies.base`.
A response is all output, so `roles_to_train: [output]` is the default under another name.
"""

from collections.abc import Mapping
from typing import ClassVar

from prompt_strategies import alpaca_layout
from prompt_strategies.base import (
    INPUT,
    INSTRUCTION,
    CompletionStrategy,
    PublishedField,
    Rendered,
    Task,
)


class AlpacaStrategy(CompletionStrategy):
    """Rows in the templates of `prompt_strategies.alpaca_layout`."""

    columns: ClassVar[tuple[str, ...]] = ("id", "instruction", "input", "output")
    dataset: ClassVar[str] = "alpaca"
    prepared_by: ClassVar[str] = "cogex prepare alpaca"
    published: ClassVar[str] = "alpaca_data.json, the paper's baseline."
    published_fields: ClassVar[tuple[PublishedField, ...]] = (
        INSTRUCTION,
        INPUT,
        PublishedField("output", ("output",), changed="blank lines around it dropped"),
    )
    hub_dataset: ClassVar[str | None] = "tatsu-lab/alpaca"
    licence: ClassVar[str] = "to our knowledge CC BY-NC 4.0; see its page"
    layout_version: ClassVar[int] = alpaca_layout.LAYOUT_VERSION
    task: ClassVar[Task] = "answer"
    trained_to: ClassVar[str] = "answer an instruction in text only (the paper's baseline)"

    @staticmethod
    def render(row: Mapping[str, str]) -> Rendered:
        """Return prompt (instruction, input) and completion (the response)."""
        return Rendered(
            prompt=alpaca_layout.render_prompt(row["instruction"], row["input"]),
            completion=alpaca_layout.render_completion(row["output"]),
            output_start=0,
        )


load = AlpacaStrategy.from_recipe  # what Axolotl calls
