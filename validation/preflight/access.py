"""Can the base model be read from here? Asked before anything is downloaded."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from huggingface_hub import HfApi, get_session
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from tools.recipe import Recipe
from validation.preflight.architecture import local_folder
from validation.verdict import Verdict, VerdictRow

SECONDS_TO_ANSWER = 5.0
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
INDEX = "model.safetensors.index.json"


def check_access(recipe: Recipe) -> list[VerdictRow]:
    """Look for the base model in its folder, then in the hub cache, then ask the hub."""
    name = recipe.base_model
    folder = local_folder(name)
    if Path(name).is_dir():
        return [_check_folder(Path(name))]
    if folder is not None and not _missing(folder):
        return [_found("ok", f"in the hub cache: {folder}")]
    try:
        validate_repo_id(name)
    except HFValidationError:
        return [_found("fail", f"{name}: no such folder", "correct `base_model` in the recipe")]
    return [_ask_hub(name)]


def _check_folder(folder: Path) -> VerdictRow:
    missing = _missing(folder)
    value = f"local folder {folder.resolve()}"
    if not missing:
        return _found("ok", f"{value}, with safetensors weights and a tokenizer")
    weights_alone = all("weights" in what for what in missing)  # the other checks do without them
    return _found(
        "note" if weights_alone else "fail",
        f"{value}, without {' and '.join(missing)}",
        "training needs the whole model: put the files there, or link another folder",
    )


def _missing(folder: Path) -> list[str]:
    """Name what a model's folder lacks; empty where it can be trained from."""
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    if not any((folder / name).is_file() for name in TOKENIZERS):
        missing.append("a tokenizer")
    absent = [name for name in _weights(folder) if not (folder / name).is_file()]
    return missing + ([f"safetensors weights ({absent[0]})"] if absent else [])


def _weights(folder: Path) -> list[str]:
    """Return the names of the weight files that the folder should hold."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return sorted(set(index["weight_map"].values()))
    except FileNotFoundError:
        return ["model.safetensors"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [f"{INDEX} that can be read"]


def _ask_hub(name: str) -> VerdictRow:
    """Ask the hub whether its model may be read; no answer's text is shown, nor the token."""
    page = f"https://huggingface.co/{name}"
    try:
        with _short_wait():
            HfApi().auth_check(name)
    except GatedRepoError:
        return _found(
            "fail",
            f"{name} is gated, and you have no access to it yet",
            f"accept its terms on {page}, then run `hf auth login`",
        )
    except RepositoryNotFoundError:
        return _found(
            "fail",
            f"{name} is no folder here, and the hub shows you no such model",
            f"correct `base_model`; if {page} is private or gated, run `hf auth login`",
        )
    except HfHubHTTPError as error:
        status = error.response.status_code
        todo = "run `hf auth login` again" if status in {401, 403} else "try again later"
        return _found("fail", f"{name}: the hub answered with status {status}", todo)
    except UnicodeEncodeError:
        return _found("fail", "your hub token cannot be sent", "run `hf auth login` again")
    except (OSError, httpx.HTTPError):
        owner = name.split("/")[0]
        return _found(
            "fail",
            f"{name}: neither a folder here nor whole in the hub cache, and the hub cannot be "
            "reached (offline?): nothing can be loaded",
            f"link a local folder under that name (README): `mkdir -p {owner} && "
            f"ln -s FOLDER {name}`; or go online, without HF_HUB_OFFLINE",
        )
    return _found("ok", f"{name}: the hub grants access")


@contextmanager
def _short_wait() -> Iterator[None]:
    """Let the hub's client, which waits for ever, give up after some seconds."""
    client = get_session()
    before = client.timeout
    client.timeout = SECONDS_TO_ANSWER
    try:
        yield
    finally:
        client.timeout = before


def _found(verdict: Verdict, value: str, todo: str = "") -> VerdictRow:
    return VerdictRow("base model", value, verdict, todo)
