"""Each tracker, asked for on the launch line and by the recipe, records a run; none comes unasked.

The child process (this file run as a module) imports the engine once. Each run is then a copy of
it that does what `accelerate launch -m axolotl.cli.train recipe.yml ...` does in its process: the
same module, with the same command line.
"""

import atexit
import json
import multiprocessing
import os
import runpy
import socket
import sqlite3
import subprocess
import sys
import traceback
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engine.killed_run import ENVIRONMENT, ROOT, make_runs

STEPS = 2
SHORT = {
    "plugins": ["tools.training.plugin.CogexPlugin"],
    "max_steps": STEPS,
    "micro_batch_size": 2,
    "logging_steps": 1,
    "evals_per_epoch": None,
    "eval_strategy": "no",
    "saves_per_epoch": None,
    "save_strategy": "no",
}
ON_THE_LINE = {
    "tensorboard": "--use_tensorboard true",
    "wandb": "--wandb_mode offline --use_wandb true",
    "trackio": "--use_trackio true",
    "mlflow": "--use_mlflow true --mlflow_tracking_uri sqlite:///mlflow.db",
}
IN_THE_RECIPE = {
    "tensorboard": {"use_tensorboard": True},
    "wandb": {"use_wandb": True, "wandb_mode": "offline", "wandb_name": "mine"},
    "trackio": {"use_trackio": True, "trackio_run_name": "mine"},
    "mlflow": {
        "use_mlflow": True,
        "mlflow_tracking_uri": "sqlite:///outputs/mlflow.db",
        "mlflow_experiment_name": "cogex",
        "mlflow_run_name": "mine",
    },
}
LEFT = {  # what a tracker leaves in the working folder, TRACKIO_DIR being in it
    "tensorboard": "outputs/runs/*/events.out.tfevents.*",
    "wandb": "wandb/offline-run-*/*.wandb",
    "trackio": "trackio/*.db",
    "mlflow": "**/mlflow.db",
}
NO_RUN = "no tracker"
IN_TESTS = {"CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST"}  # where they stand MLflow sends nothing


# the child


def main(jobs: Path) -> None:
    """Launch each of a JSON list of jobs, as many at once as there are cores."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.engine.watched_run"])
    with ProcessPoolExecutor(os.cpu_count(), context, max_tasks_per_child=1) as pool:
        list(pool.map(launch, json.loads(jobs.read_text())))


def launch(job: dict[str, Any]) -> None:
    """Run Axolotl's command with {options} in {folder}; note who is spoken to outside."""
    os.chdir(job["folder"])
    os.environ["TRACKIO_DIR"] = "trackio"
    log = os.open("engine.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    spoken_to = os.open("spoken-to", os.O_WRONLY | os.O_CREAT)

    def note(event: str, values: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo":
            os.write(spoken_to, f"{values[:2]}\n".encode())
        elif event == "socket.connect" and values[0].family != socket.AF_UNIX:
            os.write(spoken_to, f"{values[1]}\n".encode())

    sys.addaudithook(note)
    multiprocessing.set_start_method("fork", force=True)
    sys.argv = ["train", "recipe.yml", *job["options"]]
    try:
        runpy.run_module("axolotl.cli.train", run_name="__main__")
        Path("ended").touch()
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()  # a process of a pool leaves them out; by them wandb closes its file


# the tests


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: for each tracker one by the launch line and one by the recipe."""
    folder = tmp_path_factory.mktemp("trackers")
    options = {f"{name} by line": line.split() for name, line in ON_THE_LINE.items()}
    keys = {f"{name} by recipe": keys for name, keys in IN_THE_RECIPE.items()}
    runs = make_runs(folder, ["base", NO_RUN, *options, *keys])
    for name, run in runs.items():
        recipe = run.folder / "recipe.yml"
        header = recipe.read_text().split("\n\n")[0].replace("= 32 (micro)", "= 2 (micro)")
        values = yaml.safe_load(recipe.read_text()) | SHORT | keys.get(name, {})
        recipe.write_text(f"{header}\n\n{yaml.safe_dump(values)}")
    jobs = [
        {"folder": str(run.folder), "options": options.get(name, [])}
        for name, run in runs.items()
        if name != "base"
    ]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    environment = {name: os.environ[name] for name in os.environ.keys() - IN_TESTS} | ENVIRONMENT
    environment |= {"HOME": str(folder / "home"), "HF_HOME": str(folder / "home/huggingface")}
    environment["DO_NOT_TRACK"] = "true"  # else MLflow tells its makers; to it "1" is not true
    with (folder / "child.log").open("w") as log:
        subprocess.run(
            [sys.executable, "-m", "tests.engine.test_trackers", str(folder / "jobs.json")],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        )
    return folder


@pytest.mark.parametrize("asked", ["by line", "by recipe"])
@pytest.mark.parametrize("tracker", LEFT)
def test_a_tracker_keeps_the_losses_of_the_run(tracked: Path, tracker: str, asked: str) -> None:
    run = tracked / f"{tracker} {asked}"
    assert (run / "ended").exists(), (run / "engine.log").read_text()[-3000:]
    [left] = run.glob(LEFT[tracker])
    logged = json.loads((run / "outputs/trainer_state.json").read_text())["log_history"]
    losses = {entry["step"]: entry["loss"] for entry in logged if "loss" in entry}
    assert list(losses) == [1, STEPS]
    assert READERS[tracker](left) == pytest.approx(losses, rel=1e-6)


@pytest.mark.parametrize("tracker", LEFT)
def test_a_tracker_keeps_to_itself(tracked: Path, tracker: str) -> None:
    """No other tracker records, and nothing is sent."""
    for asked in ("by line", "by recipe"):
        run = tracked / f"{tracker} {asked}"
        assert left_by_trackers(run) == {tracker}
        assert (run / "spoken-to").read_text() == ""


def test_no_tracker_records_unless_asked(tracked: Path) -> None:
    run = tracked / NO_RUN
    assert (run / "ended").exists(), (run / "engine.log").read_text()[-3000:]
    assert left_by_trackers(run) == set()
    assert (run / "spoken-to").read_text() == ""
    assert not (tracked / "home/huggingface/trackio").exists()  # its folder where none is named


@pytest.mark.parametrize("tracker", ["wandb", "trackio", "mlflow"])
def test_a_run_bears_its_name_from_the_recipe(tracked: Path, tracker: str) -> None:
    [left] = (tracked / f"{tracker} by recipe").glob(LEFT[tracker])
    assert names(tracker, left) == ["mine"]


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


def names(tracker: str, left: Path) -> list[str]:
    if tracker == "wandb":
        return [record["run"]["display_name"] for record in wandb_records(left) if "run" in record]
    table = {"trackio": "run_name FROM metrics", "mlflow": "name FROM runs"}[tracker]
    return [name for (name,) in query(left, f"SELECT DISTINCT {table}")]


READERS = {
    "tensorboard": of_tensorboard,
    "wandb": of_wandb,
    "trackio": of_trackio,
    "mlflow": of_mlflow,
}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
