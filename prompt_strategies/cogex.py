"""Axolotl strategy for CoGEX rows: `type: prompt_strategies.cogex` in a recipe's dataset.

    datasets:
      - path: data/cogex/train.jsonl
        ds_type: json
        type: prompt_strategies.cogex
        roles_to_train: [output]  # only for loss on the output alone

Loss is on code and output unless the recipe says otherwise: see `prompt_strategies.base`.
"""

from collections.abc import Mapping
from typing import ClassVar

from prompt_strategies import layout
from prompt_strategies.base import (
    INPUT,
    INSTRUCTION,
    CompletionStrategy,
    PublishedField,
    Rendered,
    Task,
)


class CogexStrategy(CompletionStrategy):
    """Rows in the four sections of `prompt_strategies.layout`."""

    columns: ClassVar[tuple[str, ...]] = ("id", "instruction", "input", "code", "output")
    dataset: ClassVar[str] = "cogex"
    prepared_by: ClassVar[str] = "cogex prepare cogex"
    published: ClassVar[str] = "data.json of mkhalifa/CoGEX, on the Hugging Face hub."
    # the dataset card and its replications spell the fields differently
    published_fields: ClassVar[tuple[PublishedField, ...]] = (
        INSTRUCTION,
        INPUT,
        PublishedField("code", ("code_prompt", "code"), changed="blank lines around it dropped"),
        PublishedField(
            "output",
            ("code_output", "code output", "output"),
            (str, dict),
            changed="blank lines around it and `output =` dropped; an object to a Python dict",
        ),
    )
    hub_dataset: ClassVar[str | None] = "mkhalifa/CoGEX"
    layout_version: ClassVar[int] = layout.LAYOUT_VERSION
    task: ClassVar[Task] = "program"
    trained_to: ClassVar[str] = (
        "answer an instruction by writing a program, calling it, and emulating its\n"
        "execution to a dict with an `answer`"
    )

    @staticmethod
    def render(row: Mapping[str, str]) -> Rendered:
        """Return prompt (instruction, input) and completion (program, call, output)."""
        return Rendered(
            prompt=layout.render_prompt(row["instruction"], row["input"]),
            completion=layout.render_completion(row["code"], row["output"]),
            output_start=len(layout.render_code_section(row["code"])),
        )

    @staticmethod
    def parse(text: str) -> dict[str, str]:
        """Return program, call and output of a generated completion."""
        return vars(layout.parse_completion(text))


load = CogexStrategy.from_recipe  # what Axolotl calls
