"""Runs recipes in the engine, as many at once as there are cores: the child process of the tests.

The engine takes 15 seconds to import. It is imported once, by multiprocessing's fork server; each
recipe then runs in a process that starts as a copy of it, so no run meets what another left behind.
"""

import json
import multiprocessing
import os
import sys
import traceback
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any


def main(jobs: Path) -> None:
    """Run the jobs of a JSON list; each leaves report.json and engine.log in its folder."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.engine.watched_run"])
    with ProcessPoolExecutor(os.cpu_count(), context, max_tasks_per_child=1) as pool:
        list(pool.map(run_job, json.loads(jobs.read_text())))


def run_job(job: dict[str, Any]) -> None:
    """Run {recipe, overrides} in {folder}; what goes wrong is in the report."""
    os.chdir(job["folder"])
    log = os.open("engine.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    # for the workers of data loaders: a process of a fork server would start them as new servers
    multiprocessing.set_start_method("fork", force=True)
    try:
        from tests.engine.watched_run import run

        report = run(job["recipe"], job["overrides"])
    except BaseException as error:
        traceback.print_exc()
        report = {"error": f"{type(error).__name__}: {error}"}
    Path("report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
