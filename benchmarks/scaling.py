"""Does time grow with the rows alone, and how much memory does a row cost?

    python -m benchmarks.scaling [--rows 1000,5000,20000] [--select-rows 500,1000,4000]
                                 [--json FILE]

Each verb runs on each number of rows, each time in a process of its own, in a temporary folder:

- `cogex prepare cogex` and `cogex prepare alpaca`: `benchmarks.made_cogex`, as long as published
- `cogex preflight recipes/cogex-llama2-7b.yml` on the same rows: a real SentencePiece vocabulary of
  32,000, the true architecture, no weights
- `cogex select recipes/cogex-tiny.yml`: the demo's short rows over and over, a checkpoint of random
  weights; the base and the checkpoint are scored, and its copy in best/ on a few rows

Start-up is a large part of a small run. So growth is told from the smallest run on: the exponent is
the slope of log(seconds above the smallest run's) over log(rows above the smallest run's), which is
1 where each row costs the same.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.child import ROOT, Took, measure
from benchmarks.made_cogex import alpaca_rows, cogex_rows, write_array
from tools.files import write_json, write_jsonl

COGEX = (sys.executable, "-m", "cogex")
VAL_SHARE = 26  # one row in 26 is for validation, as 2,000 of 52,000
LLAMA2 = "meta-llama/Llama-2-7b-hf"


def main(
    rows: Annotated[str, typer.Option(help="Sizes for prepare and preflight.")] = "1000,5000,20000",
    select_rows: Annotated[str, typer.Option(help="Sizes for select.")] = "500,1000,4000",
    json: Annotated[Path | None, typer.Option(help="Also write the figures here.")] = None,
) -> None:
    """Run each verb on each size, print the table, write the figures."""
    out = json.resolve() if json else None
    figures = {}
    with tempfile.TemporaryDirectory() as name, chdir(name):
        Path("models").symlink_to(ROOT / "models")
        shutil.copytree(ROOT / "recipes", "recipes")
        for verb, run in VERBS.items():
            sizes = (select_rows if verb == "select" else rows).split(",")
            took = {size: run(size) for size in map(int, sizes)}
            figures[f"cogex {verb}"] = summary(took)
    print_figures(figures)
    if out:
        write_json(out, {"figures": figures})


def prepare_cogex(rows: int) -> Took:
    """Prepare made rows of CoGEX."""
    return _prepare("cogex", rows, cogex_rows)


def prepare_alpaca(rows: int) -> Took:
    """Prepare made rows of Alpaca."""
    return _prepare("alpaca", rows, alpaca_rows)


def _prepare(dataset: str, rows: int, make: Callable[[int], Iterator[dict[str, str]]]) -> Took:
    source, out = Path(f"{dataset}-{rows}.json"), Path(f"data/{dataset}")
    if not source.exists():
        write_array(source, make(rows))
    return measure([*COGEX, "prepare", dataset, "--input", str(source), "--out", str(out),
                    "--val-size", str(rows // VAL_SHARE)])  # fmt: skip


def preflight(rows: int) -> Took:
    """Check the paper's recipe on as many rows, its `validation_rows` set to what they allow."""
    _make_llama2()
    _prepare("cogex", rows, cogex_rows)
    text = (ROOT / "recipes" / "cogex-llama2-7b.yml").read_text()
    recipe = Path("recipes/cogex-llama2-7b.yml")
    wanted = f"validation_rows: {rows // VAL_SHARE}"
    recipe.write_text(text.replace("validation_rows: 2000", wanted))
    return measure([*COGEX, "preflight", str(recipe)])


def _make_llama2() -> None:
    """Make what preflight wants of the base: its true config and a tokenizer of its kind."""
    from tests import real_tokenizers
    from validation.preflight.architecture import load_config

    folder = Path(LLAMA2)
    if not folder.exists():
        config = load_config(LLAMA2)
        folder.mkdir(parents=True)
        real_tokenizers.build_llama2_hub(folder)
        config.save_pretrained(folder)


def select(rows: int) -> Took:
    """Select between the tiny base's checkpoints, of which there is one, on short rows."""
    from benchmarks.made_llama import write_checkpoint

    values = yaml.safe_load((ROOT / "recipes" / "cogex-tiny.yml").read_text())
    run, validation = Path(f"run-{rows}"), Path(f"val-{rows}.jsonl")
    _write_short_rows(validation, rows)
    values["test_datasets"][0]["path"] = str(validation)
    recipe = Path(f"select-{rows}.yml")
    recipe.write_text(yaml.safe_dump(values | {"output_dir": str(run)}))
    write_checkpoint(run / "checkpoint-1", "models/tiny-base", values, 1)
    return measure([*COGEX, "select", str(recipe)])


def _write_short_rows(path: Path, rows: int) -> None:
    from tools.prepare.cogex import prepare_cogex
    from tools.prepared_rows import read_prepared_rows
    from tools.tiny.corpus import write_cogex_rows

    source = Path("short")
    if not source.exists():
        write_cogex_rows(source / "data.json", 1000, 42)
        prepare_cogex(source / "data.json", source, val_size=0)
    made = enumerate(islice(cycle(read_prepared_rows(source / "train.jsonl")), rows))
    write_jsonl(path, (row | {"id": str(number)} for number, row in made))


VERBS: dict[str, Callable[[int], Took]] = {
    "prepare cogex": prepare_cogex,
    "prepare alpaca": prepare_alpaca,
    "preflight": preflight,
    "select": select,
}


def summary(took: dict[int, Took]) -> dict[str, Any]:
    """Return for each number of rows what it took, and how both grow; two sizes at least.

    The exponent is None with fewer than three sizes, or where a larger run was not slower.
    """
    sizes = sorted(took)
    first, last = took[sizes[0]], took[sizes[-1]]
    more_rows = [size - sizes[0] for size in sizes[1:]]
    more_seconds = [took[size].seconds - first.seconds for size in sizes[1:]]
    exponent = None
    if len(more_rows) > 1 and min(more_seconds) > 0:
        exponent = float(np.polyfit(np.log(more_rows), np.log(more_seconds), 1)[0])
    return {
        "runs": {
            f"{size:,} rows": {**took[size]._asdict(), "rows_per_second": size / took[size].seconds}
            for size in sizes
        },
        "rows_per_second_above_smallest": more_rows[-1] / more_seconds[-1],
        "mib_per_1000_rows": 1000 * (last.peak_mib - first.peak_mib) / more_rows[-1],
        "exponent": exponent,
    }


def print_figures(figures: dict[str, Any]) -> None:
    """Print a line for each run, and how each verb grows."""
    table = Table("", "rows", "seconds", "CPU seconds", "rows a second", "peak, MiB")
    growth = Table("", "rows a second", "MiB for 1,000 rows", "exponent", title="Growth")
    for verb, figure in figures.items():
        for rows, run in figure["runs"].items():
            table.add_row(verb, rows.removesuffix(" rows"), f"{run['seconds']:.1f}",
                          f"{run['cpu_seconds']:.1f}", f"{run['rows_per_second']:,.0f}",
                          f"{run['peak_mib']:,.0f}")  # fmt: skip
        keys = ("rows_per_second_above_smallest", "mib_per_1000_rows", "exponent")
        shown = [figure[key] for key in keys]
        growth.add_row(verb, *("-" if value is None else f"{value:,.2f}" for value in shown))
    Console(width=100).print(table, growth)


if __name__ == "__main__":
    typer.run(main)
