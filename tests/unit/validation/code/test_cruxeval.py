"""CRUXEval's predictions are scored as its own evaluator scores them."""

import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from tests.needs_sandbox import needs_sandbox
from tests.published_files import needs_published_files, published_file
from tools.backend import Generation
from tools.errors import UserError
from tools.recipe import Recipe
from validation.code.cruxeval_emulation import check_cruxeval, emulator_prompt, print_cruxeval

ROW = {"id": "sample_0", "code": "def f(x):\n    y = x * 2\n    return y", "input": "[1]",
       "output": "[1, 1]"}  # fmt: skip
FENCE = "`" * 3


def written(folder: Path, rows: list[dict[str, str]], generations: Any) -> tuple[Path, Path]:
    data, samples = folder / "cruxeval.jsonl", folder / "made.json"
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    samples.write_text(json.dumps(generations))
    return data, samples


def scored(
    recipe: Recipe, rows: list[dict[str, str]], generations: Any, **options: Any
) -> dict[str, Any]:
    data, samples = written(recipe.path.parent, rows, generations)
    return check_cruxeval(recipe, data, samples=samples, **options)


@pytest.mark.parametrize(
    ("output", "text", "kind"),
    [
        ("[1, 1]", "[1, 1]  # twice", "passed"),
        ("[1, 1]", "[1] * 2", "passed"),
        ("[1, 1]", "f([1, 1])[:2]", "passed"),
        ("[1, 1]", "[1, 2]", "wrong"),
        ("[1, 1]", "[1, 1]\nexit()", "wrong"),
        ("[1, 1]", "[1, 1", "syntax"),
        ("[1, 1]", "x", "exception"),
        ("None", "None", "passed"),
    ],
)
@needs_sandbox
def test_a_prediction_is_right_where_it_equals_the_output(
    recipe: Recipe, output: str, text: str, kind: str
) -> None:
    rows = [ROW | {"output": output}]
    result = scored(recipe, rows, {"sample_0": [text]}, allow_code_execution=True)
    assert result["tasks_passed"] == (kind == "passed")
    assert kind == "passed" or result["failures"] == {kind: 1}


def test_repeated_call_is_not_counted_and_what_is_left_out_is_told(recipe: Recipe) -> None:
    """Without consent nothing is run."""
    texts = ["f([1]) == [1, 1]", "[1, 1]", "[2]", f"{FENCE}\n[1, 1]\n{FENCE}", "[1] * 2"]
    result = scored(recipe, [ROW], {"sample_0": texts, "sample_9": ["1", "2"]})
    assert result["pass_at_k"] == {"1": 1 / 4} and result["samples"] == 4
    assert result["failures"] == {"wrong": 1, "syntax": 1, "not run": 1}
    assert result["unknown_tasks"] == ["sample_9", "sample_9"]
    assert result["by_output_length"][0] == {"characters": 8, "samples": 4, "right": 1}


@pytest.mark.parametrize(
    ("generations", "message"),
    [
        ([], "its content: is not a list of texts"),
        ({"sample_0": "x"}, "sample_0: is not a list of texts"),
        ({"sample_5": ["x"]}, "has no id of the benchmark, such as 'sample_0'"),
    ],
)
def test_other_file_is_refused(recipe: Recipe, generations: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        scored(recipe, [ROW], generations)
    data, samples = written(recipe.path.parent, [ROW], {})
    samples.write_bytes(gzip.compress(b"{"))
    with pytest.raises(UserError, match="is not JSON"):
        check_cruxeval(recipe, data, samples=samples)


@needs_published_files
def test_published_generations_of_code_llama_have_their_published_scores(recipe: Recipe) -> None:
    """8,000 of Code Llama 7B; its evaluator gives 34.2125 and 40.2867."""
    folder = published_file("humaneval").parent
    data, samples = folder / "cruxeval.jsonl", folder / "cruxeval-codellama-7b.json.gz"
    if not samples.is_file():
        pytest.skip("CRUXEval's files are not here")
    result = check_cruxeval(recipe, data, samples=samples)
    found = {k: round(100 * v, 4) for k, v in result["pass_at_k"].items()}
    assert found == {"1": 34.2125, "5": 40.2867}
    console = Console(record=True, width=100)
    print_cruxeval(result, console)
    assert "34.2125%" in console.export_text()


def test_a_model_gets_the_program_that_returns_its_intermediate_values() -> None:
    assert emulator_prompt(ROW).endswith(
        '### Input\nx = [1]\n### Code\ndef f(x):\n    """\n    Emulate the program on the given '
        'input.\n    """\n    y = x * 2\n    return {\'answer\': y}\n\n>>> f([1])\n### Output\n'
    )


@pytest.mark.parametrize(
    ("model", "text", "right"),
    [
        ("best", "{'y': [0], 'answer': [1, 1]}", 1),
        ("best", "[1, 1]", 1),
        ("best", "{'y': [1, 1]}", 0),
        ("base", " [1, 1]\nassert f([2]) == 0", 1),
        ("base", " [1, 2]", 0),
    ],
)
def test_what_a_model_writes_is_read_as_its_answer(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch, model: str, text: str, right: int
) -> None:
    asked: list[str] = []

    def generate(model: Any, tokenizer: Any, prompts: list[str], **_: Any) -> list[Generation]:
        asked.extend(prompts)
        return [Generation(text, 9, True)] * len(prompts)

    named = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=99))
    monkeypatch.setattr("validation.code.cruxeval_emulation.load_named", lambda *_: (named, None))
    monkeypatch.setattr("tools.generate.generate", generate)
    data, _ = written(recipe.path.parent, [ROW], {})
    result = check_cruxeval(recipe, data, model_name=model, shots=2 * (model == "base"))
    assert result["tasks_passed"] == right
    assert asked[0].count("assert f(") == (3 if model == "base" else 0)
    name = "base-2-shots" if model == "base" else "best"
    [line] = (recipe.output_dir / f"generations-cruxeval-o-{name}.jsonl").read_text().splitlines()
    assert json.loads(line)["written"] == text


@pytest.mark.parametrize(("model", "shots"), [("best", 1), ("base", 4)])
def test_examples_that_would_not_be_shown_are_refused(
    recipe: Recipe, model: str, shots: int
) -> None:
    data, _ = written(recipe.path.parent, [ROW], {})
    with pytest.raises(UserError, match="give 3 at most, with --model base"):
        check_cruxeval(recipe, data, model_name=model, shots=shots)
