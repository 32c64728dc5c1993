"""Prepares the Alpaca dataset: alpaca_data.json of github.com/tatsu-lab/stanford_alpaca.

`tatsu-lab/alpaca` on the Hugging Face hub has the same rows, in Parquet, with one more field,
`text`, which is left out. Some of the published outputs are empty: such a row is rejected.
The reasons and flags are those of `tools.prepare.pipeline`.
"""

from functools import partial

from prompt_strategies.alpaca import AlpacaStrategy
from tools.prepare.fields import without_blank_ends
from tools.prepare.pipeline import Format, prepare_rows

FORMAT = Format(
    strategy=AlpacaStrategy,
    tidying=(("output", "blank lines dropped", without_blank_ends),),
)

prepare_alpaca = partial(prepare_rows, FORMAT)  # (source, out, *, val_size=2000, …) -> Summary
