"""What preflight says of the trackers that a recipe asks for."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from tools.recipe import Recipe, read_recipe
from tools.recipe_header import read_header
from validation.preflight.recipe import check_recipe
from validation.verdict import VerdictRow

ROOT = Path(__file__).parents[4]
TINY = ROOT / "recipes/cogex-tiny.yml"


@pytest.fixture(autouse=True)
def no_logins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MLFLOW_ALLOW_FILE_STORE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("WANDB_API_KEY", "WANDB_MODE", "TRACKIO_SPACE_ID", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


def found(keys: dict[str, Any]) -> VerdictRow:
    recipe = Recipe(TINY, read_recipe(TINY).values | keys)
    verdicts = check_recipe(recipe, read_header(TINY), card=None, gpus=1)
    return next(row for row in verdicts if row.name == "trackers")


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        ({}, "none"),
        ({"use_wandb": False}, "none"),
        ({"use_tensorboard": True}, "tensorboard"),
        ({"use_wandb": True, "wandb_mode": "offline"}, "wandb"),
        ({"wandb_project": "cogex", "wandb_mode": "disabled"}, "wandb"),
        ({"use_trackio": True}, "trackio"),
        ({"use_mlflow": True}, "mlflow"),
        ({"use_mlflow": True, "mlflow_tracking_uri": "sqlite:///outputs/mlflow.db"}, "mlflow"),
        ({"mlflow_experiment_name": "cogex", "mlflow_tracking_uri": "http://host:5000"}, "mlflow"),
    ],
)
def test_a_tracker_that_can_record_is_named(keys: dict[str, Any], value: str) -> None:
    assert (found(keys).found, found(keys).verdict) == (value, "ok")


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        ({"use_wandb": True}, "finds no key: set WANDB_API_KEY, or `wandb_mode: offline`"),
        ({"wandb_project": "cogex"}, "finds no key"),
        ({"use_trackio": True, "trackio_space_id": "me/space"}, "the Space me/space"),
        ({"use_mlflow": True, "mlflow_tracking_uri": "./mlruns"}, "refuses plain folders"),
        ({"use_mlflow": True, "mlflow_tracking_uri": "file:///tmp/x"}, "refuses plain folders"),
        ({"use_comet": True}, "needs the package comet_ml, which is not installed"),
    ],
)
def test_a_tracker_that_cannot_record_fails(keys: dict[str, Any], value: str) -> None:
    said = found(keys)
    assert said.verdict == "fail" and value in said.value and said.todo


def test_a_plain_folder_of_mlflow_can_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert found({"use_mlflow": True, "mlflow_tracking_uri": "./mlruns"}).verdict == "ok"


@pytest.mark.parametrize("package", ["mlflow", "sqlalchemy", "alembic"])
def test_a_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow  # noqa: F401 (before its package is hidden)

    look = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name == package else look(name)
    )
    said = found({"use_mlflow": True, "mlflow_tracking_uri": "sqlite:///mlflow.db"})
    assert said.verdict == "fail" and package in said.value


def test_a_key_in_the_environment_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "short")
    assert "40+ characters" in found({"use_wandb": True}).found
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)  # last of all tests: wandb remembers it
    assert found({"use_wandb": True}).verdict == "ok"
