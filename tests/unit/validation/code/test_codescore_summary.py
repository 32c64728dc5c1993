"""The summary has every size of the study, trained or not, with what was scored beside it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tools.errors import UserError
from validation.code.codescore_summary import PUBLISHED, print_summary, summarise

ROOT = Path(__file__).parents[4]
NAME = "arxivdl-llama3.1-8b-qlora"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "recipes").mkdir()
    for path in [*ROOT.glob(f"recipes/{NAME}-*.yml"), ROOT / "recipes/cogex-tiny.yml"]:
        shutil.copy(path, tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def figures(f1: float, judge: float | None = None) -> dict[str, Any]:
    bert = {"f1": f1, "f1_rescaled": 2 * f1 - 1, "interval": [f1 - 0.01, f1 + 0.02]}
    judged = {"score": judge, "judged": 5, "interval": [0.1, 0.3]} if judge is not None else None
    return {"codebertscore": bert} | ({"codejudge": judged} if judged else {})


def scored(here: Path, run: str, folder: str = "codescore", **models: Any) -> None:
    path = here / "outputs" / run / folder / "codescore.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"models": {key.replace("_", "-"): v for key, v in models.items()}}))


def text() -> str:
    console = Console(record=True, width=200)
    print_summary(summarise(), console)
    return console.export_text()


def test_the_published_table_is_the_studys() -> None:
    """Copied from the study's README a second time, so that a slip in one is seen."""
    text = "0 .085 .554 200 .15 .674 500 .16 .681 1000 .18 .687 5000 .2 .702 10000 .21 .725"
    values = list(map(float, text.split()))
    assert {int(values[i]): (values[i + 1], values[i + 2]) for i in range(0, 18, 3)} == PUBLISHED
    table = (ROOT / "docs/arxivdl.md").read_text()
    for judge, f1 in PUBLISHED.values():
        assert f"| {judge:g} | {f1:.3f} | {(f1 + 1) / 2:g} |" in table


def test_sizes_that_were_not_trained_are_named(here: Path) -> None:
    lines = summarise()
    assert [line.rows for line in lines if not line.augmented] == list(PUBLISHED)
    assert {line.model for line in lines} == {"not trained"}
    assert text().count("not trained") == 7 and not (here / "outputs").exists()
    (here / f"outputs/{NAME}-500").mkdir(parents=True)
    assert "not scored" in text()


def test_the_selected_checkpoint_stands_beside_the_study_with_its_interval(here: Path) -> None:
    run = here / f"outputs/{NAME}-1000"
    scored(here, run.name, base=figures(0.7), checkpoint_5=figures(0.8, 0.25),
           checkpoint_9=figures(0.9))  # fmt: skip
    lines = {line.rows: line for line in summarise() if not line.augmented}
    assert (lines[0].model, lines[1000].model) == ("base", "checkpoint-9")
    selection = {"criterion": "perplexity", "best": "checkpoint-5", "checkpoints": [],
                 "validation": {"sha256": "x", "rows": 3}}  # fmt: skip
    (run / "selection.json").write_text(json.dumps(selection))
    row = next(line for line in text().splitlines() if "1,000" in line)
    for part in ("checkpoint-5", "0.250 (0.100 to 0.300)", "0.600 (0.580 to 0.640)", "0.687"):
        assert part in row
    assert (here / "outputs/codescore-summary.svg").read_text().startswith("<svg")


def test_both_prompts_have_lines_of_their_own(here: Path) -> None:
    scored(here, f"{NAME}-500", "codescore-augmented", best=figures(0.6))
    scored(here, f"{NAME}-1000-augmented", best=figures(0.65), base=figures(0.5))
    found = {(line.rows, line.augmented): line.model for line in summarise()}
    assert found[500, False] == "not scored" and found[500, True] == "best"
    assert found[1000, True] == "best" and found[0, True] == "base"
    assert found[0, False] == "not trained"


def test_what_is_not_its_own_is_refused(here: Path) -> None:
    scored(here, f"{NAME}-500")
    path = here / f"outputs/{NAME}-500/codescore/codescore.json"
    path.write_text("{}")
    with pytest.raises(UserError, match=r"codescore.json: models: Field required; run `cogex co"):
        summarise()
    shutil.rmtree(here / "recipes")
    with pytest.raises(UserError, match="the folder recipes is not here"):
        summarise()
