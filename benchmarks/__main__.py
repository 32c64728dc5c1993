"""Runs the benchmarks one after the other, and keeps their figures.

    python -m benchmarks [PART …]     run these parts, or all: about half an hour on two quiet cores

Each part is a module of this package. With `--json FILE` it writes `{"figures": …}`, numbers under
names that say what was measured. This module adds command, date, machine, load before the start and
versions, and keeps all of it in outputs/benchmarks/PART.json. A part that fails does not stop the
others; the exit status is then 1.
"""

import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.child import ENVIRONMENT, ROOT
from tools.files import write_json
from tools.machine import describe_machine

MODULE = "benchmarks.{}"
KEPT = ROOT / "outputs" / "benchmarks"
PACKAGES = ("torch", "transformers", "axolotl", "trl", "peft", "datasets", "tokenizers",
            "gigatoken")  # fmt: skip
DEMO_MODEL = ROOT / "outputs" / "cogex-tiny" / "best"
PARTS: dict[str, list[str]] = {
    "tokenising": ["--rows", "20000"],
    "selecting": [],
    "gpu": (
        "--models small --variants faithful,packed,trl,trl-ordered --steps 3 --minutes 60 "
        "--limit 900 --out outputs/gpu"
    ).split(),
    "generation": ["recipes/cogex-tiny.yml", "tasks/tiny-coin.yml"],
    "racing": [],
    "scaling": [],
    "startup": [],
}


def main(
    parts: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(PARTS)}.")] = None,
) -> None:
    """Run parts, or all; exit 1 if one fails."""
    chosen = parts or list(PARTS)
    if unknown := [part for part in chosen if part not in PARTS]:
        raise typer.BadParameter(f"{', '.join(unknown)}: the parts are {', '.join(PARTS)}")
    console = Console()
    start = time.monotonic()
    failed = [part for part in chosen if not run(part, PARTS[part], console)]
    console.rule(f"{(time.monotonic() - start) / 60:.1f} minutes in all")
    if failed:
        console.print(f"failed: {', '.join(failed)}", style="red")
    raise typer.Exit(int(bool(failed)))


def run(part: str, options: list[str], console: Console) -> bool:
    """Run a part, show its output and keep its figures; return whether it succeeded."""
    shown = " ".join(["python", "-m", MODULE.format(part), *options])
    load = os.getloadavg()[0]
    if part == "generation" and not DEMO_MODEL.is_dir():
        console.rule("generation needs the demo's model", align="left")
        subprocess.run([sys.executable, "-m", "cogex", "demo"], cwd=ROOT, env=ENVIRONMENT)
    console.rule(shown, align="left")
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "figures.json"
        command = [sys.executable, "-m", MODULE.format(part), *options, "--json", str(written)]
        code = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT).returncode
        seconds = time.monotonic() - start
        console.print(f"{part}: exit {code}, {seconds:.0f} s, load {load:.1f} before")
        if written.is_file():  # also if the part fails because a figure is too bad
            figures = json.loads(written.read_text())["figures"]
            about = {"command": shown, "seconds": seconds, "load_before": load, **circumstances()}
            write_json(KEPT / f"{part}.json", about | {"figures": figures})
    return code == 0


def circumstances() -> dict[str, Any]:
    """Return date, machine and versions."""
    return {
        "date": datetime.date.today().isoformat(),
        "machine": describe_machine(),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in PACKAGES},
    }


if __name__ == "__main__":
    typer.run(main)
