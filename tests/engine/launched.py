"""Launchers as users start them, one a machine, each with its ranks; nothing of them stays."""

import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.engine.killed_run import ENVIRONMENT
from tests.engine.lost_rank import LOST_AT

ACCELERATE = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
SECONDS = 280  # for a launch, on a machine that does other things too


@dataclass(frozen=True)
class Machine:
    """What one launcher is given: the folder it is started in, and options of its own."""

    folder: Path
    options: list[str]


@dataclass(frozen=True)
class Ended:
    """How launchers ended, one a machine, what each printed, and when all were gone."""

    codes: list[int]
    printed: list[str]
    at: float  # seconds since 1970
    left: list[psutil.Process]  # what ran on


def launch(recipe: str, machines: list[Machine], lose: str = "") -> Ended:
    """Start a launcher on each machine; wait until all have ended.

    `lose` is what `tests.engine.lost_rank` loses, on the last machine.
    """
    launchers: list[subprocess.Popen[bytes]] = []
    logs = [machine.folder / f"launcher-{i}.log" for i, machine in enumerate(machines)]
    try:
        for machine, log in zip(machines, logs, strict=True):
            last = machine is machines[-1]
            with log.open("w") as out:
                launchers.append(
                    subprocess.Popen(
                        [*ACCELERATE, *machine.options, "-m", "axolotl.cli.train", recipe],
                        cwd=machine.folder,
                        env=os.environ | ENVIRONMENT | {"LOSE": lose if last else ""},
                        start_new_session=True,
                        stdout=out,
                        stderr=out,
                    )
                )
        codes = [launcher.wait(SECONDS) for launcher in launchers]
        end, left = time.time(), _processes_of(machines)
    finally:
        for process in _processes_of(machines):
            process.kill()
        for launcher in launchers:
            launcher.wait()
    return Ended(codes, [log.read_text(errors="replace") for log in logs], end, left)


@dataclass(frozen=True)
class Loss:
    """A launch that lost a rank or a machine."""

    ended: Ended
    seconds: float  # from the loss until nothing of the launch was left
    kept: list[str]  # checkpoints after the loss


def launch_and_lose(recipe: str, run: Path, machines: list[Machine], what: str) -> Loss:
    """Start launchers as `launch` does, and lose something; `run` is the run folder."""
    ended = launch(recipe, machines, what)
    lost_at = machines[-1].folder / LOST_AT
    if not lost_at.is_file():
        raise AssertionError("".join(text[-3000:] for text in ended.printed))
    kept = sorted(path.name for path in run.glob("*checkpoint-*"))
    return Loss(ended, ended.at - float(lost_at.read_text()), kept)


def _processes_of(machines: list[Machine]) -> list[psutil.Process]:
    """The launchers and ranks, each with a group of its own: what works in a machine's folder."""
    folders, found = {str(machine.folder) for machine in machines}, []
    for process in psutil.process_iter():
        try:
            if process.cwd() in folders:
                found.append(process)
        except psutil.Error:
            continue  # another user's, or gone
    return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
