"""One run of the demo, made by the command that users type, shared by all engine tests."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.demo_run import DemoRun
from tests.engine.rank_runs import make_folder, train_all
from tests.engine.recipe_runs import RecipeRun, run_recipes

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    folder = tmp_path_factory.mktemp("demo")
    for name in ("recipes", "models"):
        (folder / name).symlink_to(ROOT / name)
    done = subprocess.run(
        [sys.executable, "-m", "cogex", "demo", "--json", "demo.json"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert (folder / "demo.json").is_file(), done.stdout[-3000:] + done.stderr[-3000:]
    return DemoRun(folder, json.loads((folder / "demo.json").read_text()), done.stdout)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RecipeRun]:
    """A short run of every recipe, made at once, shared by test_every_recipe and test_packing."""
    return run_recipes(tmp_path_factory.mktemp("recipes"))


@pytest.fixture(scope="session")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one run spread in every way, shared by test_two_ranks and test_two_nodes."""
    folder = make_folder(tmp_path_factory.mktemp("spread"))
    train_all(folder)
    return folder
