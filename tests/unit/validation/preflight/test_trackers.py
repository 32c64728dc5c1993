"""Trackers that can record are told from those that cannot."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from validation.preflight.trackers import tracker_problems, trackers

DATABASE = {"use_mlflow": True, "mlflow_tracking_uri": "sqlite:///outputs/mlflow.db"}
FOLDER = {"use_mlflow": True, "mlflow_tracking_uri": "./mlruns"}


@pytest.fixture(autouse=True)
def no_logins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MLFLOW_ALLOW_FILE_STORE", "WANDB_API_KEY",
                 "WANDB_MODE", "TRACKIO_SPACE_ID", "MLFLOW_TRACKING_URI"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({}, []),
        ({"use_tensorboard": True}, ["tensorboard"]),
        ({"use_wandb": True, "wandb_mode": "offline"}, ["wandb"]),
        ({"wandb_project": "cogex", "wandb_mode": "disabled"}, ["wandb"]),
        ({"use_trackio": True}, ["trackio"]),
        (DATABASE, ["mlflow"]),
        ({"mlflow_experiment_name": "cogex", "mlflow_tracking_uri": "http://h:5000"}, ["mlflow"]),
    ],
)
def test_a_tracker_that_can_record_is_named(keys: dict[str, Any], named: list[str]) -> None:
    assert trackers(keys) == named
    assert list(tracker_problems(keys)) == []


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"use_wandb": True}, "finds no key: set WANDB_API_KEY, or `wandb_mode: offline`"),
        ({"wandb_project": "cogex"}, "finds no key"),
        ({"use_trackio": True, "trackio_space_id": "me/space"}, "the Space me/space"),
        (FOLDER, "refuses plain folders"),
        ({"use_comet": True}, "needs the package comet_ml, which is not installed"),
    ],
)
def test_a_tracker_that_cannot_record_says_why(keys: dict[str, Any], problem: str) -> None:
    [found] = tracker_problems(keys)
    assert problem in found


@pytest.mark.parametrize("package", ["mlflow", "alembic"])
def test_a_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow  # noqa: F401 (before its package is hidden)

    look = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name == package else look(name)
    )
    [found] = tracker_problems(DATABASE)
    assert package in found


def test_the_environment_may_allow_a_plain_folder_or_hold_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert list(tracker_problems(FOLDER)) == []
    monkeypatch.setenv("WANDB_API_KEY", "short")
    assert "40+ characters" in next(tracker_problems({"use_wandb": True}))
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)  # last of all tests: wandb remembers it
    assert list(tracker_problems({"use_wandb": True})) == []
