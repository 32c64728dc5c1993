"""Can the base model be read from here? Checked before anything is downloaded."""

from functools import partial
from pathlib import Path

import httpx
from huggingface_hub import constants, get_session
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, validate_repo_id

from tools.recipe import Recipe
from validation.preflight.architecture import local_folder, missing_weights
from validation.verdict import VerdictRow

SECONDS_TO_ANSWER = 5.0
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")

_row = partial(VerdictRow, "base model")


def check_access(recipe: Recipe) -> list[VerdictRow]:
    """Look for the base model, and for the adapter that training goes on from, if it names one.

    Raises UserError if the model's index of weights cannot be read.
    """
    start = recipe.values.get("lora_model_dir")
    return [*_check_base(recipe), *([_check_start(str(start))] if start else [])]


def _check_start(name: str) -> VerdictRow:
    row = partial(VerdictRow, "adapter to go on from")
    if (Path(name) / "adapter_config.json").is_file():
        return row(f"local folder {name}")
    todo = "train and select the recipe before it, or correct `lora_model_dir`"
    return row(f"{name}: no adapter there", "fail", todo)


def _check_base(recipe: Recipe) -> list[VerdictRow]:
    """Look for the base in its folder, then in the hub cache, then ask the hub."""
    name = recipe.base_model
    folder = local_folder(name)
    if Path(name).is_dir():
        return [_check_folder(Path(name))]
    if folder is not None and not (_missing(folder) or missing_weights(folder)):
        return [_row(f"in the hub cache: {folder}")]
    try:
        validate_repo_id(name)
    except HFValidationError:
        return [_row(f"{name}: no such folder", "fail", "correct `base_model` in the recipe")]
    return [_ask_hub(name)]


def _check_folder(folder: Path) -> VerdictRow:
    missing, weights = _missing(folder), missing_weights(folder)
    found = f"local folder {folder.resolve()}"
    if not missing and not weights:
        return _row(f"{found}, with safetensors weights and a tokenizer")
    lacking = missing + [f"safetensors weights ({name})" for name in weights[:1]]
    return _row(
        f"{found}, without {' and '.join(lacking)}",
        "fail" if missing else "note",  # the other checks need no weights
        "training needs the whole model: put the files there, or link another folder",
    )


def _missing(folder: Path) -> list[str]:
    """Name what a model's folder lacks beside weights."""
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    if not any((folder / name).is_file() for name in TOKENIZERS):
        missing.append("a tokenizer")
    return missing


def _ask_hub(name: str) -> VerdictRow:
    """Ask the hub whether its model may be read; show neither its answer's text nor the token."""
    page, owner = f"https://huggingface.co/{name}", name.split("/")[0]
    try:
        address = f"{constants.ENDPOINT}/api/models/{name}/auth-check"  # as HfApi.auth_check
        hf_raise_for_status(
            get_session().get(address, headers=build_hf_headers(), timeout=SECONDS_TO_ANSWER)
        )
    except GatedRepoError:
        found = f"{name} is gated, and you have no access to it yet"
        todo = f"accept its terms on {page}, then run `hf auth login`"
    except RepositoryNotFoundError:
        found = f"{name} is not a folder here, and the hub shows you no such model"
        todo = f"correct `base_model`; if {page} is private or gated, run `hf auth login`"
    except HfHubHTTPError as error:
        status = error.response.status_code
        found = f"{name}: the hub answered with status {status}"
        todo = "run `hf auth login` again" if status in {401, 403} else "try again later"
    except UnicodeEncodeError:
        found, todo = "your hub token cannot be sent", "run `hf auth login` again"
    except (OSError, httpx.HTTPError):
        found = (
            f"{name}: neither a folder here nor whole in the hub cache, and the hub cannot be "
            "reached (offline?): nothing can be loaded"
        )
        todo = (
            f"link a local folder under that name (docs/your-base.md): `mkdir -p {owner} && "
            f"ln -s FOLDER {name}`; or go online, without HF_HUB_OFFLINE"
        )
    else:
        return _row(f"{name}: the hub grants access")
    return _row(found, "fail", todo)
