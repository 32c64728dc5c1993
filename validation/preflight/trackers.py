"""Can each tracker of a recipe record a run? Otherwise the run would end at its first step."""

import importlib.util
import io
import os
from collections.abc import Iterator
from contextlib import redirect_stderr
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import get_token

PACKAGES = {
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "trackio": "trackio",
    "mlflow": "mlflow",
    "comet": "comet_ml",
}
NAMES = {  # the key asks for its tracker too: axolotl.utils.wandb_ and others
    "wandb": "wandb_project",
    "trackio": "trackio_project_name",
    "mlflow": "mlflow_experiment_name",
    "comet": "comet_project_name",
}


def trackers(values: dict[str, Any]) -> list[str]:
    """Name the trackers that a recipe asks for."""
    return [
        name for name in PACKAGES if values.get(f"use_{name}") or values.get(NAMES.get(name, ""))
    ]


def tracker_problems(values: dict[str, Any]) -> Iterator[str]:
    """Yield what keeps a tracker from recording, and what to do about it."""
    checks = {"wandb": _wandb, "trackio": _trackio, "mlflow": _mlflow}
    for name in trackers(values):
        if importlib.util.find_spec(PACKAGES[name]) is None:
            yield f"`use_{name}` needs the package {PACKAGES[name]}, which is not installed"
        elif check := checks.get(name):
            yield from check(values)


def _wandb(values: dict[str, Any]) -> Iterator[str]:
    """Online it needs a key; wandb itself says whether it finds one, and asks no server."""
    if (values.get("wandb_mode") or os.environ.get("WANDB_MODE") or "online") != "online":
        return
    import wandb

    try:
        with redirect_stderr(io.StringIO()):
            if not wandb.login(prompt=False, verify=False):
                yield "`use_wandb` finds no key: set WANDB_API_KEY, or `wandb_mode: offline`"
    except wandb.Error as error:
        yield f"`use_wandb`: {error}"


def _trackio(values: dict[str, Any]) -> Iterator[str]:
    """Only a Space needs a login."""
    space = values.get("trackio_space_id") or os.environ.get("TRACKIO_SPACE_ID")
    if space and not get_token():
        yield f"trackio sends to the Space {space} and finds no hub token: run `hf auth login`"


def _mlflow(values: dict[str, Any]) -> Iterator[str]:
    """A database needs SQLAlchemy; MLflow 3 refuses a plain folder."""
    import mlflow

    uri = str(values.get("mlflow_tracking_uri") or mlflow.get_tracking_uri())
    scheme = urlsplit(uri).scheme.split("+")[0]
    allowed = os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1")
    if scheme in ("", "file") and not allowed:
        yield (
            f"`mlflow_tracking_uri: {uri}`: MLflow refuses plain folders; "
            "write `sqlite:///outputs/mlflow.db`"
        )
    elif scheme in ("sqlite", "postgresql", "mysql", "mssql"):
        missing = [each for each in ("sqlalchemy", "alembic") if not importlib.util.find_spec(each)]
        if missing:
            yield f"`mlflow_tracking_uri: {uri}` needs {' and '.join(missing)}, not installed"
