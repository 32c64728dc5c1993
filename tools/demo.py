"""The whole way on a CPU: generated data, the tiny base, the real engine, a user's commands."""

import json
import multiprocessing
import os
import re
import runpy
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from safetensors import safe_open

from tools.errors import UserError
from tools.tiny.corpus import cogex_rows, write_cogex_rows

RECIPE = Path("recipes/cogex-tiny.yml")
CONTROL = Path("recipes/cogex-tiny-random.yml")
REAL = Path("recipes/cogex-smollm2-135m.yml")
DATA = Path("data/tiny")
ROWS, VAL_ROWS, SEED = 624, 144, 42  # 52 for each of twelve families
MIN_ANSWER, MIN_FAMILY = 0.92, 0.60
COGEX = [sys.executable, "-m", "cogex"]


class Demo:
    """Runs the steps in order and records their times in seconds."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.seconds: dict[str, float] = {}
        self.started = time.monotonic()

    def step(self, title: str, command: list[str], *, may_fail: bool = False) -> None:
        """Run one command of the README in a process of its own, its output shown.

        The process starts as a copy of this one, which has imported what the commands need.
        """
        self._announce(title, command)
        self._timed(title, lambda: self._run(command, may_fail))

    def train(self, title: str, recipe: Path, log: Path) -> None:
        """Launch Axolotl as the recipe says, its output in `log`, its steps in a progress bar."""
        threads = os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count() or 1)
        command = ["accelerate", "launch", "--cpu", "--num_cpu_threads_per_process", threads,
                   "-m", "axolotl.cli.train", str(recipe)]  # fmt: skip
        self._announce(title, command)
        self.console.print(f"  the engine's own output goes to {log}", style="dim")
        full = [sys.executable, "-m", "accelerate.commands.accelerate_cli", *command[1:]]
        self._timed(title, lambda: self._run_engine(full, log))

    def _announce(self, title: str, command: list[str]) -> None:
        self.console.rule(title, align="left")
        shown = " ".join(command).replace(" ".join(COGEX), "cogex")
        self.console.print(f"$ {shown}", style="bold", markup=False, soft_wrap=True)

    def _timed(self, title: str, work: Any) -> None:
        start = time.monotonic()
        work()
        self.seconds[title] = round(time.monotonic() - start, 1)

    def _run(self, command: list[str], may_fail: bool) -> None:
        process = multiprocessing.get_context("fork").Process(target=_module, args=command[2:])
        process.start()
        process.join()
        if process.exitcode == 2 or (process.exitcode and not may_fail):
            raise UserError(
                f"`{' '.join(command)}` ended with exit code {process.exitcode}; see above"
            )

    def _run_engine(self, command: list[str], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("step {task.completed}"
                   " of {task.total}"), TimeElapsedColumn())  # fmt: skip
        with log.open("w") as out, Progress(*columns, console=self.console) as progress:
            task = progress.add_task("starting the engine", total=None)
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, errors="replace",
            )  # fmt: skip
            assert process.stdout is not None
            for line in process.stdout:  # universal newlines: a tqdm update is a line
                out.write(line)
                if match := re.search(r"\|\s*(\d+)/(\d+) \[.*(?:s/it|it/s)", line):
                    done, total = int(match[1]), int(match[2])
                    progress.update(task, description="training", completed=done, total=total)
        if process.wait() != 0:
            raise UserError(f"training failed; the end of {log}:\n{_tail(log)}")


def run_demo(console: Console) -> dict[str, Any]:
    """Run everything from raw data to a checked checkpoint; return figures and times.

    Its `passed` is the verdict of curves and check. Must run in the repository's folder, where
    the recipes and the tiny base are. Raises UserError if a step fails.
    """
    if not RECIPE.is_file():
        raise UserError(f"{RECIPE}: is not here; run `cogex demo` in the repository's folder")
    os.environ |= {"DO_NOT_TRACK": "true", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
    import validation.check.check
    import validation.selection.select  # noqa: F401 (each of the commands below takes a copy)

    demo = Demo(console)
    runs = [_output_dir(RECIPE), _output_dir(CONTROL)]
    for run in runs:  # an earlier demo's
        shutil.rmtree(run, ignore_errors=True)
    console.print(f"Making {ROWS} rows in the published schema: {DATA}/data.json")
    write_cogex_rows(DATA / "data.json", ROWS, SEED)
    demo.step("1. prepare the data", [
        *COGEX, "prepare", "cogex", "--input", f"{DATA}/data.json", "--out", str(DATA),
        "--val-size", str(VAL_ROWS), "--seed", str(SEED), "--sequence-len", "512",
        "--tokenizer", "models/tiny-base",
    ])  # fmt: skip
    demo.train("2. fine-tune the tiny base by LoRA", RECIPE, runs[0] / "train.log")
    demo.step("3. judge the curves", [*COGEX, "curves", str(RECIPE)], may_fail=True)
    demo.step("4. select the best checkpoint", [*COGEX, "select", str(RECIPE)])
    demo.step(
        "5. check it on held-out rows",
        [*COGEX, "check", str(RECIPE), "--min-answer", str(MIN_ANSWER),
         "--min-family", str(MIN_FAMILY)],
        may_fail=True,
    )  # fmt: skip
    demo.step(
        "6. the base without adapter",
        [*COGEX, "check", str(RECIPE), "--mode", "reasoner", "--model", "base"],
        may_fail=True,
    )
    demo.step("7. a random base", [sys.executable, "-m", "tools.tiny", "random"])
    demo.train("8. the same LoRA on the random base", CONTROL, runs[1] / "train.log")
    demo.step("9. its best checkpoint", [*COGEX, "select", str(CONTROL)])
    demo.step("10. check it", [*COGEX, "check", str(CONTROL), "--mode", "reasoner"], may_fail=True)
    demo.step("11. the run on one page", [*COGEX, "report", str(RECIPE)])
    row = _unseen_row()
    demo.step("12. ask it something nobody trained on", [
        *COGEX, "ask", str(RECIPE), row["instruction"], "--input", row["input"]])  # fmt: skip
    return _summary(demo, runs)


def _module(name: str, *arguments: str) -> None:
    """Do what `python -m NAME ARGUMENTS` does."""
    sys.argv = [name, *arguments]
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def _unseen_row() -> dict[str, str]:
    """A row that is not in the demo's corpus."""
    return cogex_rows(ROWS + 2, SEED)[-1]


