"""Provides the completions that `cogex codebench` scores: from a model or from a file."""

import time
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tools.backend import MOST_TOKENS, NOTHING, Generation, Server
from tools.code.humaneval import humaneval_task
from tools.code.mbpp import mbpp_task
from tools.code.tasks import MINI, Task, all_tasks, own_tasks, read_published, stub
from tools.errors import UserError
from tools.generate import open_writer
from tools.models import load_trained
from tools.prepare.fetch import verified
from tools.python_text import compiles, defines, take_program
from tools.recipe import Recipe
from validation.check.check import load_named
from validation.curves.trainer_state import read_run
from validation.selection.checkpoints import Checkpoint, checkpoints

Suite = Literal["mini", "humaneval", "mbpp"]

# where HumanEval cuts a completion: Chen et al. 2021, section 2
STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
POLL_SECONDS = 10.0  # between two looks for new checkpoints
_SUFFIXES = (".jsonl", ".jsonl.gz", ".py")


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
    completion: str
    generation: Generation | None = None
    too_long: bool = False
    whole: bool = False  # the completion is a whole program, without the prompt

    @property
    def program(self) -> str:
        """Prompt and completion."""
        return self.completion if self.whole else self.task.prompt + self.completion

    @property
    def written(self) -> Generation:
        """The generation, or what is known of it."""
        return self.generation or Generation(self.completion, 0, True)


Source = tuple[str, Callable[[Sequence[Task]], list[Sample]]]
Sources = Sequence[Source]


def load_suite(suite: Suite, data: Path | None) -> tuple[list[Task], dict[str, str] | None]:
    """Return the tasks of a suite and their file; None for the mini suite.

    Without `data` it is the fetched file. Raises UserError if it is missing or damaged.
    """
    if suite == "mini":
        if data is not None:
            raise UserError("--data: the mini suite comes with this project; leave the option out")
        return list(own_tasks(MINI)), None
    published = read_published(data or verified(suite))
    make = humaneval_task if suite == "humaneval" else mbpp_task
    origin = {"path": str(published.path), "sha256": published.sha256}
    return all_tasks(published, make), origin


