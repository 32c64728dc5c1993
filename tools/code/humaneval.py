"""Reads a row in the form of HumanEval (Chen et al. 2021, arXiv 2107.03374)."""

from typing import Any

from tools.code.tasks import Task, strings, stub
from tools.prepare.fields import RejectedError


def humaneval_task(row: Any) -> Task:
    """Make a task of a published row, or of any row of that form. Raises RejectedError.

    The tests may use helpers that the prompt defines. So their set-up is the prompt, with an empty
    body for the function that is asked for.
    """
    prompt, solution, test, entry_point = strings(
        row, "prompt", "canonical_solution", "test", "entry_point"
    )
    task_id = row.get("task_id")
    if not isinstance(task_id, str | int) or isinstance(task_id, bool):
        raise RejectedError("missing: task_id" if task_id is None else "wrong type: task_id")
    if not prompt.endswith("\n"):
        raise RejectedError("the prompt does not end in a newline")
    return Task(
        id=f"he_{str(task_id).removeprefix('HumanEval/')}",
        task_id=task_id,
        entry_point=entry_point,
        prompt=prompt,
        solution=solution,
        tests=f"{test}\ncheck({entry_point})\n",
        names=(entry_point,),
        setup=stub(prompt),
    )
