"""Can each tracker that a recipe asks for record a run? Without this, it dies at its first step."""

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
NAMES = {  # such a name asks for its tracker too: axolotl.utils.wandb_ and the like
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
    for name in trackers(values):
        if importlib.util.find_spec(PACKAGES[name]) is None:
            yield f"`use_{name}` needs the package {PACKAGES[name]}, which is not installed"
        elif name == "wandb":
            yield from _wandb(values)
        elif name == "trackio":
            yield from _trackio(values)
        elif name == "mlflow":
            yield from _mlflow(values)


def _wandb(values: dict[str, Any]) -> Iterator[str]:
    """Online it needs a key; wandb itself says whether it finds one, and asks no server."""
    if (values.get("wandb_mode") or os.environ.get("WANDB_MODE") or "online") != "online":
        return
    import wandb

    try:
        with redirect_stderr(io.StringIO()):
            found = wandb.login(prompt=False, verify=False)
    except wandb.Error as error:
        yield f"`use_wandb`: {error}"
        return
    if not found:
        yield "`use_wandb` finds no key: set WANDB_API_KEY, or `wandb_mode: offline`"


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
