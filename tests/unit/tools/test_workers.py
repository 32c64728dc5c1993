"""A model in several processes: the same bytes, every job once, errors that say what to do."""

import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tools.backend import Request
from tools.errors import UserError
from tools.generate import generate
from tools.in_process import InProcess
from tools.models import load_base, load_tokenizer
from tools.workers import COUNT, Workers, processes, spread

PROMPTS = [f"{number} and " * (1 + number % 5) for number in range(12)]


def held_number() -> list[int]:
    return [os.getpid()]


def refuse() -> None:
    raise UserError("there is no such model")


def process_and_double(held: list[int], job: int) -> tuple[int, int]:
    time.sleep(0.01)  # so that the other process has its share
    return held[0], 2 * job


def fail_at_three(held: Any, job: int) -> int:
    if job == 3:
        raise UserError("three")
    return job


def end(held: Any, job: int) -> None:
    if os.getpid() != job:
        os._exit(9)
    time.sleep(0.01)


def load(folder: Path) -> tuple[Any, Any]:
    return load_base(folder), load_tokenizer(folder)


@pytest.fixture(autouse=True)
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COUNT, "2")


@pytest.fixture(scope="module")
def workers() -> Workers:
    return Workers(held_number)


def test_every_job_is_done_once_by_both_processes(workers: Workers) -> None:
    done = dict(spread(process_and_double, held_number(), range(100), workers))
    assert {number: double for number, (_, double) in done.items()} == {
        number: 2 * number for number in range(100)
    }
    assert len({process for process, _ in done.values()}) == 2
    assert list(spread(process_and_double, [1], [], workers)) == []


def test_one_job_starts_no_process() -> None:
    idle = Workers(refuse)
    assert list(spread(process_and_double, [1], [5], idle)) == [(0, (1, 10))]
    assert idle.for_jobs(1) == []


def test_the_first_error_ends_it_wherever_it_is(workers: Workers) -> None:
    for several in (None, workers):
        with pytest.raises(UserError, match=r"^three$"):
            list(spread(fail_at_three, [1], range(1000), several))
    with pytest.raises(UserError, match=r"^there is no such model$"):
        list(spread(process_and_double, [1], range(9), Workers(refuse)))


def test_process_that_ends_is_named_with_what_to_do() -> None:
    with pytest.raises(UserError, match=rf"process 1 of 2 has ended.*{COUNT}=1"):
        list(spread(end, None, [os.getpid()] * 9, Workers(held_number)))


def test_count_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(COUNT)
    assert processes() == 1  # without a GPU
    assert Workers(refuse).for_jobs(9) == []
    for wrong in ("0", "two", "-1", "1.5"):
        monkeypatch.setenv(COUNT, wrong)
        with pytest.raises(UserError, match=f"{COUNT}={wrong}: must be a number"):
            processes()


def test_two_processes_write_what_one_writes(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.generate.TOKENS_PER_BATCH", 200)  # several batches
    model, tokenizer = load(tiny_base)
    requests = [Request(prompt, 1.0, seed, 12) for seed, prompt in enumerate(PROMPTS)]
    found = []
    for workers in (None, Workers(partial(load, tiny_base))):
        backend = InProcess(model, tokenizer, {}, workers=workers)
        sampled = sorted(item for batch in backend.run(requests) for item in batch)
        options = {"max_length": 60, "temperature": 0.7, "seed": 5, "workers": workers}
        found.append((sampled, generate(model, tokenizer, PROMPTS, **options)))
    assert found[0] == found[1]
    assert len({made.text for _, made in found[0][0]}) > 6
