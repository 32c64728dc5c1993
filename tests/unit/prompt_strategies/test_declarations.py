"""A dataset is declared once, by its strategy class, and everything else reads it there."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from prompt_strategies.base import find_strategy, own_strategies
from tools.prepare.pipeline import Format, prepare_rows
from tools.recipe import Recipe, read_recipe
from tools.training import run_record
from validation.preflight.run import preflight

ROOT = Path(__file__).parents[3]
RIDDLES = """
from prompt_strategies.base import CompletionStrategy, PublishedField, Rendered


class RiddleStrategy(CompletionStrategy):
    columns = ("id", "riddle", "answer")
    given = ("riddle",)
    dataset = "riddles"
    prepared_by = "make riddles"
    published_fields = (PublishedField("riddle", ("q",)), PublishedField("answer", ("a",)))
    layout_version = 3
    task = "answer"
    trained_to = "solve riddles"

    @staticmethod
    def render(row):
        return Rendered(f"### Riddle\\n{row['riddle']}\\n### Answer\\n", row["answer"], 0)


load = RiddleStrategy.from_recipe
"""


@pytest.fixture
def riddles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A recipe for a dataset that only a package in the working folder declares."""
    package = f"mine_{abs(hash(tmp_path))}"  # modules are cached by name
    (tmp_path / package).mkdir()
    (tmp_path / package / "riddles.py").write_text(RIDDLES)
    (tmp_path / "models").symlink_to(ROOT / "models")
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    monkeypatch.chdir(tmp_path)
    strategy = find_strategy(f"{package}.riddles")
    assert strategy is not None
    published = Path("riddles.json")
    published.write_text(json.dumps([{"q": f"What is {n}?", "a": str(n)} for n in range(30)]))
    prepare_rows(Format(strategy), published, Path("data/riddles"), val_size=6)
    text = (ROOT / "recipes/cogex-tiny.yml").read_text()
    text = text.replace("prompt_strategies.cogex", f"{package}.riddles")
    text = re.sub(r"^validation_rows:.*", "validation_rows: 6", text, flags=re.MULTILINE)
    Path("riddles.yml").write_text(text.replace("data/tiny/", "data/riddles/"))
    return read_recipe(Path("riddles.yml"))


def data_findings(recipe: Recipe) -> dict[str, tuple[str, str, str]]:
    return {
        item["name"]: (item["verdict"], item["found"], item["todo"])
        for item in preflight(recipe)["verdicts"]
        if item["section"] in ("strategy", "data", "tokens")
    }


def test_preflight_takes_a_dataset_declared_elsewhere(riddles: Recipe) -> None:
    found = data_findings(riddles)
    assert "fail" not in {verdict for verdict, _, _ in found.values()}
    verdict, value, _ = found["file data/riddles/train.jsonl"]
    assert verdict == "ok" and value.startswith("as manifest.json says: riddles, layout version 3")
    assert found["tasks in both files"][:2] == ("ok", "none")
    assert found["prompt is a prefix"][1].startswith(
        "holds for all 30 rows; a prompt ends in '### Answer', its completion begins with '\\n"
    )
    with Path("data/riddles/train.jsonl").open("a") as rows:
        rows.write(Path("data/riddles/val.jsonl").read_text())
    found = data_findings(riddles)
    assert found["file data/riddles/train.jsonl"][2] == "run `make riddles`"
    assert found["tasks in both files"][1].startswith("6 validation rows have a training row's")


def test_run_record_notices_its_layout(riddles: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    before = run_record.describe(riddles.values, ranks=1)
    assert before.facts["layout_version"] == 3
    strategy = find_strategy(riddles.training["type"])
    monkeypatch.setattr(strategy, "layout_version", 4)
    now = run_record.describe(riddles.values, ranks=1)
    assert run_record.differences(before, now) == ["`layout_version` was 3, is 4"]


def test_every_own_strategy_declares_its_dataset() -> None:
    strategies = own_strategies()
    assert {each.dataset for each in strategies} == {"cogex", "alpaca", "arxivdl", "code"}
    for each in strategies:
        assert find_strategy(each.__module__) is each
        assert each.prepared_by == f"cogex prepare {each.dataset}"
        assert "id" in each.columns and each.task and each.trained_to


@pytest.mark.parametrize("kind", ["completion", "prompt_strategies.cogx", "prompt_strategies.base"])
def test_other_types_declare_nothing(kind: str) -> None:
    assert find_strategy(kind) is None


def test_error_inside_a_module_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / f"broken_{abs(hash(tmp_path))}"
    package.mkdir()
    (package / "own.py").write_text("import no_such_package")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        find_strategy(f"{package.name}.own")


def test_declarations_are_read_without_heavy_imports() -> None:
    heavy = "{'torch', 'transformers', 'datasets', 'pyarrow', 'numpy'}"
    modules = "tools.prepare.command, tools.prepare.cogex, tools.prepare.alpaca"
    code = f"import sys, {modules}; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
