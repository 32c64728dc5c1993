"""Axolotl strategy for ArXivDLInstruct: `type: prompt_strategies.arxivdl` in a recipe's dataset.

    datasets:
      - path: data/arxivdl/1000/train.jsonl
        ds_type: json
        type: prompt_strategies.arxivdl

Templates and loss are those of `prompt_strategies.alpaca`: the instruction asks for a function,
the response is the function. An augmented row's input is the rest of the function's file; a plain
row's input is empty, and its prompt has no Input section.
"""

from typing import ClassVar

from prompt_strategies.alpaca import AlpacaStrategy
from prompt_strategies.base import PublishedField


class ArxivdlStrategy(AlpacaStrategy):
    """Rows in Alpaca's templates whose response is a function."""

    dataset: ClassVar[str] = "arxivdl"
    prepared_by: ClassVar[str] = "cogex prepare arxivdl"
    published: ClassVar[str] = ""
    published_fields: ClassVar[tuple[PublishedField, ...]] = (
        PublishedField("instruction", ("prompt",)),
        PublishedField("output", ("function",), changed="moved to the left margin"),
        PublishedField("repo", ("repo",), changed="-"),
        PublishedField("file", ("file",), (), required=False, changed="empty if it is no text"),
        PublishedField(
            "input", ("full_code",), required=False, changed="with --augmented: less the function"
        ),
    )
    hub_dataset: ClassVar[str | None] = "AlgorithmicResearchGroup/ArXivDLInstruct"
    licence: ClassVar[str] = "each function keeps those of its own repository"
    trained_to: ClassVar[str] = "write a function of research code that an instruction asks for"


load = ArxivdlStrategy.from_recipe  # what Axolotl calls