def reported(tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks that pass@k is about: of MBPP its test split, ids 11 to 510."""
    split = [task for task in tasks if isinstance(task.task_id, int) and 11 <= task.task_id <= 510]
    return split if len(split) == 500 else list(tasks)


def model_sources(
    recipe: Recipe | None,
    target: Path,
    name: str,
    sampling: Sampling,
    server: Server | None = None,
) -> Sources:
    """Return for each model its name and a function that makes its samples.

    The model is that of a folder, or a recipe's by name; `all` means the base and every
    checkpoint. A server's model writes in place of it. Raises UserError if there is no usable
    checkpoint.
    """
    if server:
        served = server.open(target)
        context = served.context or MOST_TOKENS
        return [(served.name, partial(_samples, served.write, context, sampling))]
    if recipe is None:
        load = partial(load_trained, target)
        return [(target.resolve().name, partial(_generate, load, sampling))]
    names = [name]
    if name == "all":
        names = [item.name for item in checkpoints(recipe) if item.status == "ok"]
        if not names:
            raise UserError(f"{recipe.output_dir}: no checkpoint can be used; see `cogex select`")
        if recipe.adapter:  # a whole model begins with random weights, or with another's
            names.insert(0, "base")
    return [_of_run(recipe, each, sampling) for each in names]


def _of_run(recipe: Recipe, name: str, sampling: Sampling) -> Source:
    return name, partial(_generate, partial(load_named, recipe, name), sampling)


def following(recipe: Recipe, sampling: Sampling) -> Iterator[Source]:
    """Yield the base, and each checkpoint once training has written it, until the run has ended.

    A checkpoint that cannot be used is looked at again: it may be half written.
    """
    if recipe.adapter:
        yield _of_run(recipe, "base", sampling)
    done: set[str] = set()
    while True:
        ended = _has_ended(recipe)
        new = [item.name for item in _so_far(recipe) if item.name not in done]
        for name in new:
            done.add(name)
            yield _of_run(recipe, name, sampling)
        if ended and not new:
            return
        if not new:
            time.sleep(POLL_SECONDS)


def _so_far(recipe: Recipe) -> list[Checkpoint]:
    try:
        return [item for item in checkpoints(recipe) if item.status == "ok"]
    except UserError:  # training has written none yet
        return []


def _has_ended(recipe: Recipe) -> bool:
    try:
        return read_run(recipe.output_dir).ended
    except UserError:
        return False


def _generate(
    load: Callable[[], tuple[Any, Any]], sampling: Sampling, tasks: Sequence[Task]
) -> list[Sample]:
    """Load model and tokenizer, and let it write."""
    model, _, write = open_writer(load)
    return _samples(write, model.config.max_position_embeddings, sampling, tasks)


def _samples(
    write: Any, max_length: int, sampling: Sampling, tasks: Sequence[Task]
) -> list[Sample]:
    """Return the samples of the tasks, in the order of the tasks."""
    every = [task for task in tasks for _ in range(sampling.samples)]
    generations = write(
        [task.prompt for task in every],
        max_length=max_length,
        max_new_tokens=sampling.max_new_tokens,
        temperature=sampling.temperature,
        seed=sampling.seed,
    )
    return [
        Sample(task, "", too_long=True)
        if written == NOTHING
        else Sample(task, cut(written.text), written)
        for task, written in zip(every, generations, strict=True)
    ]


def cut(text: str) -> str:
    """Return a completion up to the first of `STOPS`, where another top-level statement begins."""
    return text[: min((at for stop in STOPS if (at := text.find(stop)) >= 0), default=len(text))]


def read_samples(path: Path, tasks: Sequence[Task]) -> tuple[list[Sample], list[str]]:
    """Read samples from a file of lines, or from a folder; they are not cut.

    A line has a `task_id` and a `completion`, or as `solution` a whole program, which counts if
    both are there (EvalPlus's format). A folder holds such files, or EvalPlus's TASK/N.py. Returns
    the samples, and the ids of those for tasks that the suite does not have. Raises UserError
    naming the line that is no sample, or if no task is the suite's.
    """
    by_id = {str(task.task_id): task for task in tasks}
    made, unknown = [], []
    for task_id, text, whole in _lines(path, by_id):
        if task := by_id.get(str(task_id)):
            made.append(Sample(task, text, whole=whole))
        else:
            unknown.append(str(task_id))
    if not made:
        raise UserError(
            f"{path}, sample 1: the suite has no task {unknown[0]!r}, its first is "
            f"{tasks[0].task_id!r}; give the right --suite or --data"
        )
    return made, unknown


def _lines(path: Path, by_id: Container[str]) -> Iterator[tuple[str | int, str, bool]]:
    """Yield the task id and text of each sample, and whether it is a whole program."""
    files = [path]
    if path.is_dir():
        found = (file for file in path.rglob("*") if file.name.endswith(_SUFFIXES))
        files = sorted(found, key=lambda file: [(len(part), part) for part in file.parts])
        if not files:
            raise UserError(f"{path}: has no samples (*.jsonl, *.jsonl.gz, TASK/N.py); check it")
    task_id: str | int
    for file in files:
        if file.suffix == ".py":
            name = file.parent.name  # HumanEval_0: EvalPlus writes "/" as "_"
            spellings = (name, name.replace("_", "/"), "/".join(name.rsplit("_", 1)))
            task_id = next((each for each in spellings if each in by_id), name)
            yield task_id, _read_text(file), True
            continue
        for number, row in enumerate(read_published(file, "samples").rows, 1):
            match row:
                case {"task_id": (str() | int()) as task_id, "solution": str(program)}:
                    yield task_id, program, True
                case {"task_id": (str() | int()) as task_id, "completion": str(completion)}:
                    yield task_id, completion, False
                case _:
                    raise UserError(
                        f"{file}, sample {number}: is not an object with a `task_id` and a text as "
                        "`completion` or `solution`; correct it there"
                    )


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}; check the path") from None


def is_python(sample: Sample) -> bool:
    """Whether the completion is not blank, and the program compiles."""
    return bool(sample.completion.strip()) and compiles(sample.program)


def taken_out(sample: Sample) -> str | None:
    """Return the program that the sample holds in a code fence or among prose.

    None if its program is Python as it stands, or if there is none in it.
    """
    task, text = sample.task, sample.written.text
    if sample.too_long or compiles(sample.program):
        return None
    found = take_program(text, "" if sample.whole else task.prompt, task.entry_point)
    if sample.whole:
        program = found
    elif defines(found, task.entry_point):
        program = f"{stub(task.prompt)}\n{found}"
    else:
        program = task.prompt + found
    return program if compiles(program) else None
