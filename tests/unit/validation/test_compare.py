"""Two runs differ where more rows changed than chance explains, and only there."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cogex import app
from tests.unit.made_run import RUN, make_run
from tools.errors import UserError
from validation.compare import compare


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run, and its copy in which three answers more are wrong."""
    folder = tmp_path_factory.mktemp("compared")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_run(folder)
        record = {
            "recipe": {"base_model": "a", "seed": 1},
            "files": {},
            "facts": {},
            "versions": {},
        }
        (RUN / "run.json").write_text(json.dumps(record))
        shutil.copytree(RUN, "other")
        path = Path("other/generations.jsonl")
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in [line for line in lines if line["holds"]["answer_exact"]][:3]:
            line["holds"]["answer_exact"] = False
        path.write_text("\n".join(map(json.dumps, lines)) + "\n")
        yield RUN, Path("other")


def test_runs_are_paired_by_row(two: tuple[Path, Path]) -> None:
    result = compare(two)
    [pair] = result["pairs"]
    found = {(item["mode"], item["measure"]): item for item in pair["measures"]}
    assert found["reasoner", "answer_exact"]["lost"] == 3
    assert found["reasoner", "answer_exact"]["rows"] == 12
    others = [item for key, item in found.items() if key != ("reasoner", "answer_exact")]
    assert others and all(item["gained"] == item["lost"] == 0 for item in others)
    assert pair["other"] == [] and result["runs"][0]["perplexity"] > 1


def test_perplexities_are_paired_by_row(two: tuple[Path, Path]) -> None:
    file = two[1] / "validation_nll.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert rows == [json.loads(line) for line in (two[0] / file.name).read_text().splitlines()]
    selection = json.loads((two[0] / "selection.json").read_text())
    [best] = [item for item in selection["checkpoints"] if item["name"] == selection["best"]]
    tokens = sum(row["tokens"] for row in rows)
    assert sum(row["nll"] for row in rows) == pytest.approx(best["nll_sum"])

    def changed(*, by: float, tokens: int = 0) -> Any:
        lines = [
            {"nll": row["nll"] + by * row["tokens"], "tokens": row["tokens"] + tokens}
            for row in rows
        ]
        file.write_text("\n".join(map(json.dumps, lines)) + "\n")
        return compare(two)["pairs"][0]["perplexity"]

    assert tokens == best["tokens"]
    found = changed(by=0.1)
    assert found["times"] == pytest.approx(math.exp(0.1)) and found["differs"]
    ran = CliRunner().invoke(app, ["compare", *map(str, two)])
    assert "perplexity: 1.1052 times the first's" in ran.output and "): differs" in ran.output
    assert changed(by=1e9) is None and changed(by=0.1, tokens=1) is None
    found = changed(by=0)
    assert found == {"times": 1, "interval": [1, 1], "differs": False}


def test_emulator_that_only_one_run_has_a_figure_for_is_shown(two: tuple[Path, Path]) -> None:
    """Lines of an earlier check may lie beside a check.json without it."""
    check = json.loads((two[1] / "check.json").read_text())
    (two[1] / "check.json").write_text(json.dumps(check | {"emulator": None}))
    ran = CliRunner().invoke(app, ["compare", *map(str, two)])
    assert ran.exit_code == 0, ran.exception
    assert "emulator: " in ran.output and "reasoner: " in ran.output


def test_other_base_and_other_rows_are_named(two: tuple[Path, Path]) -> None:
    record = json.loads((two[1] / "run.json").read_text())
    record["recipe"] |= {"base_model": "b"}
    (two[1] / "run.json").write_text(json.dumps(record))
    check = json.loads((two[1] / "check.json").read_text())
    (two[1] / "check.json").write_text(json.dumps(check | {"validation_sha256": "0" * 64}))
    [pair] = compare(two)["pairs"]
    assert pair["measures"] == []
    assert pair["other"] == ["they were checked on other rows: nothing is tested",
                             "`base_model` was a, is b"]  # fmt: skip
    ran = CliRunner().invoke(app, ["compare", *map(str, two)])
    assert ran.exit_code == 0 and "other rows" in ran.output


def test_what_is_no_run_is_refused(tmp_path: Path, two: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match="name two runs"):
        compare(two[:1])
    with pytest.raises(UserError, match="is no run that was selected or checked"):
        compare([two[0], tmp_path])
