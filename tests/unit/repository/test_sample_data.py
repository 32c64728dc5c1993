"""The rows of data/sample/data.json: each one can be trained on as it stands."""

import ast
import json
from pathlib import Path
from typing import Any

from prompt_strategies.layout import render_completion
from tools.backend import Generation
from validation.check.measures import judge

SAMPLE = Path(__file__).parents[3] / "data" / "sample" / "data.json"
ROWS: list[dict[str, Any]] = json.loads(SAMPLE.read_text(encoding="utf-8"))
OUTPUT_FIELDS = {"code_output", "code output"}  # the rows' spelling, and the dataset card's


def output_text(row: dict[str, Any]) -> str:
    (field,) = OUTPUT_FIELDS & row.keys()
    return str(row[field])


def judged(row: dict[str, Any]) -> dict[str, bool]:
    """What `cogex check` finds in the row, had a model written it."""
    text = render_completion(row["code_prompt"], output_text(row))
    return judge({"output": output_text(row)}, Generation(text, 1, True)).holds


def test_ids_and_tasks_are_unique() -> None:
    assert len(ROWS) >= 60
    assert len({row["id"] for row in ROWS}) == len(ROWS)
    assert len({json.dumps([row["instruction"], row.get("input")]) for row in ROWS}) == len(ROWS)


def test_rows_show_every_kind_that_the_dataset_has() -> None:
    helpers = [judged(row)["undefined_helpers"] for row in ROWS]
    assert helpers.count(False) >= 8 and helpers.count(True) >= 40
    inputs = {type(row["input"]) for row in ROWS if "input" in row}
    assert inputs == {str, list, dict, int, float, type(None)}
    assert any(row.get("input") == "" for row in ROWS)
    assert any("input" not in row for row in ROWS)
    answers = {type(ast.literal_eval(output_text(row))["answer"]) for row in ROWS}
    assert answers == {str, list, dict, int, float, bool}
    assert {field for row in ROWS for field in OUTPUT_FIELDS & row.keys()} == OUTPUT_FIELDS


def test_every_row_is_what_a_model_should_write() -> None:
    for row in ROWS:
        holds = judged(row) | {"undefined_helpers": True, "intermediates": True}
        assert all(holds.values()), (row["id"], holds)
        assert ast.literal_eval(output_text(row))["answer"] not in (None, "", [], {})
