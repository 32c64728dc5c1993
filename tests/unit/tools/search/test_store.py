"""What a search generated is kept: nothing is made twice, and a torn file goes on."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tools.backend import Batch, Generation, Request
from tools.errors import UserError
from tools.search.store import NAME, Store


class Echo:
    """Answers in batches of three, and remembers them; dies before batch `dies`."""

    def __init__(self, name: str = "echo", dies: int = 99) -> None:
        self.identity: dict[str, Any] = {"weights": name}
        self.batches: list[list[str]] = []
        self.dies = dies

    def run(self, requests: Sequence[Request]) -> Iterator[Batch]:
        for start in range(0, len(requests), 3):
            if len(self.batches) == self.dies:
                raise KeyboardInterrupt
            batch = list(enumerate(requests))[start : start + 3]
            self.batches.append([request.prompt for _, request in batch])
            yield [(index, made(request, self.identity["weights"])) for index, request in batch]


def made(request: Request, name: str = "echo") -> Generation:
    return Generation(f"{name}:{request.prompt}:{request.seed}\u2028\r", request.seed, True)


def asked(*prompts: str, seed: int = 1) -> list[Request]:
    return [Request(prompt, 0.05, seed, 10) for prompt in prompts]


TEN = asked(*"abcdefghij")


def test_each_request_is_made_once_and_comes_in_order(tmp_path: Path) -> None:
    mixed = [*TEN, TEN[0], *asked("a", seed=2)]
    assert Store(tmp_path).complete(Echo(), mixed, "x") == list(map(made, mixed))
    backend, store = Echo(), Store(tmp_path)
    assert store.complete(backend, mixed[::-1], "y") == list(map(made, mixed[::-1]))
    assert backend.batches == []
    assert store.calls == 11
    lines = [json.loads(line) for line in (tmp_path / NAME).read_text().split("\n") if line]
    assert [(line["prompt"], line["what"]) for line in lines][:2] == [("a", "x"), ("b", "x")]


@pytest.mark.parametrize(
    "other",
    [
        Request("a", 0.7, 1, 10),
        Request("a", 0.05, 2, 10),
        Request("a", 0.05, 1, 11),
        Request("b", 0.05, 1, 10),
        Request("a", 0.05, 1, 10, stop="\n"),
    ],
)
def test_what_decides_a_generation_is_in_its_key(tmp_path: Path, other: Request) -> None:
    store, backend = Store(tmp_path), Echo()
    store.complete(backend, asked("a"), "x")
    store.complete(backend, [other], "x")
    assert len(backend.batches) == 2
    assert store.complete(Echo("new"), [other], "x") == [made(other, "new")]


def test_what_may_follow_shrinks_with_each_call_and_each_part(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.plan = {"train": 20, "dev": 30, "test": 5}
    store.enter("train", 20)
    assert store.left == 55
    store.complete(Echo(), TEN, "x")
    assert store.left == 45
    store.complete(Echo(), TEN, "x")  # nothing new
    assert store.left == 45
    store.enter("dev", 12)  # fewer candidates than there might have been
    assert store.left == 17
    store.complete(Echo(), asked("k", "l"), "x")
    assert store.left == 15


def test_killed_search_makes_the_missing_batches_and_no_others(tmp_path: Path) -> None:
    whole = Echo()
    Store(tmp_path / "whole").complete(whole, TEN, "x")
    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).complete(Echo(dies=2), TEN, "x")
    rest = Echo()
    Store(tmp_path).complete(rest, TEN, "x")
    assert rest.batches == whole.batches[2:]
    assert (tmp_path / NAME).read_bytes() == (tmp_path / "whole" / NAME).read_bytes()


def test_file_torn_at_any_byte_goes_on(tmp_path: Path) -> None:
    path = tmp_path / NAME
    Store(tmp_path).complete(Echo(), TEN[:7], "x")
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        backend = Echo()
        assert Store(tmp_path).complete(backend, TEN[:7], "x") == list(map(made, TEN[:7]))
        assert all(len(batch) == 3 for batch in backend.batches[:-1])
        assert path.read_bytes() == content, length


@pytest.mark.parametrize("line", ["nonsense", "[]", "{}", '{"key": 1}', "[" * 9999])
def test_file_of_something_else_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / NAME).write_text(line + "\n")
    with pytest.raises(UserError, match=r"generations\.jsonl, line 1: is not a generation"):
        Store(tmp_path)
    assert (tmp_path / NAME).read_text() == line + "\n"
