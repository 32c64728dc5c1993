"""Prepares the Alpaca dataset: alpaca_data.json of github.com/tatsu-lab/stanford_alpaca.

`tatsu-lab/alpaca` on the Hugging Face hub has the same rows with one more field, `text`,
which is left out. Some of the published outputs are empty: such a row is rejected.
The reasons and flags are those of `tools.prepare.pipeline`.
"""

from functools import partial
from typing import Any

from prompt_strategies.alpaca import AlpacaStrategy
from tools.prepare.fields import PreparedRow, as_text, required, without_blank_ends
from tools.prepare.pipeline import Format, prepare_rows


def _read(row: dict[str, Any]) -> PreparedRow:
    return {
        "instruction": required(row, "instruction", ("instruction",), str),
        "input": as_text("input", row.get("input")),
        "output": required(row, "output", ("output",), str),
    }


def _normalise(row: PreparedRow) -> PreparedRow:
    """Drop the blank lines around the output."""
    return row | {"output": without_blank_ends(row["output"])}


FORMAT = Format(
    strategy=AlpacaStrategy,
    published_fields="instruction, input and output",
    read=_read,
    normalise=_normalise,
)

prepare_alpaca = partial(prepare_rows, FORMAT)  # (source, out, *, val_size=2000, …) -> Summary
