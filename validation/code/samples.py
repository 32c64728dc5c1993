"""The completions that `cogex codebench` scores: a model's, or those of a file."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from prompt_strategies.tokenise import encode_prompts
from tools.code.humaneval import humaneval_task
from tools.code.mbpp import mbpp_task
from tools.code.tasks import MINI, Task, all_tasks, own_tasks, read_published
from tools.errors import UserError
from tools.generate import Generation, generate
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
    """How completions are made: `samples` of each task, greedy at temperature 0."""

    samples: int = 1
    temperature: float = 0.0
    max_new_tokens: int = 512
    seed: int = 42


@dataclass(frozen=True)
class Sample:
    """One completion of a task, as it is tried.

    `generation` is what the model wrote, uncut; None for a completion made elsewhere, and for a
    prompt that leaves no room for one (`too_long`).
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
        """What was written, uncut where that is known."""
        return self.generation or Generation(self.completion, 0, True)


Sources = dict[str, Callable[[Sequence[Task]], list[Sample]]]


def load_suite(suite: Suite, data: Path | None) -> tuple[list[Task], dict[str, str] | None]:
    """Return the tasks of a suite, and which file they are from; None for the mini suite.

    Raises UserError if the file, else the fetched one, is not there or not whole.
    """
    if suite == "mini":
        if data is not None:
            raise UserError("--data: the mini suite is part of the command; leave the option out")
        return list(own_tasks(MINI)), None
    published = read_published(data or verified(suite))
    make = {"humaneval": humaneval_task, "mbpp": mbpp_task}[suite]
    origin = {"path": str(published.path), "sha256": published.sha256}
    return all_tasks(published, make), origin


def model_sources(recipe: Recipe | None, target: Path, name: str, sampling: Sampling) -> Sources:
    """Return what makes the samples of each model: of a folder, or of a recipe by name.

    With `all` these are the base and every checkpoint. Raises UserError if there is none.
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
    """Load model and tokenizer; return the samples of every task, those of one task together."""
    model, tokenizer = load()
    lengths = [len(ids) for ids in encode_prompts(tokenizer, [task.prompt for task in tasks])]
    context = model.config.max_position_embeddings
    fitting = [index for index, length in enumerate(lengths) if length < context]
    numbers = [index for index in fitting for _ in range(sampling.samples)]
    generations = generate(
        model,
        tokenizer,
        [tasks[index].prompt for index in numbers],
        max_length=context,
        max_new_tokens=sampling.max_new_tokens,
        temperature=sampling.temperature,
        seed=sampling.seed,
    )
    rest = iter(generations)
    made = []
    for index, task in enumerate(tasks):
        for _ in range(sampling.samples):
            if index in fitting:
                written = next(rest)
                made.append(Sample(task, task.task_id, cut(written.text), written))
            else:
                made.append(Sample(task, task.task_id, "", too_long=True))
    return made


def cut(text: str) -> str:
    """Return a completion up to where the next thing at the left margin begins."""
    return text[: min((at for stop in STOPS if (at := text.find(stop)) >= 0), default=len(text))]


def read_samples(path: Path, tasks: Sequence[Task]) -> list[Sample]:
    """Read completions made elsewhere, `{"task_id", "completion"}` a line; they are not cut.

    Raises UserError naming the line that is none, or is of no task.
    """
    by_id = {str(task.task_id): task for task in tasks}
    made = []
    for number, row in enumerate(read_published(path, "samples").rows, 1):
        match row:
            case {"task_id": (str() | int()) as task_id, "completion": str(completion)}:
                task = by_id.get(str(task_id))
            case _:
                raise UserError(
                    f"{path}, sample {number}: is no object with a `task_id` and the text of a "
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
    """Whether a completion that is not blank makes its prompt a program that compiles."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(sample.program, "program", "exec")  # the tree alone allows `return` anywhere
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return bool(sample.completion.strip())
