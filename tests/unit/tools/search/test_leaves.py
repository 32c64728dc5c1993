"""Programs with other leaves are the same programs, and their scores are counted by leaf."""

import ast
from pathlib import Path
from typing import Any

import pytest

from tests.unit.tools.search.scripted import Scripted
from tests.unit.tools.search.test_cotacs import emulated, scorer
from tools.programs import leaves_of
from tools.search.data import Task
from tools.search.leaves import bare, by_leaves, defined, of_leaves, renamed

PROGRAM = '''def answer_it(text, f1="a # no comment"):
    """Answer the find_words question.

    In two lines.
    """
    words = find_words(text)  # all of them
    # and the best
    best = {"é": pick(words, find_words=len), "x": [find_words(w) for w in words]}
    return {"best": best, "answer": clean(best)}'''


def test_leaves_are_the_undefined_functions_that_are_called() -> None:
    assert leaves_of(PROGRAM) == ["find_words", "pick", "clean"]
    assert leaves_of("def f(x):\n    g = len\n    return h(x).strip(y)") == ["h"]
    assert leaves_of("def f(:") == []


def test_renamed_leaves_change_calls_alone() -> None:
    text = renamed(PROGRAM)
    assert leaves_of(text) == ["f2", "f3", "f4"]  # there is an f1 already
    assert "Answer the find_words question." in text and "find_words=len" in text
    names = dict(zip(leaves_of(PROGRAM), leaves_of(text), strict=True))
    tree = ast.parse(PROGRAM)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = names.get(node.id, node.id)
    assert ast.dump(ast.parse(text)) == ast.dump(tree)
    assert renamed("def f(x):\n    return {'answer': len(x)}") == (
        "def f(x):\n    return {'answer': len(x)}"
    )


def test_bare_has_no_docstring_and_no_comment() -> None:
    text = bare(PROGRAM)
    assert '"""' not in text and "all of them" not in text and "# and the best" not in text
    assert '"a # no comment"' in text
    tree = ast.parse(PROGRAM)
    del tree.body[0].body[0]  # type: ignore[attr-defined]
    assert ast.dump(ast.parse(text)) == ast.dump(tree)
    assert len(text.split("\n")) == 4
    alone = 'def f():\n    """Nothing."""'
    assert bare(alone) == "def f():\n    pass"
    for same in ("def f(): 'x'", "def f(x):\n\n    return 's # t'"):
        assert bare(same) == same


def test_definitions_come_with_what_they_call() -> None:
    card = (
        "def clean(x):\n    return strip(x)\n\ndef strip(x):\n    return x\n\ndef other():\n    0"
    )
    text = defined(PROGRAM, card)
    assert leaves_of(text) == ["find_words", "pick"]
    assert text.endswith(PROGRAM) and "def other" not in text
    assert defined(PROGRAM, "") == PROGRAM


def test_scores_are_added_up_by_number_and_by_leaf() -> None:
    found = by_leaves([(["a", "b"], 3, 4), (["b"], 1, 4), ([], 0, 0)])
    assert list(found["by_number"]) == ["0", "1", "2"]
    assert found["by_number"]["0"] == {"programs": 1, "right": 0, "rows": 0, "interval_95": None}
    b = found["by_leaf"]["b"]
    assert (b["programs"], b["right"], b["rows"]) == (2, 4, 8)
    assert b["interval_95"][0] < 0.5 < b["interval_95"][1]


def test_kept_programs_are_emulated_with_other_leaves_on_the_same_rows(
    task: Task, tmp_path: Path
) -> None:
    """The model knows `add`, and is right on half of the rows without it."""
    source = "def right_100(a, b):\n    # the sum\n    return {'answer': add(a, b)}"

    def answer(request: Any) -> str:
        known = "add(a, b)" in request.prompt
        return emulated("right_100" if known else "right_50", request.prompt)

    card = task.card.model_copy(update={"definitions": "def add(a, b):\n    return a + b"})
    one = scorer(Task(**{**vars(task), "card": card}), tmp_path, Scripted(answer))
    scored = {"program": source, "dev": {"right": 9, "rows": 10}}
    found = of_leaves(one, {"candidates": [scored], "programs": [scored]})
    assert found["by_leaf"]["add"]["right"] == 9
    [program] = found["programs"]
    assert (program["right"], program["rows"], program["leaves"]) == (100, 100, ["add"])
    renamed_, bare_, defined_ = (program["variants"][key] for key in ("renamed", "bare", "defined"))
    assert 30 < renamed_["right"] < 70 and renamed_["differs"]
    assert renamed_["difference"] == pytest.approx((renamed_["right"] - 100) / 100)
    assert bare_["right"] == defined_["right"] == 100 and not bare_["differs"]
    assert defined_["program"].startswith("def add(a, b):")
