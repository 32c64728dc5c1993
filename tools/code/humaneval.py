"""Reads a row of HumanEval (Chen et al. 2021, arXiv 2107.03374), which has prompt and solution."""

import re
from typing import Any

from tools.code.tasks import Task, strings
from tools.prepare.fields import RejectedError


def humaneval_task(row: Any) -> Task:
    """Make a task of a published row. Raises RejectedError.

    The tests may use helpers that the prompt defines. So their set-up is the prompt, with an empty
    body for the function that is asked for.
    """
    task_id, prompt, solution, test, entry_point = strings(
        row, "task_id", "prompt", "canonical_solution", "test", "entry_point"
    )
    number = re.fullmatch(r"HumanEval/([0-9]+)", task_id)
    if not number:
        raise RejectedError("task_id is not HumanEval/N")
    if not prompt.endswith("\n"):
        raise RejectedError("the prompt does not end in a newline")
    return Task(
        id=f"he_{number[1]}",
        task_id=task_id,
        entry_point=entry_point,
        prompt=prompt,
        solution=solution,
        tests=f"{test}\ncheck({entry_point})\n",
        names=(entry_point,),
        setup=f"{prompt}    pass\n",
    )
