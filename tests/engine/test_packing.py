"""Packing: documents of one sequence do not see each other, and none is lost."""

import pytest

from tests.engine.recipe_runs import RECIPES, RecipeRun

PACKED = [name for name, recipe in RECIPES.items() if recipe.values.get("sample_packing")]
assert PACKED  # pytest skips tests without a parameter


@pytest.fixture(params=PACKED)
def run(request: pytest.FixtureRequest, runs: dict[str, RecipeRun]) -> RecipeRun:
    return runs[request.param]


def test_packed_logits_are_those_of_each_document_alone(run: RecipeRun) -> None:
    packing = run.report["packing"]
    assert len(packing["documents"]) >= 3
    assert packing["packed"] <= 1e-4
    # without position ids documents see those before them, and differ by more than rounding
    assert packing["mixed"] > 100 * 1e-4


def test_a_pack_is_nearly_full(run: RecipeRun) -> None:
    packing = run.report["packing"]
    assert 0.8 < sum(packing["documents"]) / run.recipe.sequence_len <= 1


def test_a_step_has_the_declared_number_of_packs(run: RecipeRun) -> None:
    # the second step has what is left of the epoch
    assert run.report["sequences"][0] == run.recipe.values["packs_per_step"]


def test_an_epoch_has_every_row_once(run: RecipeRun) -> None:
    rows = [tuple(ids) for step in run.report["steps"] for ids, _ in step]
    lines = (run.folder / run.recipe.training["path"]).read_text().splitlines()
    assert len(rows) == len(set(rows)) == len(lines)
