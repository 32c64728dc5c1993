"""Long runs of the engine, each made once and looked at by several test files."""

import json
from pathlib import Path

import pytest

from tests.engine.forked import ROOT, serve, start, wait
from tests.engine.rank_runs import make_folder, train_all
from tests.engine.recipe_runs import DemoRun, RecipeRun, run_recipes


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Start the process that has imported the engine; return the cache of its runs for the hub."""
    hub = tmp_path_factory.mktemp("huggingface")
    serve(hub)
    return hub


@pytest.fixture(scope="session")
def demo(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """The demo, by the command that users type."""
    folder = tmp_path_factory.mktemp("demo")
    for name in ("recipes", "models"):
        (folder / name).symlink_to(ROOT / name)
    wait(start(folder, "demo.log", "module", "cogex", "demo", "--json", "demo.json"))
    printed = (folder / "demo.log").read_text()
    assert (folder / "demo.json").is_file(), printed[-3000:]
    return DemoRun(folder, json.loads((folder / "demo.json").read_text()), printed)


@pytest.fixture(scope="session")
def runs(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RecipeRun]:
    """A short run of every recipe."""
    return run_recipes(tmp_path_factory.mktemp("recipes"))


@pytest.fixture(scope="session")
def spread(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one run spread in every way."""
    folder = make_folder(tmp_path_factory.mktemp("spread"))
    train_all(folder)
    return folder
