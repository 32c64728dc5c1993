"""Published solutions pass, and lm-eval's own tasks agree with `cogex codebench`.

lm-eval's tasks read the original files (`dataset_path: json`). What they cannot do offline is load
their metric: `evaluate.load("code_eval")` fetches a script from the hub, and evaluate 0.4.1, which
Axolotl pins, fails even then with datasets 4 (`DownloadConfig` has no `use_auth_token`). A folder
`code_eval` in the working folder is taken in its place; the one here runs a program with its tests
in one sandbox, as the original does without one.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.needs_sandbox import needs_sandbox
from tests.published_files import HUMANEVAL, MBPP, needs_published_files
from validation.code.codebench import codebench

pytestmark = [needs_sandbox, needs_published_files]

METRIC = """
import datasets
import evaluate

class CodeEval(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        features = {"predictions": datasets.Sequence(text), "references": text}
        return evaluate.MetricInfo("", "", features=datasets.Features(features))

    def _compute(self, predictions, references, k):
        from tools.sandbox import run_programs

        [[program]], [test] = predictions, references
        [outcome] = run_programs([f"{program}\\n{test}"], allow_code_execution=True)
        return {"pass@1": float(outcome.status == 0)}, {}
"""


@pytest.mark.parametrize(
    ("suite", "file", "solution", "step"),
    [("humaneval", HUMANEVAL, "canonical_solution", 8), ("mbpp", MBPP, "code", 40)],
)
def test_published_solutions_pass_and_wrong_ones_fail_as_in_lm_eval(
    suite: Any,
    file: Path,
    solution: str,
    step: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some tasks of each file; docs/code-track.md says how all of them were tried."""
    (tmp_path / "code_eval").mkdir()
    (tmp_path / "code_eval/code_eval.py").write_text(METRIC)
    monkeypatch.chdir(tmp_path)
    from lm_eval.tasks import TaskManager

    overrides = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(file)}}}
    config = {"task": suite, **overrides, "dataset_name": None}
    task = TaskManager().load_task_or_group([config])[suite]
    rows = list(task.test_docs())[::step]
    wrong = "    return None\n" if suite == "humaneval" else "def nothing():\n    pass\n"
    for right in (True, False):
        texts = [row[solution] if right else wrong for row in rows]
        programs = [
            row["prompt"] + text if suite == "humaneval" else text
            for row, text in zip(rows, texts, strict=True)
        ]
        metric = "pass@1" if suite == "humaneval" else "pass_at_1"
        theirs = [
            task.process_results(row, [[program]])[metric] == 1
            for row, program in zip(rows, programs, strict=True)
        ]
        lines = [
            json.dumps({"task_id": row["task_id"], "completion": text})
            for row, text in zip(rows, texts, strict=True)
        ]
        samples = tmp_path / "samples.jsonl"
        samples.write_text("\n".join(lines))
        result = codebench(
            None, suite, samples=samples, data=file, out=tmp_path, allow_code_execution=True
        )
        ours = [line["passed"] for line in result["results"]]
        assert ours == theirs == [right] * len(rows)
