"""The rows of data/sample/data.json: each one can be trained on as it stands."""

import ast
import inspect
import json
from pathlib import Path
from typing import Any

from prompt_strategies.layout import render_completion, split_code
from tools.generate import Generation
from tools.programs import undefined_names
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


def test_file_is_indented_json_with_a_final_newline() -> None:
    text = json.dumps(ROWS, indent=1, ensure_ascii=False) + "\n"
    assert SAMPLE.read_text(encoding="utf-8") == text


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


def test_fields_are_text_and_hold_no_header_or_second_call() -> None:
    required = {"id", "instruction", "code_prompt"}
    for row in ROWS:
        assert row.keys() - OUTPUT_FIELDS - {"input"} == required
        for text in (*(row[field] for field in required), output_text(row)):
            assert isinstance(text, str)
            assert text.strip() == text != ""
        assert not any("### " in str(value) for value in row.values())
        assert str(row).count(">>> ") == 1


def test_every_row_is_what_a_model_should_write() -> None:
    for row in ROWS:
        holds = judged(row) | {"undefined_helpers": True, "intermediates": True}
        assert all(holds.values()), (row["id"], holds)
        assert ast.literal_eval(output_text(row))["answer"] not in (None, "", [], {})


def function_of(row: dict[str, Any]) -> ast.FunctionDef:
    """The one statement of the program."""
    (function,) = ast.parse(split_code(row["code_prompt"])[0]).body
    assert isinstance(function, ast.FunctionDef)
    return function


def test_program_is_one_documented_function_and_its_undefined_names_are_called() -> None:
    for row in ROWS:
        function = function_of(row)
        assert ast.get_docstring(function)
        assert "# Step 1: " in row["code_prompt"]
        called = {
            ast.unparse(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)
        }
        assert undefined_names(ast.unparse(function)) <= called, row["id"]


def test_call_gives_literals_that_fit_the_function() -> None:
    for row in ROWS:
        function = function_of(row)
        call = ast.parse(split_code(row["code_prompt"])[1].removeprefix(">>> "), mode="eval").body
        assert isinstance(call, ast.Call)
        assert ast.unparse(call.func) == function.name
        given = [ast.literal_eval(value) for value in call.args]
        named = {str(item.arg): ast.literal_eval(item.value) for item in call.keywords}
        names: dict[str, Any] = {}
        exec(f"def {function.name}({ast.unparse(function.args)}): pass", names)
        inspect.signature(names[function.name]).bind(*given, **named)
