"""Runs the benchmarks one after the other, and makes a table of what they have measured.

    python -m benchmarks [PART …]     run these parts, or all: 25 minutes on two quiet cores
    python -m benchmarks --table      print what was kept, as Markdown

Each part is a module of this package with `--json FILE`, into which it writes `{"figures": …}`:
numbers under names that say what was measured, nested as it pleases. Here they are kept in
outputs/benchmarks/PART.json with command, date, machine, load before the start, and versions. A
part that fails does not stop the rest. Exit 1 if one has failed.
"""

import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console

from benchmarks.child import ENVIRONMENT, ROOT
from tools.files import write_json

KEPT = ROOT / "outputs" / "benchmarks"
PACKAGES = ("torch", "transformers", "axolotl", "trl", "peft", "datasets", "tokenizers",
            "gigatoken")  # fmt: skip
DEMO_MODEL = ROOT / "outputs" / "cogex-tiny" / "best"
PARTS: dict[str, list[str]] = {
    "tokenising": ["--rows", "20000"],
    "selecting": [],
    "training": [],
    "generation": ["recipes/cogex-tiny.yml", "tasks/tiny-coin.yml"],
    "scaling": [],
    "startup": [],
}

Names = tuple[str, ...]


def main(
    parts: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(PARTS)}.")] = None,
    table: Annotated[bool, typer.Option("--table", help="Print what was kept.")] = False,
) -> None:
    """Run parts, or print the table."""
    chosen = parts or list(PARTS)
    if unknown := [part for part in chosen if part not in PARTS]:
        raise typer.BadParameter(f"{', '.join(unknown)}: the parts are {', '.join(PARTS)}")
    if table:
        print(markdown({part: kept for part in chosen if (kept := _kept(part))}))
        return
    console = Console()
    start = time.monotonic()
    failed = [part for part in chosen if not run(part, PARTS[part], console)]
    console.rule(f"{(time.monotonic() - start) / 60:.1f} minutes in all")
    if failed:
        console.print(f"failed: {', '.join(failed)}", style="red")
    raise typer.Exit(int(bool(failed)))


def run(part: str, options: list[str], console: Console) -> bool:
    """Run a part, its output shown, and keep its figures; return if it ended well."""
    shown = " ".join(["python", "-m", f"benchmarks.{part}", *options])
    load = os.getloadavg()[0]
    if part == "generation" and not DEMO_MODEL.is_dir():
        console.rule("generation needs the demo's model", align="left")
        subprocess.run([sys.executable, "-m", "cogex", "demo"], cwd=ROOT, env=ENVIRONMENT)
    console.rule(shown, align="left")
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "figures.json"
        command = [sys.executable, "-m", f"benchmarks.{part}", *options, "--json", str(written)]
        code = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT).returncode
        seconds = time.monotonic() - start
        console.print(f"{part}: exit {code}, {seconds:.0f} s, load {load:.1f} before")
        if written.is_file():  # also where a figure is worse than it may be
            figures = json.loads(written.read_text())["figures"]
            about = {"command": shown, "seconds": seconds, "load_before": load, **circumstances()}
            write_json(KEPT / f"{part}.json", about | {"figures": figures})
    return code == 0


def circumstances() -> dict[str, Any]:
    """Return date, machine and versions."""
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB of memory",
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in PACKAGES},
    }


def _processor() -> str:
    """Return the name of the processor, where Linux tells it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _kept(part: str) -> dict[str, Any] | None:
    path = KEPT / f"{part}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def markdown(kept: dict[str, dict[str, Any]]) -> str:
    """Return a Markdown section for each part: how it was measured, and a line for each figure."""
    sections = []
    for part, found in kept.items():
        versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
        lines = [
            f"## {part}",
            "",
            f"`{found['command']}`, {found['date']}: {found['seconds']:.0f} s, load "
            f"{found['load_before']:.1f} before. {found['machine']}; {versions}.",
            "",
            "| measured | figure |",
            "|---|---|",
            *(
                f"| {' / '.join(name)} | {_shown(value)} |"
                for name, value in flat(found["figures"])
            ),
        ]
        sections.append("\n".join(lines))
    return "\n\n".join(sections) or f"nothing is kept in {KEPT.relative_to(ROOT)} yet"


def flat(figures: Any, name: Names = ()) -> Iterator[tuple[Names, Any]]:
    """Yield every figure with the names that lead to it."""
    if isinstance(figures, dict):
        for key, value in figures.items():
            yield from flat(value, (*name, str(key)))
    else:
        yield name, figures


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    typer.run(main)
