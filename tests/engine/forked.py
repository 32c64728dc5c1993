"""Runs of the engine, each in a process that starts as a copy of one that has imported it.

The import takes 14 seconds of processor time. multiprocessing's fork server does it once for all
tests of a worker. A run is still a process of its own, and meets nothing that another left behind.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import connection, forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 1000  # for one run
ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",  # the same sums in the same order, and two runs at once
    "TOKENIZERS_PARALLELISM": "false",
    "AXOLOTL_DATASET_NUM_PROC": "0",  # no new processes for so few rows
    "PYTHONPATH": str(ROOT),
    "DO_NOT_TRACK": "true",  # else MLflow tells its makers; to it "1" is not true
}
# where one of these is set MLflow sends nothing, so that nothing would be proven
IN_TESTS = ("CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST")
CONTEXT = multiprocessing.get_context("forkserver")


def serve(hub: Path) -> None:
    """Start the fork server; `hub` is the folder for what its runs get of the hub."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (ENVIRONMENT | {"HF_HOME": str(hub)}).items():
            patch.setenv(name, value)
        for name in IN_TESTS:
            patch.delenv(name, raising=False)
        CONTEXT.set_forkserver_preload(["tests.engine.watched_run"])
        forkserver.ensure_running()


def start(folder: Path, log: str, work: str, *arguments: Any, **environment: object) -> BaseProcess:
    """Begin a function of `watched_run` in a folder; what it prints goes to the file `log`."""
    process = CONTEXT.Process(target=_run, args=(folder, log, environment, work, arguments))
    process.start()
    return process


def wait(*processes: BaseProcess) -> list[int | None]:
    """Wait for processes that need one another; if one fails, end the others. Return exit codes."""
    running = {process.sentinel: process for process in processes}
    while running:
        ended = [running.pop(sentinel) for sentinel in connection.wait(list(running), SECONDS)]
        if not ended or any(process.exitcode for process in ended):
            for process in running.values():
                process.kill()
    return [process.exitcode for process in processes]


def two_at_once[T](jobs: dict[str, Callable[[], T]]) -> dict[str, T]:
    """Do every job, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(jobs, pool.map(lambda job: job(), jobs.values()), strict=True))


def _run(
    folder: Path, log: str, environment: dict[str, object], work: str, arguments: tuple[Any, ...]
) -> None:
    os.setsid()  # a run that kills its process group kills itself alone
    os.chdir(folder)
    os.environ |= {name: str(value) for name, value in environment.items()}
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    # for the workers of data loaders: a process of a fork server would start them as new servers
    multiprocessing.set_start_method("fork", force=True)
    from tests.engine import watched_run

    getattr(watched_run, work)(*arguments)
