"""What a model might write, through the measures and the whole of `cogex check`.

The model is this file. A measure must hold only where a second reading of the text agrees.
"""

import ast
import json
import re
import warnings
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from prompt_strategies.layout import render_completion, split_code
from tests.unit.properties.conftest import ROOT
from tests.unit.properties.mutations import examples, mutated, no_traceback, rewritten
from tools.backend import Generation
from tools.models import load_tokenizer
from tools.prepare.cogex import prepare_cogex
from tools.prepared_rows import read_prepared_rows
from tools.recipe import Recipe
from tools.sandbox import Outcome
from tools.tiny.corpus import write_cogex_rows
from validation.check import check as module
from validation.check.check import check, print_check
from validation.check.emulation import STATUSES, verify_emulation
from validation.check.measures import MEASURES, judge

COMPLETE = {
    "id": "total-1",
    "instruction": "Add the numbers.",
    "input": "1, 2, 3",
    "code": """def total(numbers):
    # Step 1: Add them
    summed = sum(numbers)
    kinds = {number: number > 1 for number in numbers}
    return {'summed': summed, 'kinds': kinds, 'answer': {summed, str(summed), len(numbers)}}

>>> total([1, 2, 3])""",
    "output": "{'summed': 6, 'kinds': {1: False, 2: True, 3: True}, 'answer': {1, 6, '6'}}",
}
# other types of an equal value, or of the same digits
ALIKE = {"1": ["True", "1.0", "'1'"], "True": ["1"], "False": ["0"]}


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """A recipe validated on the published sample, rows of the tiny corpus, and `COMPLETE`."""
    prepare_cogex(ROOT / "data/sample/data.json", Path("sample"), val_size=2)
    write_cogex_rows(Path("data.json"), 48, 42)
    prepare_cogex(Path("data.json"), Path("tiny"), val_size=12)
    parts = [Path(name, "train.jsonl").read_text() for name in ("sample", "tiny")]
    Path("val.jsonl").write_text("".join(parts) + json.dumps(COMPLETE) + "\n")
    values = {
        "base_model": str(ROOT / "models/tiny-base"),
        "sequence_len": 512,
        "test_datasets": [{"path": "val.jsonl", "type": "prompt_strategies.cogex"}],
        "output_dir": "run",
    }
    return Recipe(Path("recipe.yml"), values)


@pytest.fixture(scope="module")
def rows(recipe: Recipe) -> list[dict[str, str]]:
    """The recipe's validation rows."""
    return read_prepared_rows(Path(recipe.validation["path"]))


@pytest.fixture(scope="module")
def whole(rows: list[dict[str, str]]) -> list[str]:
    """Completions of which pieces are taken."""
    return [render_completion(row["code"], row["output"]) for row in rows[:40]]


@st.composite
def dict_texts(draw: st.DrawFn, text: str) -> str:
    """Draw an output dict with another type, another value or other text in it."""
    act = draw(st.sampled_from(["type", "value", "text"]))
    if act == "type":
        words = re.split(r"\b(\d+|True|False)\b", text)
        at = draw(st.integers(0, len(words) - 1))
        digits = [f"{words[at]}.0", f"'{words[at]}'"] if words[at].isdigit() else [words[at]]
        words[at] = draw(st.sampled_from(ALIKE.get(words[at], digits)))
        return "".join(words)
    value = quietly(ast.literal_eval, text)
    shown = quietly(repr, draw(mutated([value])))  # an integer may have too many digits for repr
    return shown[1:-1] if shown and act == "value" else draw(rewritten(text, [text]))


