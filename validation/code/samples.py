"""Provides the completions that `cogex codebench` scores: from a model or from a file."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tools.code.humaneval import humaneval_task
from tools.code.mbpp import mbpp_task
from tools.code.tasks import MINI, Task, all_tasks, own_tasks, read_published
from tools.errors import UserError
from tools.generate import NOTHING, Generation, generate
from tools.models import load_trained
from tools.prepare.fetch import verified
from tools.recipe import Recipe
from validation.check.check import load_named
from validation.selection.checkpoints import checkpoints

Suite = Literal["mini", "humaneval", "mbpp"]

# where HumanEval cuts a completion: Chen et al. 2021, section 2
STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")


@dataclass(frozen=True)
class Sampling:
    """How completions are generated: `samples` for each task; greedy at temperature 0."""

    samples: int = 1
    temperature: float = 0.0
    max_new_tokens: int = 512
    seed: int = 42


@dataclass(frozen=True)
class Sample:
    """One completion of a task, cut as it is tried.

    `generation` is the model's uncut text. It is None for a completion from a file, and for a
    prompt that fills the context (`too_long`).
    """

    task: Task
    task_id: Any  # as it was given
    completion: str
    generation: Generation | None = None
    too_long: bool = False

    @property
    def program(self) -> str:
        """Prompt and completion."""
        return self.task.prompt + self.completion

    @property
    def written(self) -> Generation:
        """The generation, or what is known of it."""
        return self.generation or Generation(self.completion, 0, True)


Sources = dict[str, Callable[[Sequence[Task]], list[Sample]]]


def load_suite(suite: Suite, data: Path | None) -> tuple[list[Task], dict[str, str] | None]:
    """Return the tasks of a suite and their file; None for the mini suite.

    Without `data` it is the fetched file. Raises UserError if it is missing or damaged.
    """
    if suite == "mini":
        if data is not None:
            raise UserError("--data: the mini suite comes with this project; leave the option out")
        return list(own_tasks(MINI)), None
    published = read_published(data or verified(suite))
    make = {"humaneval": humaneval_task, "mbpp": mbpp_task}[suite]
    origin = {"path": str(published.path), "sha256": published.sha256}
    return all_tasks(published, make), origin


def model_sources(recipe: Recipe | None, target: Path, name: str, sampling: Sampling) -> Sources:
    """Return a function for each model that makes its samples.

    The model is that of a folder, or a recipe's by name; `all` means the base and every
    checkpoint. Raises UserError if there is no usable checkpoint.
    """
    if recipe is None:
        return {target.resolve().name: partial(_generate, partial(load_trained, target), sampling)}
    names = [name]
    if name == "all":
        names = [item.name for item in checkpoints(recipe) if item.status == "ok"]
        if not names:
            raise UserError(f"{recipe.output_dir}: no checkpoint can be used; see `cogex select`")
        if recipe.adapter:  # a whole model begins with random weights, or with another's
            names.insert(0, "base")
    return {each: partial(_generate, partial(load_named, recipe, each), sampling) for each in names}


def _generate(
    load: Callable[[], tuple[Any, Any]], sampling: Sampling, tasks: Sequence[Task]
) -> list[Sample]:
    """Load model and tokenizer; return the samples of the tasks, in the order of the tasks."""
    model, tokenizer = load()
    every = [task for task in tasks for _ in range(sampling.samples)]
    generations = generate(
        model,
        tokenizer,
        [task.prompt for task in every],
        max_length=model.config.max_position_embeddings,
        max_new_tokens=sampling.max_new_tokens,
        temperature=sampling.temperature,
        seed=sampling.seed,
    )
    return [
        Sample(task, task.task_id, "", too_long=True)
        if written == NOTHING
        else Sample(task, task.task_id, cut(written.text), written)
        for task, written in zip(every, generations, strict=True)
    ]


def cut(text: str) -> str:
    """Return a completion up to the first of `STOPS`, where another top-level statement begins."""
    return text[: min((at for stop in STOPS if (at := text.find(stop)) >= 0), default=len(text))]


def read_samples(path: Path, tasks: Sequence[Task]) -> list[Sample]:
    """Read completions from a file of `{"task_id", "completion"}` lines; they are not cut.

    Raises UserError naming the line that has no completion, or no task of the suite.
    """
    by_id = {str(task.task_id): task for task in tasks}
    made = []
    for number, row in enumerate(read_published(path, "samples").rows, 1):
        match row:
            case {"task_id": (str() | int()) as task_id, "completion": str(completion)}:
                task = by_id.get(str(task_id))
            case _:
                raise UserError(
                    f"{path}, sample {number}: is not an object with a `task_id` and a text as "
                    "`completion`; correct it there"
                )
        if task is None:
            raise UserError(
                f"{path}, sample {number}: the suite has no task {task_id!r}, its first is "
                f"{tasks[0].task_id!r}; give the right --suite or --data"
            )
        made.append(Sample(task, task_id, completion))
    return made


def is_python(sample: Sample) -> bool:
    """Whether the completion is not blank, and prompt and completion compile."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(sample.program, "program", "exec")  # ast.parse allows `return` anywhere
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return bool(sample.completion.strip())
