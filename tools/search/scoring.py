"""Scores candidates: the model emulates a given program on a row, and the metric judges."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tools.errors import UserError
from tools.search.backend import Backend, Request
from tools.search.candidates import Form
from tools.search.data import Task, TaskRow
from tools.search.metrics import wilson
from tools.search.racing import Evaluate
from tools.search.store import Store
from tools.search.vote import derived_seed, vote


@dataclass(frozen=True)
class Settings:
    """What decides a search beside task and model.

    Temperatures are the paper's (section 2.2). It states no `alpha` (the least share of the
    training rows that a candidate must get right), nor how often to try again: these are ours.
    """

    strategy: Literal["race", "exhaustive"] = "race"
    top: int = 3
    alpha: float = 0.1
    seed: int = 42
    tries: int = 3
    reasoner_temperature: float = 0.7
    emulator_temperature: float = 0.05
    reasoner_tokens: int = 1024
    emulator_tokens: int = 512

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:  # nan is none, and the command lets it through
            raise UserError(f"--alpha {self.alpha}: must be from 0 to 1")


@dataclass(frozen=True)
class Scorer:
    """A task, a model, and what is kept of its generations."""

    task: Task
    form: Form
    backend: Backend
    store: Store
    settings: Settings

    def propose(self, rows: Sequence[TaskRow], attempt: int) -> list[str]:
        """Let the reasoner write a program for each row, with sampling; return its whole text."""
        requests = [
            self._reasoner_request(row, self.settings.reasoner_temperature, "propose", attempt)
            for row in rows
        ]
        what = "writing candidates" if attempt == 0 else f"writing candidates, try {attempt + 1}"
        return [made.text for made in self.store.complete(self.backend, requests, what)]

    def solve(self, rows: Sequence[TaskRow], what: str) -> list[Any]:
        """Let the reasoner write and emulate a program of its own for each row; its answers."""
        requests = [
            self._reasoner_request(row, self.settings.emulator_temperature, "solve", 0)
            for row in rows
        ]
        generations = self.store.complete(self.backend, requests, what)
        return [self.form.answer(made.text) for made in generations]

    def emulate(
        self, candidates: Sequence[str], rows: Sequence[TaskRow], what: str
    ) -> list[list[Any]]:
        """Return for each candidate the answers of its emulation on each row."""
        requests = [
            Request(
                self.form.emulator_prompt(self.task.card.instruction, row.input, candidate),
                self.settings.emulator_temperature,
                derived_seed("emulate", self.settings.seed, candidate, row.input),
                self.settings.emulator_tokens,
            )
            for candidate in candidates
            for row in rows
        ]
        generations = self.store.complete(self.backend, requests, what)
        answers = [self.form.answer(made.text) for made in generations]
        return [
            answers[start : start + len(rows)] for start in range(0, len(answers), len(rows) or 1)
        ]

    def evaluate_on(
        self, candidates: Sequence[str], rows: Sequence[TaskRow], what: str
    ) -> Evaluate:
        """Return the function that `racing` calls: which candidates are right on which rows."""

        def evaluate(chosen: Sequence[int], numbers: Sequence[int]) -> np.ndarray:
            on = [rows[number] for number in numbers]
            answers = self.emulate([candidates[index] for index in chosen], on, what)
            right = [self.right(given, on) for given in answers]
            return np.array(right, dtype=np.int8).reshape(len(chosen), len(numbers))

        return evaluate

    def right(self, answers: Sequence[Any], rows: Sequence[TaskRow]) -> list[bool]:
        """Say of each answer whether the metric takes it."""
        return [
            self.task.metric.matches(answer, row.answer)
            for answer, row in zip(answers, rows, strict=True)
        ]

    def majority(self, answers: Sequence[Sequence[Any]], rows: Sequence[TaskRow]) -> list[Any]:
        """Return for each row the majority of the candidates' answers."""
        return [
            vote(
                [given[number] for given in answers],
                self.task.metric,
                derived_seed("vote", self.settings.seed, row.input),
            )
            for number, row in enumerate(rows)
        ]

    def accuracy(self, answers: Sequence[Any], rows: Sequence[TaskRow]) -> dict[str, Any]:
        """Return the share of right answers with its 95% interval (Wilson)."""
        return share(sum(self.right(answers, rows)), len(rows))

    def _reasoner_request(
        self, row: TaskRow, temperature: float, purpose: str, attempt: int
    ) -> Request:
        return Request(
            self.form.reasoner_prompt(self.task.card.instruction, row.input),
            temperature,
            derived_seed(purpose, self.settings.seed, row.input, attempt),
            self.settings.reasoner_tokens,
        )


def share(right: int, rows: int) -> dict[str, Any]:
    """Return a count of rows with its share and Wilson's 95% interval."""
    low, high = wilson(right, rows)
    return {"right": right, "rows": rows, "share": right / rows, "interval_95": [low, high]}
