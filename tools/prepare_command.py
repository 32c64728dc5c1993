"""`cogex prepare DATASET`: wires each dataset to the function that prepares it, nothing else."""

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tools.files import write_json

prepare = typer.Typer(
    help="Turn raw data into prepared rows: checked, and split so that no task straddles it.",
    no_args_is_help=True,
)

JsonOption = Annotated[Path | None, typer.Option("--json", help="Also write the result here.")]


def _add_rows_command(name: str, function: str, description: str) -> None:
    """Add `cogex prepare NAME` for a dataset of instruction, input, code and output."""

    @prepare.command(name, help=description)
    def command(
        source: Annotated[Path, typer.Option("--input", help="The dataset's published file.")],
        out: Annotated[Path, typer.Option(help="Folder for train.jsonl, val.jsonl and the rest.")],
        val_size: Annotated[int, typer.Option(help="Validation rows.")] = 2000,
        seed: Annotated[int, typer.Option(help="Seed of the split.")] = 42,
        strict: Annotated[bool, typer.Option(help="Reject odd rows too.")] = False,
        max_rejected: Annotated[float, typer.Option(help="Largest share of rejected rows.")] = 0.05,
        sequence_len: Annotated[int, typer.Option(help="Flag rows of more tokens.")] = 2048,
        tokenizer: Annotated[
            str | None, typer.Option(help="Count tokens with this; else they are estimated.")
        ] = None,
        json_path: JsonOption = None,
    ) -> None:
        from tools.prepare_rows import print_summary

        module, called = function.split(":")
        summary = getattr(import_module(module), called)(
            source,
            out,
            val_size=val_size,
            seed=seed,
            strict=strict,
            max_rejected=max_rejected,
            sequence_len=sequence_len,
            tokenizer=tokenizer,
        )
        print_summary(summary, Console())
        if json_path is not None:
            write_json(json_path, vars(summary) | {"ok": summary.ok})
        raise typer.Exit(0 if summary.ok else 1)


_add_rows_command(
    "cogex", "tools.prepare:prepare_cogex", "data.json of mkhalifa/CoGEX, on the Hugging Face hub."
)
_add_rows_command(
    "alpaca", "tools.prepare_alpaca:prepare_alpaca", "alpaca_data.json, the paper's baseline."
)
