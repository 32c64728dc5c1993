"""Runs recipes in the engine on one or more ranks: the child process of `rank_runs`.

The engine is imported once, by multiprocessing's fork server (see `train_recipes`); each rank is a
process that starts as a copy of it, with the environment that torchrun would give it.
"""

import json
import multiprocessing
import os
import shutil
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

SECONDS = 300  # for one job; a rank that waits for another would wait for half an hour


def main(jobs: Path) -> None:
    """Run the jobs of a JSON list, one after the other; `run_job` says what each is."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.engine.watched_run"])
    for job in json.loads(jobs.read_text()):
        run_job(context, **job)


def run_job(context: Any, folder: str, name: str, ranks: int, cut_from: str | None = None) -> None:
    """Run NAME.yml on all ranks; each leaves NAME-RANK.log and, if it ends well, NAME-RANK.json.

    `cut_from` names a finished run: the job finds it as if it had been cut off at the end.
    """
    if cut_from:
        _cut_off(Path(folder) / "outputs" / cut_from, Path(folder) / "outputs" / name)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = [context.Process(target=run_rank, args=(folder, name, rank, ranks, port))
             for rank in range(ranks)]  # fmt: skip
    for process in world:
        process.start()
    for process in world:
        process.join(SECONDS)
        if process.exitcode != 0:  # the others wait for it
            for other in world:
                other.kill()


def _cut_off(finished: Path, run: Path) -> None:
    """Copy a run without its last checkpoint and what was written after it."""
    shutil.copytree(finished, run)
    shutil.rmtree(max(run.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1])))
    (run / "adapter_model.safetensors").unlink()
    record = json.loads((run / "run.json").read_text())
    del record["finished"]
    (run / "run.json").write_text(json.dumps(record))


def run_rank(folder: str, name: str, rank: int, ranks: int, port: int) -> None:
    """Train as one rank; write the rows that each of its steps had."""
    os.chdir(folder)
    out = Path(f"{name}-{rank}")
    log = os.open(out.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    if ranks > 1:
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
        place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ |= {key: str(value) for key, value in place.items()}
    multiprocessing.set_start_method("fork", force=True)
    try:
        steps = _train(f"{name}.yml")
    except BaseException:
        traceback.print_exc()
        raise SystemExit(1) from None
    out.with_suffix(".json").write_text(json.dumps(steps))


def _train(recipe: str) -> list[list[Any]]:
    """The examples of each optimizer step, as ids and labels."""
    from axolotl.cli.args import TrainerCliArgs
    from axolotl.cli.config import load_cfg
    from axolotl.cli.train import do_train
    from axolotl.integrations.base import PluginManager

    from tests.engine.watched_run import Watch

    class Rows(Watch):
        """Leaves the weights alone, which may be sharded or on no device."""

        def post_model_load(self, cfg: Any, model: Any) -> None:
            pass

    rows = Rows()
    PluginManager.get_instance().plugins["rows"] = rows
    do_train(load_cfg(recipe), TrainerCliArgs())
    return [step for step in rows.steps if step]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
