"""Access to the base model, asked of a server that answers as the hub does."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants

from tests.openai_server import Reply, Server
from tools.errors import UserError
from tools.recipe import Recipe
from validation.preflight import access
from validation.preflight.access import check_access
from validation.preflight.architecture import INDEX
from validation.verdict import VerdictRow

TOKEN = "hf_secretsecretsecret"
ANSWERS = {  # status, X-Error-Code, X-Error-Message, as the hub sends them for its auth-check
    "open/model": (200, None, None),
    "gated/model": (403, "GatedRepo", "Access to model gated/model is restricted."),
    "private/model": (404, "RepoNotFound", "Repository not found"),
    "stale/token": (401, None, "Invalid credentials in Authorization header"),
    "broken/hub": (503, None, "Service Unavailable"),
}


def auth_check(method: str, path: str) -> Reply:
    """Answer `/api/models/OWNER/NAME/auth-check`."""
    status, code, message = ANSWERS[path.removeprefix("/api/models/").removesuffix("/auth-check")]
    told = {"X-Error-Code": code, "X-Error-Message": message}
    return Reply(b"", status, {name: text for name, text in told.items() if text})


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """Let the hub's client go online, with a token, an empty cache and no proxy."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    close_session()
    yield monkeypatch
    close_session()


@pytest.fixture
def hub(online: pytest.MonkeyPatch) -> Iterator[Server]:
    """Put a server in the hub's place."""
    with Server() as server:
        server.gets = auth_check
        online.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield server


def ask(base_model: str) -> VerdictRow:
    [row] = check_access(Recipe(Path("r.yml"), {"base_model": base_model}))
    assert TOKEN not in f"{row}"
    return row


@pytest.mark.parametrize(
    ("name", "verdict", "found", "todos"),
    [
        ("open/model", "ok", "grants access", []),
        ("gated/model", "fail", "gated", ["https://huggingface.co/gated/model,", "hf auth login`"]),
        ("private/model", "fail", "no such model", ["correct `base_model`", "`hf auth login`"]),
        ("stale/token", "fail", "status 401", ["`hf auth login` again"]),
        ("broken/hub", "fail", "status 503", ["try again later"]),
        ("./models/nothing", "fail", "no such folder", ["correct `base_model`"]),
    ],
)
def test_answer_of_the_hub_is_told_with_what_to_do(
    hub: Server, name: str, verdict: str, found: str, todos: list[str]
) -> None:
    row = ask(name)
    assert row.verdict == verdict and found in row.found
    assert all(todo in row.todo for todo in todos)
    assert hub.keys == (set() if name.startswith(".") else {f"Bearer {TOKEN}"})


def test_offline_fails_with_both_ways_out(online: pytest.MonkeyPatch) -> None:
    online.setattr(constants, "HF_HUB_OFFLINE", True)
    row = ask("meta-llama/Llama-2-13b-hf")
    assert row.verdict == "fail" and "nothing can be loaded" in row.found
    assert "ln -s FOLDER meta-llama/Llama-2-13b-hf`" in row.todo
    assert "HF_HUB_OFFLINE" in row.todo


def test_server_that_never_answers_is_as_offline(online: pytest.MonkeyPatch) -> None:
    online.setattr(access, "SECONDS_TO_ANSWER", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        online.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "cannot be reached" in ask("open/model").found


def test_token_that_no_header_can_hold_is_not_shown(
    hub: Server, online: pytest.MonkeyPatch
) -> None:
    online.setenv("HF_TOKEN", f"{TOKEN}\u00e9")
    row = ask("open/model")
    assert row.verdict == "fail" and "token cannot be sent" in row.found


def write_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).write_text("{}")
    return folder


def test_folder_linked_under_the_hub_id_is_resolved(online: pytest.MonkeyPatch) -> None:
    folder = write_model(Path("models_path/Llama-2-7b-hf").absolute())
    Path("meta-llama").mkdir()
    Path("meta-llama/Llama-2-7b-hf").symlink_to(folder)
    row = ask("meta-llama/Llama-2-7b-hf")
    assert row.verdict == "ok" and f"local folder {folder}" in row.found
    assert "safetensors weights and a tokenizer" in row.found


SHARDS = json.dumps({"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}})


@pytest.mark.parametrize(
    ("lacking", "index", "verdict", "named"),
    [
        ("model.safetensors", None, "note", "model.safetensors"),
        ("tokenizer.json", None, "fail", "a tokenizer"),
        ("config.json", None, "fail", "config.json"),
        (None, SHARDS, "note", "model-2.safetensors"),
    ],
)
def test_folder_that_is_not_whole_says_what_it_lacks(
    tmp_path: Path, lacking: str | None, index: str | None, verdict: str, named: str
) -> None:
    folder = write_model(tmp_path / "model")
    if lacking:
        (folder / lacking).unlink()
    if index:
        (folder / INDEX).write_text(index)
    row = ask(str(folder))
    assert row.verdict == verdict and named in row.found


@pytest.mark.parametrize("content", ["{", "[]"])
def test_broken_index_of_weights_is_one_message(tmp_path: Path, content: str) -> None:
    (write_model(tmp_path / "model") / INDEX).write_text(content)
    with pytest.raises(UserError, match="is not an index of weights; download the model again"):
        ask(str(tmp_path / "model"))


@pytest.mark.parametrize(("whole", "verdict"), [(True, "ok"), (False, "fail")])
def test_whole_model_in_the_cache_needs_no_hub(
    online: pytest.MonkeyPatch, whole: bool, verdict: str
) -> None:
    repository = Path("cache/models--open--model")
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    folder = write_model(repository / "snapshots" / "abc")
    if not whole:
        (folder / "model.safetensors").unlink()
    online.setattr(constants, "HF_HUB_OFFLINE", True)
    row = ask("open/model")
    assert row.verdict == verdict and (not whole or str(folder) in row.found)


def test_adapter_that_training_goes_on_from_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").mkdir()
    recipe = Recipe(Path("r.yml"), {"base_model": "base", "lora_model_dir": "outputs/one/best"})
    [_, start] = check_access(recipe)
    assert (start.verdict, start.found) == ("fail", "outputs/one/best: no adapter there")
    (tmp_path / "outputs/one/best").mkdir(parents=True)
    (tmp_path / "outputs/one/best/adapter_config.json").write_text("{}")
    assert check_access(recipe)[1].verdict == "ok"
