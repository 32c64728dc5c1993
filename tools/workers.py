"""One model on every GPU of this machine: the first in this process, each other in its own.

Jobs are handed out in order, each to whichever is free. The same function makes each result from
the same inputs wherever it runs, so results do not depend on how many processes there are.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

import torch

import tools.models  # noqa: F401 - first, for what it imports would go to the network in a worker
from tools.errors import UserError

COUNT = "COGEX_PROCESSES"  # environment: how many processes hold a model

Work = Callable[[Any, Any], Any]  # makes a result of what a process holds, and a job


def processes() -> int:
    """How many processes hold a model: one for each GPU, or what `COGEX_PROCESSES` says."""
    asked = os.environ.get(COUNT, "")
    if not asked:
        return max(1, torch.cuda.device_count())
    if not asked.isdecimal() or not int(asked):
        raise UserError(f"{COUNT}={asked}: must be a number of processes, 1 or more")
    return int(asked)


class Worker:
    """A process that holds what `load` returns; it ends with this one."""

    def __init__(self, number: int, load: Callable[[], Any], threads: int) -> None:
        """Start the process; it uses GPU `number`, or `threads` of the CPU."""
        context = multiprocessing.get_context("spawn")  # a fork would share CUDA's state
        self._pipe, theirs = context.Pipe()
        self._one_at_a_time = threading.Lock()
        self._number = number
        target = (theirs, number, load, threads)
        context.Process(target=_serve, args=target, daemon=True).start()
        theirs.close()

    def __call__(self, work: Work, job: Any) -> Any:
        """Return `work` of a job there. Raises its errors, and UserError if the process ends."""
        with self._one_at_a_time:
            try:
                self._pipe.send((work, job))
                result, error = self._pipe.recv()
            except (EOFError, OSError):
                raise UserError(
                    f"process {self._number} of {processes()} has ended, as where memory is short; "
                    f"set {COUNT}=1 to use one process"
                ) from None
        if error is not None:
            raise error
        return result


class Workers:
    """The processes beside this one, each with what `load` returns, started when they have work.

    `load` is sent there, so it is a function of a module, or a `partial` of one.
    """

    def __init__(self, load: Callable[[], Any]) -> None:
        """Start none yet."""
        self._load = load
        self._started: list[Worker] = []

    def for_jobs(self, jobs: int) -> list[Worker]:
        """Return as many as so many jobs keep busy; none for one job or a single GPU."""
        count = processes()
        if not self._started and min(count, jobs) > 1:
            self._threads = max(1, torch.get_num_threads() // count)
            torch.set_num_threads(self._threads)
        for number in range(len(self._started) + 1, min(count, jobs)):
            self._started.append(Worker(number, self._load, self._threads))
        return self._started[: max(0, jobs - 1)]


def spread(
    work: Work, held: Any, jobs: Sequence[Any], workers: Workers | None
) -> Iterator[tuple[int, Any]]:
    """Yield (index, `work(held, job)`) of each job as it is done, by this process and the workers.

    Raises the first error; no other job begins then.
    """
    waiting = deque(enumerate(jobs))
    done: SimpleQueue[tuple[int, Any, BaseException | None]] = SimpleQueue()

    def serve(run: Callable[[Any], Any]) -> bool:
        """Do the next job; return whether there was one."""
        try:
            index, job = waiting.popleft()
        except IndexError:
            return False
        try:
            done.put((index, run(job), None))
        except BaseException as error:
            done.put((index, None, error))
        return True

    def keep_busy(worker: Worker) -> None:
        while serve(lambda job: worker(work, job)):
            pass

    for worker in workers.for_jobs(len(jobs)) if workers else []:
        threading.Thread(target=keep_busy, args=(worker,), daemon=True).start()
    try:
        for _ in jobs:
            if done.empty():
                serve(lambda job: work(held, job))
            index, result, error = done.get()
            if error is not None:
                raise error
            yield index, result
    finally:
        waiting.clear()


def _serve(pipe: Connection, number: int, load: Callable[[], Any], threads: int) -> None:
    """Answer jobs until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's to tell
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())
    held, failed = None, None
    try:
        held = load()
    except Exception as error:
        failed = error
    while True:
        try:
            work, job = pipe.recv()
        except EOFError:
            return
        pipe.send(_answer(work, held, job) if failed is None else (None, failed))


def _answer(work: Work, held: Any, job: Any) -> tuple[Any, Exception | None]:
    try:
        return work(held, job), None
    except Exception as error:
        return None, error