def _summary(demo: Demo, runs: list[Path]) -> dict[str, Any]:
    """Print the closing tables; return what they show."""
    manifest, selection = _json(DATA / "manifest.json"), _json(runs[0] / "selection.json")
    checks = {
        "fine-tuned": _json(runs[0] / "check.json"),
        "base, no adapter": _json(runs[0] / "check-base-reasoner.json"),
        "same LoRA, random base": _json(runs[1] / "check-reasoner.json"),
    }
    trained = _trained_parameters(runs[0] / "best" / "adapter_model.safetensors")
    console = demo.console
    console.rule("What came out", align="left")
    console.print(
        f"{manifest['train']} training and {manifest['val']} validation rows; "
        f"{trained:,} trained parameters; best checkpoint: {selection['best']}"
    )
    perplexities = Table("checkpoint", "epoch", "validation perplexity", "")
    for item in selection["checkpoints"]:
        mark = "best" if item["name"] == selection["best"] else ""
        perplexities.add_row(
            item["name"], f"{item['epoch']:.0f}", f"{item['perplexity']:.5f}", mark
        )
    console.print(perplexities)
    shares = Table("share of held-out rows", *checks)
    for name in checks["fine-tuned"]["measures"]:
        cells = [check["measures"][name] for check in checks.values()]
        shares.add_row(name, *(f"{cell['count'] / max(cell['rows'], 1):.1%}" for cell in cells))
    console.print(shares)
    total = round(time.monotonic() - demo.started, 1)
    times = ", ".join(f"{title.split('.')[0]}: {s:.0f} s" for title, s in demo.seconds.items())
    console.print(f"Time: {total:.0f} s in all (step {times})")
    healthy = bool(_json(runs[0] / "curves.json")["passed"])
    passed = healthy and bool(checks["fine-tuned"]["passed"])
    missed = "5" if healthy else "3"
    console.print(
        "Every threshold was met." if passed else f"A threshold was NOT met: see step {missed}."
    )
    console.print(f"A real language model next, on this machine too: {REAL} (docs/results.md)")
    return {"passed": passed, "seconds": demo.seconds, "seconds_total": total,
            "trained_parameters": trained, "selection": selection, "checks": checks}  # fmt: skip


def _trained_parameters(adapter: Path) -> int:
    with safe_open(adapter, framework="pt") as weights:
        return sum(weights.get_tensor(key).numel() for key in weights.keys())  # noqa: SIM118


def _output_dir(recipe: Path) -> Path:
    return Path("outputs") / recipe.stem


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])
