"""CRUXEval's predictions are scored as its own evaluator scores them."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.needs_sandbox import needs_sandbox
from tests.published_files import needs_published_files, published_file
from tools.errors import UserError
from validation.code.codebench import codebench

ROW = {"id": "sample_0", "code": "def f(x):\n    return x * 2", "input": "[1]", "output": "[1, 1]"}
FENCE = "`" * 3


def scored(data: Path, samples: Path, out: Path) -> dict[str, Any]:
    return codebench(
        None, "cruxeval-o", samples=samples, data=data, out=out, allow_code_execution=True
    )


def written(tmp_path: Path, rows: list[dict[str, str]], generations: Any) -> tuple[Path, Path]:
    data, samples = tmp_path / "cruxeval.jsonl", tmp_path / "made.json"
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    samples.write_text(json.dumps(generations))
    return data, samples


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
    tmp_path: Path, output: str, text: str, kind: str
) -> None:
    data, samples = written(tmp_path, [ROW | {"output": output}], {"sample_0": [text]})
    [line] = scored(data, samples, tmp_path)["results"]
    assert line["result"] == kind


@needs_sandbox
def test_repeated_call_is_not_counted_and_what_is_left_out_is_told(tmp_path: Path) -> None:
    fenced = f"{FENCE}\n[1, 1]\n{FENCE}"
    texts = ["f([1]) == [1, 1]", "[1, 1]", "[2]", fenced]
    data, samples = written(tmp_path, [ROW], {"sample_0": texts, "sample_9": ["1", "2"]})
    result = scored(data, samples, tmp_path)
    [model] = result["models"]
    assert model["pass_at_k"] == {"1": 1 / 3} and model["samples"] == 3
    assert model["taken_out"]["pass_at_k"] == {"1": 2 / 3}
    assert result["unknown_tasks"] == ["sample_9", "sample_9"]


@needs_sandbox
@pytest.mark.parametrize(
    ("generations", "message"),
    [
        ([], "its content: is not a list of texts"),
        ({"sample_0": "x"}, "sample_0: is not a list of texts"),
        ({"sample_5": ["x"]}, "has no id of the benchmark, such as 'sample_0'"),
    ],
)
def test_other_file_is_refused(tmp_path: Path, generations: Any, message: str) -> None:
    data, samples = written(tmp_path, [ROW], generations)
    with pytest.raises(UserError, match=message):
        scored(data, samples, tmp_path)
    samples.write_bytes(gzip.compress(b"{"))
    with pytest.raises(UserError, match="is not JSON"):
        scored(data, samples, tmp_path)
    with pytest.raises(UserError, match="give them by --samples"):
        codebench(None, "cruxeval-o", samples=samples, allow_code_execution=True)


@needs_sandbox
@needs_published_files
def test_published_generations_of_code_llama_have_their_published_scores(tmp_path: Path) -> None:
    """8,000 of Code Llama 7B; its evaluator gives 34.2125 and 40.2867."""
    folder = published_file("humaneval").parent
    data, samples = folder / "cruxeval.jsonl", folder / "cruxeval-codellama-7b.json.gz"
    if not samples.is_file():
        pytest.skip("CRUXEval's files are not here")
    [model] = scored(data, samples, tmp_path)["models"]
    found = {k: round(100 * v, 4) for k, v in model["pass_at_k"].items()}
    assert found == {"1": 34.2125, "5": 40.2867}
