"""A model that is a function: what a search asks of it, and what it answers."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tools.backend import Batch, Generation, Request


class Scripted:
    """Answers each request by a function, all in one batch, and remembers what was asked."""

    def __init__(self, answer: Callable[[Request], str]) -> None:
        self.identity: dict[str, Any] = {"weights": "scripted"}
        self.answer = answer
        self.asked: list[Request] = []

    def run(self, requests: Sequence[Request]) -> Iterator[Batch]:
        self.asked.extend(requests)
        yield [(i, Generation(self.answer(item), 9, True)) for i, item in enumerate(requests)]
