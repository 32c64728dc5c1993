"""Scores candidates: the model emulates a given program on a row, and the metric judges."""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tools.backend import Backend, Request
from tools.errors import UserError
from tools.intervals import wilson
from tools.python_text import parse
from tools.search.candidates import Form
from tools.search.data import Task, TaskRow
from tools.search.racing import Evaluate
from tools.search.store import Store
from tools.search.vote import Majority, derived_seed, vote


@dataclass(frozen=True)
class Settings:
    """The settings of a search.

    `alpha` is the least share of the training rows that a candidate must get right, and `tries` how
    often one is sampled until it does. The paper states neither; it states the temperatures
    (section 2.2).
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
        if not 0 <= self.alpha <= 1:  # also refuses nan, which the command lets through
            raise UserError(f"--alpha {self.alpha}: must be from 0 to 1")


@dataclass(frozen=True)
class Scorer:
    """A task, a model, and the store of its generations."""

    task: Task
    form: Form
    backend: Backend
    store: Store
    settings: Settings

    def propose(self, rows: Sequence[TaskRow], attempt: int) -> list[str]:
        """Let the model write a program for each row, with sampling; return the whole texts."""
        what = "writing candidates" if attempt == 0 else f"writing candidates, try {attempt + 1}"
        return self._written(rows, self.settings.reasoner_temperature, "propose", attempt, what)

    def solve(self, rows: Sequence[TaskRow], what: str) -> list[Any]:
        """Let the model write and emulate a program for each row; return its answers."""
        texts = self._written(rows, self.settings.emulator_temperature, "solve", 0, what)
        return [self.form.answer(text) for text in texts]

    def _written(
        self, rows: Sequence[TaskRow], temperature: float, purpose: str, attempt: int, what: str
    ) -> list[str]:
        requests = [
            Request(
                self.form.reasoner_prompt(self.task.card.instruction, row.input),
                temperature,
                derived_seed(purpose, self.settings.seed, row.input, attempt),
                self.settings.reasoner_tokens,
            )
            for row in rows
        ]
        return [made.text for made in self.store.complete(self.backend, requests, what)]

    def emulate(
        self, candidates: Sequence[str], rows: Sequence[TaskRow], what: str
    ) -> list[list[Any]]:
        """Let the model emulate each candidate on each row; return each candidate's answers."""
        requests = [
            emulator_request(
                self.form, self.task.card.instruction, row.input, candidate, self.settings
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
        """Return the function by which `racing` asks which candidates are right on which rows.

        It tells the store which candidate is the best so far.
        """
        counts = np.zeros((len(candidates), 2), dtype=int)  # right, and scored

        def evaluate(chosen: Sequence[int], numbers: Sequence[int]) -> np.ndarray:
            on = [rows[number] for number in numbers]
            answers = self.emulate([candidates[index] for index in chosen], on, what)
            given = [self.right(item, on) for item in answers]
            right = np.array(given, dtype=np.int8).reshape(len(chosen), len(numbers))
            counts[list(chosen)] += np.stack([right.sum(axis=1), np.full(len(chosen), len(on))], 1)
            best = max(chosen, key=lambda index: (counts[index, 0], -index))
            hits, scored = counts[best].tolist()
            self.store.best = f"{_named(candidates[best])}, {hits} of {scored} rows"
            return right

        return evaluate

    def right(self, answers: Sequence[Any], rows: Sequence[TaskRow]) -> list[bool]:
        """Return for each answer whether it is right by the task's metric."""
        return [
            self.task.metric.matches(answer, row.answer)
            for answer, row in zip(answers, rows, strict=True)
        ]

    def majority(self, answers: Sequence[Sequence[Any]], rows: Sequence[TaskRow]) -> list[Majority]:
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
        """Return the share of right answers with its 95% interval (Wilson).

        `by_row` has a 1 for each row with a right answer, and a 0 for each other.
        """
        each = self.right(answers, rows)
        right = sum(each)
        low, high = wilson(right, len(rows))
        return {
            "right": right,
            "rows": len(rows),
            "share": right / len(rows),
            "interval_95": [low, high],
            "by_row": "".join(str(int(holds)) for holds in each),
        }


def _named(candidate: str) -> str:
    """The name of a program's first function, or a plan's first line."""
    names = [node.name for node in parse(candidate).body if isinstance(node, ast.FunctionDef)]
    return names[0] if names else candidate.split("\n")[0]


def emulator_request(
    form: Form, instruction: str, input: str, candidate: str, settings: Any
) -> Request:
    """Return the request to emulate a candidate on an input, by `Settings` or those of a result."""
    return Request(
        form.emulator_prompt(instruction, input, candidate),
        settings.emulator_temperature,
        derived_seed("emulate", settings.seed, candidate, input),
        settings.emulator_tokens,
    )
