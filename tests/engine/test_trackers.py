"""Each tracker records a run when it is asked for, and sends nothing; none comes unasked.

test_resume has a run without any.
"""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.engine.forked import two_at_once
from tests.engine.small_run import Launched, Run, make_runs

STEPS = 2
SHORT = {
    "plugins": ["tools.training.plugin.CogexPlugin"],
    "max_steps": STEPS,
    "evals_per_epoch": None,
    "eval_strategy": "no",
    "saves_per_epoch": None,
    "save_strategy": "no",
}
ON_THE_LINE = {  # no two of them meet in one run
    "tensorboard wandb": "--use_tensorboard true --wandb_mode offline --use_wandb true",
    "trackio mlflow": "--use_trackio true --use_mlflow true"
    " --mlflow_tracking_uri sqlite:///mlflow.db",
}
IN_THE_RECIPE = {
    "use_tensorboard": True,
    "use_wandb": True,
    "wandb_mode": "offline",
    "wandb_name": "mine",
    "use_trackio": True,
    "trackio_run_name": "mine",
    "use_mlflow": True,
    "mlflow_tracking_uri": "sqlite:///outputs/mlflow.db",
    "mlflow_experiment_name": "cogex",
    "mlflow_run_name": "mine",
}
LEFT = {  # what a tracker leaves in the working folder, TRACKIO_DIR being in it
    "tensorboard": "outputs/runs/*/events.out.tfevents.*",
    "wandb": "wandb/offline-run-*/*.wandb",
    "trackio": "trackio/*.db",
    "mlflow": "**/mlflow.db",
}
ALL = " ".join(LEFT)


@pytest.fixture(scope="module")
def tracked(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Runs with two trackers each on the launch line, and one with all in the recipe.

    Gives, by the trackers' names, the run and how its launch ended.
    """
    runs = make_runs(tmp_path_factory.mktemp("trackers"), [*ON_THE_LINE, ALL])
    for name, run in runs.items():
        run.change(SHORT | (IN_THE_RECIPE if name == ALL else {}))
    options = {name: ON_THE_LINE.get(name, "").split() for name in runs}
    launched = two_at_once(
        {name: lambda name=name: runs[name].launch(*options[name]) for name in runs}
    )
    return {name: (run, launched[name]) for name, run in runs.items()}


@pytest.mark.parametrize(
    ("tracker", "asked"), [(each, names) for names in [*ON_THE_LINE, ALL] for each in names.split()]
)
def test_a_tracker_keeps_the_losses_of_the_run(
    tracked: dict[str, tuple[Run, Launched]], tracker: str, asked: str
) -> None:
    run, launched = tracked[asked]
    assert launched.code == 0, launched.printed[-3000:]
    [left] = run.folder.glob(LEFT[tracker])
    logged = json.loads((run.output / "trainer_state.json").read_text())["log_history"]
    losses = {entry["step"]: entry["loss"] for entry in logged if "loss" in entry}
    assert list(losses) == [1, STEPS]
    assert READERS[tracker](left) == pytest.approx(losses, rel=1e-6)
    if asked == ALL and tracker in NAMES:
        assert NAMES[tracker](left) == ["mine"]


@pytest.mark.parametrize("asked", [*ON_THE_LINE, ALL])
def test_only_what_is_asked_for_records_and_nothing_is_sent(
    engine: Path, tracked: dict[str, tuple[Run, Launched]], asked: str
) -> None:
    run, _ = tracked[asked]
    assert not (engine / "trackio").exists()  # where trackio keeps runs by default
    assert left_by_trackers(run.folder) == set(asked.split())
    assert (run.folder / "spoken-to").read_text() == ""


def left_by_trackers(run: Path) -> set[str]:
    """The trackers of which there is any trace in a working folder."""
    traces = {
        "tensorboard": "**/*tfevents*",
        "wandb": "**/wandb",
        "trackio": "**/trackio",
        "mlflow": "**/ml[fr]*",  # mlflow.db, mlruns
    }
    return {name for name, pattern in traces.items() if any(run.glob(pattern))}


# the readers: the loss of each step


def of_tensorboard(events: Path) -> dict[int, float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(events))
    accumulator.Reload()
    return {scalar.step: scalar.value for scalar in accumulator.Scalars("train/loss")}


def of_wandb(path: Path) -> dict[int, float]:
    rows = [record["history"]["item"] for record in wandb_records(path) if "history" in record]
    return {row["train/global_step"]: row["train/loss"] for row in rows if "train/loss" in row}


def wandb_records(path: Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in printed.splitlines()]


def of_trackio(database: Path) -> dict[int, float]:
    rows = [json.loads(row) for (row,) in query(database, "SELECT metrics FROM metrics")]
    return {row["train/global_step"]: row["train/loss"] for row in rows if "train/loss" in row}


def of_mlflow(database: Path) -> dict[int, float]:
    return dict(query(database, "SELECT step, value FROM metrics WHERE key = 'loss'"))


def query(database: Path, question: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(database) as connection:
        return connection.execute(question).fetchall()


READERS = {
    "tensorboard": of_tensorboard,
    "wandb": of_wandb,
    "trackio": of_trackio,
    "mlflow": of_mlflow,
}
# the runs' names; TensorBoard has none
NAMES = {
    "wandb": lambda path: [
        record["run"]["display_name"] for record in wandb_records(path) if "run" in record
    ],
    "trackio": lambda path: [
        name for (name,) in query(path, "SELECT DISTINCT run_name FROM metrics")
    ],
    "mlflow": lambda path: [name for (name,) in query(path, "SELECT DISTINCT name FROM runs")],
}
