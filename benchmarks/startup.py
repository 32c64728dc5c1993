"""How long does the command take to start?

    python -m benchmarks.startup [--json FILE]

Times `cogex --help` (the median of five runs after a warm-up; at most 0.5 s) and `cogex preflight
recipes/cogex-tiny.yml` on the demo's rows (one run; at most 20 s). Exit 1 if one takes longer.
"""

import statistics
import sys
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.child import ROOT, measure
from tools import demo
from tools.files import write_json
from tools.prepare.cogex import prepare_cogex
from tools.tiny.corpus import write_cogex_rows

HELP_RUNS = 5
MOST_HELP, MOST_PREFLIGHT = 0.5, 20.0  # seconds


def main(
    json: Annotated[Path | None, typer.Option(help="Also write the figures here.")] = None,
) -> None:
    """Time both, print them, and exit 1 if one takes too long."""
    out = json.resolve() if json else None
    with tempfile.TemporaryDirectory() as name, chdir(name):
        for link in ("recipes", "models"):
            Path(link).symlink_to(ROOT / link)
        write_cogex_rows(demo.DATA / "data.json", demo.ROWS, demo.SEED)
        prepare_cogex(demo.DATA / "data.json", demo.DATA, val_size=demo.VAL_ROWS, seed=demo.SEED)
        runs = [_seconds("--help") for _ in range(HELP_RUNS + 1)][1:]
        preflight = _seconds("preflight", str(demo.RECIPE))
    help_seconds = statistics.median(runs)
    console = Console()
    console.print(f"cogex --help: {help_seconds:.2f} s, it may take {MOST_HELP} s")
    console.print(f"cogex preflight {demo.RECIPE}: {preflight:.1f} s, it may take {MOST_PREFLIGHT}")
    if out:
        figures = {"cogex --help, s": help_seconds, f"cogex preflight {demo.RECIPE}, s": preflight}
        write_json(out, {"figures": figures})
    raise typer.Exit(int(help_seconds > MOST_HELP or preflight > MOST_PREFLIGHT))


def _seconds(*arguments: str) -> float:
    return measure([sys.executable, "-m", "cogex", *arguments]).seconds


if __name__ == "__main__":
    typer.run(main)
