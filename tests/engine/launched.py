"""Launchers as users start them, one a machine, each with its ranks; nothing of them stays."""

import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.engine.faults import LOST_AT
from tests.engine.forked import ENVIRONMENT

ACCELERATE = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
SECONDS = 400  # for a launch, on a machine that does other things too


@dataclass(frozen=True)
class Loss:
    """How launchers ended that lost something, one a machine, and what each printed."""

    codes: list[int]
    printed: list[str]
    seconds: float  # from the loss until the launchers had ended
    left: list[psutil.Process]  # what ran on
    kept: list[str]  # checkpoints after the loss


def launch_and_lose(name: str, folder: Path, machines: list[list[str]], fault: str) -> Loss:
    """Launch NAME.yml in a folder by a launcher for each machine, with options of its own.

    `fault` is what `tests.engine.faults` makes happen on the last machine.
    """
    launchers: list[subprocess.Popen[bytes]] = []
    logs = [folder / f"launcher-{i}.log" for i in range(len(machines))]
    (folder / LOST_AT).unlink(missing_ok=True)
    try:
        for options, log in zip(machines, logs, strict=True):
            happens = {"FAULT": fault if options is machines[-1] else ""}
            with log.open("w") as out:
                launchers.append(
                    subprocess.Popen(
                        [*ACCELERATE, *options, "-m", "axolotl.cli.train", f"{name}.yml"],
                        cwd=folder,
                        env=os.environ | ENVIRONMENT | happens,
                        start_new_session=True,
                        stdout=out,
                        stderr=out,
                    )
                )
        codes = [launcher.wait(SECONDS) for launcher in launchers]
        end, left = time.time(), _processes_in(folder)
    finally:
        for process in _processes_in(folder):
            process.kill()
        for launcher in launchers:
            launcher.wait()
    printed = [log.read_text(errors="replace") for log in logs]
    assert (folder / LOST_AT).is_file(), "".join(text[-3000:] for text in printed)
    seconds = end - float((folder / LOST_AT).read_text())
    kept = sorted(path.name for path in (folder / "outputs" / name).glob("*checkpoint-*"))
    return Loss(codes, printed, seconds, left, kept)


def _processes_in(folder: Path) -> list[psutil.Process]:
    """The launchers and ranks, each with a group of its own: what works in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder):
                found.append(process)
        except psutil.Error:
            continue  # another user's, or gone
    return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
