"""The rows of data/sample/data.json: each one can be trained on as it stands."""

import ast
import builtins
import json
from pathlib import Path
from typing import Any

import pytest

SAMPLE = Path(__file__).parents[3] / "data" / "sample" / "data.json"
ROWS: list[dict[str, Any]] = json.loads(SAMPLE.read_text(encoding="utf-8"))
OUTPUT_FIELDS = {"code_output", "code output"}  # the rows' spelling, and the dataset card's

each_row = pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])


def output_text(row: dict[str, Any]) -> str:
    (field,) = OUTPUT_FIELDS & row.keys()
    return str(row[field])


def function_of(row: dict[str, Any]) -> ast.FunctionDef:
    """The one statement of the program: a function."""
    program, _ = row["code_prompt"].split("\n\n>>> ")
    (function,) = ast.parse(program).body
    assert isinstance(function, ast.FunctionDef)
    return function


def call_of(row: dict[str, Any]) -> ast.Call:
    _, source = row["code_prompt"].split("\n\n>>> ")
    call = ast.parse(source, mode="eval").body
    assert isinstance(call, ast.Call)
    return call


def undefined_names(function: ast.FunctionDef) -> set[str]:
    """Names that are read in the function but are neither bound in it nor builtins."""
    bound: set[str] = {function.name}
    read: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            bound.add(node.asname or node.name)
        elif isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
    return read - bound - set(dir(builtins))


def called_names(function: ast.FunctionDef) -> set[str]:
    return {
        node.func.id
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }


def returned_keys(function: ast.FunctionDef) -> list[str]:
    """The keys of the one dict that the function returns, in their order."""
    (statement,) = (node for node in ast.walk(function) if isinstance(node, ast.Return))
    assert isinstance(statement.value, ast.Dict)
    return [ast.literal_eval(key) for key in statement.value.keys if key is not None]


def test_there_are_enough_rows() -> None:
    assert len(ROWS) >= 60


def test_ids_are_unique() -> None:
    ids = [row["id"] for row in ROWS]
    assert len(set(ids)) == len(ids)


def test_no_two_rows_ask_the_same() -> None:
    asked = [json.dumps([row["instruction"], row.get("input")]) for row in ROWS]
    assert len(set(asked)) == len(asked)


def test_file_is_indented_json_with_a_final_newline() -> None:
    text = json.dumps(ROWS, indent=1, ensure_ascii=False) + "\n"
    assert SAMPLE.read_text(encoding="utf-8") == text


def test_most_programs_leave_a_helper_undefined_and_some_are_complete() -> None:
    functions = [function_of(row) for row in ROWS]
    complete = [function for function in functions if not undefined_names(function)]
    assert len(complete) >= 8
    assert len(functions) - len(complete) >= 40


def test_inputs_and_answers_are_of_many_types() -> None:
    inputs = {type(row["input"]) for row in ROWS if "input" in row}
    assert inputs == {str, list, dict, int, float, type(None)}
    assert any(row.get("input") == "" for row in ROWS)
    assert any("input" not in row for row in ROWS)
    answers = {type(ast.literal_eval(output_text(row))["answer"]) for row in ROWS}
    assert answers == {str, list, dict, int, float, bool}


def test_both_spellings_of_the_output_field_occur() -> None:
    assert {field for row in ROWS for field in OUTPUT_FIELDS & row.keys()} == OUTPUT_FIELDS


@each_row
def test_fields(row: dict[str, Any]) -> None:
    required = {"id", "instruction", "code_prompt"}
    assert row.keys() - OUTPUT_FIELDS - {"input"} == required
    assert len(OUTPUT_FIELDS & row.keys()) == 1
    for field in required:
        assert isinstance(row[field], str)
        assert row[field].strip() == row[field] != ""
    assert output_text(row).strip() == output_text(row)


@each_row
def test_no_field_holds_a_section_header_or_a_second_call(row: dict[str, Any]) -> None:
    assert not any("### " in str(value) for value in row.values())
    assert str(row).count(">>> ") == 1


@each_row
def test_program_is_one_documented_function_with_steps(row: dict[str, Any]) -> None:
    assert ast.get_docstring(function_of(row))
    assert "# Step 1: " in row["code_prompt"]


@each_row
def test_undefined_names_are_helpers_that_are_called(row: dict[str, Any]) -> None:
    function = function_of(row)
    assert undefined_names(function) <= called_names(function)


@each_row
def test_call_fits_the_function(row: dict[str, Any]) -> None:
    function, call = function_of(row), call_of(row)
    assert isinstance(call.func, ast.Name)
    assert call.func.id == function.name
    variable = [function.args.vararg, function.args.kwarg, *function.args.kwonlyargs]
    assert not any(variable)
    names = [argument.arg for argument in function.args.args]
    assert len(call.args) <= len(names)
    given = names[: len(call.args)] + [keyword.arg or "**" for keyword in call.keywords]
    required = names[: len(names) - len(function.args.defaults)]
    assert len(set(given)) == len(given)
    assert set(required) <= set(given) <= set(names)


@each_row
def test_arguments_are_literals(row: dict[str, Any]) -> None:
    call = call_of(row)
    for value in [*call.args, *(keyword.value for keyword in call.keywords)]:
        ast.literal_eval(value)


@each_row
def test_output_has_the_keys_that_the_program_returns(row: dict[str, Any]) -> None:
    output = ast.literal_eval(output_text(row))
    assert isinstance(output, dict)
    assert list(output) == returned_keys(function_of(row))
    assert "answer" in output
    assert output["answer"] not in (None, "", [], {})
