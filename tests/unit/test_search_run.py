"""The command's own part: which model, which folder, what is written when nothing is found."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.conftest import WriteAdapter
from tests.unit.test_task_card import GOOD
from tools.errors import UserError
from tools.recipe import Recipe
from tools.search.apply import apply
from tools.search.run import Target, _plan_recipe, run_search
from tools.search.scoring import Settings


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({}, "name the model: --recipe RECIPE, --model PATH or --endpoint URL"),
        ({"recipe": Path("a"), "model": Path("b")}, "name one of them"),
    ],
)
def test_one_model_must_be_named(named: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Target(**named)


def test_search_lies_in_the_run_folder(recipe: Recipe) -> None:
    assert Target(recipe=recipe.path).folder == recipe.output_dir / "search"
    assert Target(model=Path("x")).folder == Path("outputs/search")


def test_plans_are_searched_where_their_recipe_was_trained(recipe: Recipe, tmp_path: Path) -> None:
    target = Target(recipe=recipe.path)
    assert _plan_recipe(target) is None
    sibling = tmp_path / "recipe-plan.yml"
    sibling.write_text(json.dumps(recipe.values | {"output_dir": str(tmp_path / "plan-run")}))
    assert _plan_recipe(target) is None  # not trained
    (tmp_path / "plan-run" / "best").mkdir(parents=True)
    assert _plan_recipe(target) == sibling
    assert _plan_recipe(Target(recipe=recipe.path, endpoint="http://x/v1")) is None


@pytest.fixture
def untrained(tmp_path: Path, write_adapter: WriteAdapter, tiny_tokenizer: Any) -> Path:
    folder = write_adapter(tmp_path / "adapter")
    tiny_tokenizer.save_pretrained(folder)
    return folder


def test_model_that_writes_no_programs(tmp_path: Path, untrained: Path) -> None:
    card = tmp_path / "add.yml"
    card.write_text(yaml.safe_dump(GOOD | {"split": {"train": 2, "dev": 2, "test": 2}}))
    settings = Settings(tries=1, reasoner_tokens=30)
    with pytest.raises(UserError, match="add: none of 2 generations holds a program"):
        run_search(card, Target(model=untrained), settings, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["generations.jsonl"]


def test_apply_refuses_another_model_than_that_of_the_search(
    tmp_path: Path, untrained: Path
) -> None:
    found = {
        "task": {"instruction": "Add.", "metric": "numeric", "tolerance": 0.0},
        "model": {"target": {"model": str(untrained)}, "weights": "another", "dtype": "x"},
        "settings": {"seed": 1, "emulator_temperature": 0.05, "emulator_tokens": 5},
        "programs": [{"program": "def f(a):\n    return {'answer': a}"}],
    }
    path = tmp_path / "programs.json"
    path.write_text(json.dumps(found))
    with pytest.raises(UserError, match="was found with another model"):
        apply(path, ["1 + 1"])