@st.composite
def generations(draw: st.DrawFn, row: dict[str, str], whole: list[str]) -> Generation:
    """Draw a row's own completion with its dict spoilt, or any part of it."""
    if draw(st.booleans()):
        text = render_completion(row["code"], draw(dict_texts(row["output"])))
    else:
        text = draw(rewritten(render_completion(row["code"], row["output"]), whole))
    text = text.encode("utf-8", "ignore").decode()  # a tokenizer writes no lone surrogate
    return Generation(text, len(text) // 3, draw(st.booleans()))


def quietly(read: Any, text: Any) -> Any:
    """What `read` makes of a text; None where it fails."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read(text)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None


# ------------------------------------------------------------------------------ one generation


@examples(150)
@given(data=st.data())
def test_measures_hold_where_a_second_reading_agrees(
    rows: list[dict[str, str]], whole: list[str], data: st.DataObject
) -> None:
    row = data.draw(st.sampled_from([COMPLETE, *rows]))
    generation = data.draw(generations(row, whole))
    given_program = data.draw(st.sampled_from([None, split_code(row["code"])[0]]))
    if data.draw(st.integers(0, 9)) == 0:
        row = row | {"output": data.draw(dict_texts(row["output"]))}
    with no_traceback():
        judged = judge(row, generation, given_program)
        written, holds = judged.completion, judged.holds
        assert holds.keys() == MEASURES.keys()
        assert all(type(held) is bool for name, held in holds.items() if name != "keys_agree")
        assert holds["keys_agree"] in (True, False, None)
        tree = quietly(ast.parse, written.program)
        assert holds["program_parses"] == bool(tree and tree.body)
        output, reference = (
            quietly(ast.literal_eval, text) for text in (written.output, row["output"])
        )
        right = (
            isinstance(output, dict)
            and isinstance(reference, dict)
            and "answer" in output
            and plain(output["answer"]) == plain(reference.get("answer"))
        )
        assert holds["answer_exact"] == right
        [found] = verify_emulation([written], allow_code_execution=False)
        assert found.status in ("unreadable", "not_allowed", "undefined", "complete")


@examples(100)
@given(data=st.data())
def test_what_a_run_program_reports_is_compared_and_never_trusted(data: st.DataObject) -> None:
    written = judge(COMPLETE, made(COMPLETE), None).completion
    text = data.draw(
        dict_texts(data.draw(st.sampled_from([written.output, "{'answer': [1, 2.5]}"])))
    )
    report = data.draw(
        st.sampled_from([{"type": "dict", "text": text}, {"error": "NameError"}, {"text": text}])
    )
    stdout = json.dumps(report if data.draw(st.booleans()) else data.draw(mutated(report)))
    if data.draw(st.integers(0, 2)) == 0:
        stdout = data.draw(rewritten(stdout, [stdout]))
    outcome = Outcome(stdout, "", 0, *(data.draw(st.integers(0, 9)) == 0 for _ in "ab"), 0.1)
    with (
        no_traceback(),
        patch("tools.programs.run_programs", return_value=[outcome]),
    ):
        [found] = verify_emulation([written], allow_code_execution=True)
        assert found.status in STATUSES and found.status != "complete"
        assert not found.faithful or not (found.differing or found.missing or found.extra)
        json.dumps(vars(found), ensure_ascii=False).encode()


def made(row: dict[str, str]) -> Generation:
    """The reference itself."""
    return Generation(render_completion(row["code"], row["output"]), 99, True)


def plain(value: Any) -> Any:
    """A literal as nested lists with its types, in one order: equal only where all is equal."""
    kind = type(value).__name__
    if isinstance(value, dict):
        return kind, sorted((repr(plain(key)), repr(plain(value[key]))) for key in value)
    if isinstance(value, set):
        return kind, sorted(repr(plain(item)) for item in value)
    if isinstance(value, list | tuple):
        return kind, [plain(item) for item in value]
    if isinstance(value, int):
        return kind, hex(value)
    return kind, repr(value + 0) if isinstance(value, float | complex) else repr(value)


# ------------------------------------------------------------------------------ all together


@examples(5)
@given(data=st.data())
def test_figures_of_a_check_are_those_of_its_rows(
    recipe: Recipe, rows: list[dict[str, str]], whole: list[str], data: st.DataObject
) -> None:
    written = [data.draw(generations(row, whole)) for row in (*rows[::20], COMPLETE)]
    limit = data.draw(st.integers(1, 30))
    tokenizer = load_tokenizer(recipe.base_model)
    with (
        patch.object(module, "load_named", return_value=(None, tokenizer)),
        patch(
            "tools.generate.generate",
            lambda _, __, prompts, **___: [written[n % len(written)] for n in range(len(prompts))],
        ),
        no_traceback(),
    ):
        result = check(recipe, model_name="base", limit=limit)
        print_check(result, Console(file=StringIO()))
        for part, name in ((result, ""), (result["emulator"], "-emulator")):
            part_name = f"generations-base-{limit}-rows{name}.jsonl"
            assert_figures(part, recipe.output_dir / part_name, limit)


def assert_figures(part: dict[str, Any], path: Path, limit: int) -> None:
    """Count once more what the file of generations holds."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert part["rows"] == len(lines) == limit
    for measure, item in part["measures"].items():
        held = [line["holds"][measure] for line in lines]
        assert item["count"] == held.count(True) <= item["rows"] == limit - held.count(None)
        assert item["not_judged"] == held.count(None)
    assert all(item["count"] <= item["rows"] <= limit for item in part["collapse"].values())
    emulation = part["emulation"]
    assert sum(emulation["statuses"].values()) == emulation["programs"] == limit
    assert emulation["run"] == 0
    families = part["answer_exact_by_family"].values()
    assert all(item["count"] <= item["rows"] for item in families)
