"""Compares training speed and losses: the faithful recipe, the packed one, and TRL's SFTTrainer.

    python -m benchmarks.training [--steps 3] [--hidden 768] [--layers 8] [--json PATH]

In a temporary folder it makes a Llama of random weights with a real SentencePiece vocabulary of
32,000, and COGEX rows of the published lengths (`benchmarks.made_cogex`). Then, on the CPU and each
in a process of its own, with the same rows, adapter, batches, schedule and seed:

- faithful: recipes/cogex-llama2-7b.yml by Axolotl, rows of like length together
- packed: the same with what recipes/cogex-llama2-7b-packed.yml sets otherwise
- packed, by document: the same with the attention that Axolotl computes for packs on a GPU; on a
  CPU it masks most of what it has computed
- TRL: SFTTrainer with completion-only loss, which takes the rows at random
- TRL, our order: the same with the rows in the order of the faithful run, so that their losses can
  be compared step by step

Prints useful tokens a second (padding not counted, the first step left out), by the clock and by
the CPU time that the process used, which other work on the machine changes less. Then the losses
side by side: as logged, and as mean over the step's tokens, for Axolotl logs the mean of the micro
batches' means and TRL the mean over tokens.
"""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import short_runs
from benchmarks.made_llama import make_llama
from benchmarks.meter import rates
from benchmarks.shares import told
from tests.engine.cpu_overrides import overrides
from tools.files import write_json
from tools.recipe import Recipe, read_recipe

FAITHFUL = short_runs.RECIPES / "cogex-llama2-7b.yml"
SKIPPED = 1  # steps at the start that are not timed
ACCUMULATION = 2  # micro batches of 4 in a step: 8 examples and not 32, for the time that it takes
SAME_ORDER = "TRL, our order"

Report = dict[str, Any]


def main(
    steps: Annotated[int, typer.Option(help="Optimizer steps of 8 examples.")] = 3,
    hidden: Annotated[int, typer.Option(help="Width of the model.")] = 768,
    layers: Annotated[int, typer.Option(help="Layers of the model.")] = 8,
    json: Annotated[Path | None, typer.Option(help="Where to write all that was seen.")] = None,
) -> None:
    """Make everything, train with each, print the tables."""
    with tempfile.TemporaryDirectory() as name:
        reports = train_all(Path(name), steps, hidden, layers)
    console = Console()
    console.print(speeds(reports))
    for name, report in reports.items():
        console.print(f"{name}: {told(report['shares'])}")
    console.print(losses(reports))
    if json:
        write_json(json, {"figures": figures(reports), "reports": reports})


def train_all(folder: Path, steps: int, hidden: int, layers: int) -> dict[str, Report]:
    """Train with each contestant; return their reports."""
    make_llama(folder / "base", hidden, layers)
    faithful, packed = read_recipe(FAITHFUL), read_recipe(short_runs.PACKED)
    chosen = folder / "steps.jsonl"

    def recipe(name: str, source: Recipe, *, data: Path = chosen, **more: Any) -> Recipe:
        packs = 2 if source is packed else 1  # of a pack's two rows, where a micro batch has four
        cut = {
            "base_model": str(folder / "base"), "max_steps": steps, "plugins": [],
            "gradient_accumulation_steps": packs * ACCUMULATION,
        }  # fmt: skip
        changes = overrides(source) | cut | more
        return short_runs.write_recipe(folder / f"{name}.yml", source, data, changes)

    epoch = recipe("epoch", faithful, data=short_runs.make_rows(folder))
    short_runs.sample_steps(epoch, steps, chosen, rows_a_step=4 * ACCUMULATION)
    shuffled: dict[str, Any] = {"curriculum_sampling": None}
    return {
        "faithful": short_runs.run("axolotl", recipe("faithful", faithful)),
        "packed": short_runs.run("axolotl", recipe("packed", packed, **shuffled)),
        "packed, by document": short_runs.run(
            "axolotl", recipe("documents", packed, **shuffled), "by-document"
        ),
        "TRL": short_runs.run("trl", recipe("trl", faithful), "random"),
        SAME_ORDER: short_runs.run("trl", recipe("trl-same", faithful), "sequential"),
    }


def figures(reports: dict[str, Report]) -> dict[str, Any]:
    """Return the rates of each, and how the losses of faithful and TRL differ."""
    measured = {
        name: asdict(rates(report["steps"], SKIPPED)) | {"shares of time": report["shares"]}
        for name, report in reports.items()
    }
    return {"rates": measured, "faithful beside TRL in our order": differences(reports)}


def speeds(reports: dict[str, Report]) -> Table:
    """Tabulate what each reached, and how that compares with TRL."""
    table = Table(
        "", "useful tokens/s", "times TRL", "useful tokens a CPU second", "times TRL", "padding",
        "examples a step", title=f"without the first {SKIPPED} step",
    )  # fmt: skip
    measured = {name: rates(report["steps"], SKIPPED) for name, report in reports.items()}
    trl = measured["TRL"]
    for name, rate in measured.items():
        times = rate.tokens_per_second / trl.tokens_per_second
        cpu_times = rate.tokens_per_cpu_second / trl.tokens_per_cpu_second
        table.add_row(
            name, f"{rate.tokens_per_second:,.0f}", f"{times:.2f}",
            f"{rate.tokens_per_cpu_second:,.0f}", f"{cpu_times:.2f}", f"{rate.padding:.1%}",
            f"{rate.examples_per_step:.1f}",
        )  # fmt: skip
    return table


def losses(reports: dict[str, Report]) -> Table:
    """Tabulate the losses of each step as logged, and what remains between equal averages."""
    table = Table("step", *reports, "mean over tokens: faithful", SAME_ORDER)
    faithful, same = reports["faithful"]["steps"], reports[SAME_ORDER]["steps"]
    for number in range(len(faithful)):
        logged = [report["steps"][number]["loss"] for report in reports.values()]
        means = [steps[number]["loss_by_token"] for steps in (faithful, same)]
        table.add_row(str(number + 1), *(f"{value:.6f}" for value in (*logged, *means)))
    found = differences(reports)
    table.caption = (
        f"faithful beside {SAME_ORDER}: the same rows in each step: {found['same_rows']}; largest "
        f"relative difference of the loss as logged {found['loss']:.1e}, as mean over tokens "
        f"{found['loss_by_token']:.1e}, of the gradient's norm {found['grad_norm']:.1e}, of the "
        f"learning rate {found['learning_rate']:.1e}"
    )
    return table


def differences(reports: dict[str, Report]) -> dict[str, Any]:
    """Return whether the rows are the same, and the largest relative differences of the steps."""
    ours, theirs = reports["faithful"], reports[SAME_ORDER]
    keys = ("loss", "loss_by_token", "grad_norm", "learning_rate")
    steps = list(zip(ours["steps"], theirs["steps"], strict=True))
    largest = {
        key: max(abs(a[key] - b[key]) / max(abs(b[key]), 1e-12) for a, b in steps) for key in keys
    }
    return {"same_rows": ours["order"] == theirs["order"], **largest}


if __name__ == "__main__":
    typer.run(main)
