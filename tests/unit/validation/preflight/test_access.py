"""Access to the base model, asked of a server that answers as the hub does."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from huggingface_hub import close_session, constants

from tools.recipe import Recipe
from validation.preflight import access
from validation.preflight.access import check_access
from validation.verdict import VerdictRow

TOKEN = "hf_secretsecretsecret"
ANSWERS = {  # status, X-Error-Code, X-Error-Message, as the hub sends them for its auth-check
    "open/model": (200, None, None),
    "gated/model": (403, "GatedRepo", "Access to model gated/model is restricted."),
    "gated/unknown-user": (401, "GatedRepo", "Access to model is restricted. Please log in."),
    "private/model": (404, "RepoNotFound", "Repository not found"),
    "stale/token": (401, None, "Invalid credentials in Authorization header"),
    "broken/hub": (503, None, "Service Unavailable"),
}


class Hub(BaseHTTPRequestHandler):
    """Answers `/api/models/OWNER/NAME/auth-check`, and keeps the tokens that it was shown."""

    tokens: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.tokens.append(self.headers["Authorization"])
        name = self.path.removeprefix("/api/models/").removesuffix("/auth-check")
        status, code, message = ANSWERS[name]
        self.send_response(status)
        for header, value in (("X-Error-Code", code), ("X-Error-Message", message)):
            if value:
                self.send_header(header, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


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
def hub(online: pytest.MonkeyPatch) -> Iterator[None]:
    """Put a server in the hub's place."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    online.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    Hub.tokens.clear()
    yield
    server.shutdown()
    server.server_close()


def ask(base_model: str) -> VerdictRow:
    [row] = check_access(Recipe(Path("r.yml"), {"base_model": base_model}))
    assert TOKEN not in f"{row}"
    return row


def write_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).write_text("{}")
    return folder


def test_open_model_may_be_read(hub: None) -> None:
    row = ask("open/model")
    assert row.verdict == "ok" and "grants access" in row.found
    assert Hub.tokens == [f"Bearer {TOKEN}"]


@pytest.mark.parametrize("name", ["gated/model", "gated/unknown-user"])
def test_gated_model_names_the_page_to_accept(hub: None, name: str) -> None:
    row = ask(name)
    assert row.verdict == "fail" and "gated" in row.found
    assert f"https://huggingface.co/{name}," in row.todo
    assert "`hf auth login`" in row.todo


def test_model_that_the_hub_does_not_show_fails(hub: None) -> None:
    row = ask("private/model")
    assert row.verdict == "fail" and "no such model" in row.found
    assert "correct `base_model`" in row.todo and "`hf auth login`" in row.todo


@pytest.mark.parametrize(
    ("name", "status", "todo"),
    [("stale/token", "401", "`hf auth login` again"), ("broken/hub", "503", "try again later")],
)
def test_other_answers_name_their_status(hub: None, name: str, status: str, todo: str) -> None:
    row = ask(name)
    assert row.verdict == "fail"
    assert f"status {status}" in row.found and todo in row.todo


def test_offline_fails_with_both_ways_out(online: pytest.MonkeyPatch) -> None:
    online.setattr(constants, "HF_HUB_OFFLINE", True)
    row = ask("meta-llama/Llama-2-13b-hf")
    assert row.verdict == "fail" and "nothing can be loaded" in row.found
    assert "ln -s FOLDER meta-llama/Llama-2-13b-hf`" in row.todo
    assert "HF_HUB_OFFLINE" in row.todo


def test_no_server_is_as_offline(online: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        online.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        assert "cannot be reached" in ask("open/model").found


def test_silent_server_is_given_up(online: pytest.MonkeyPatch) -> None:
    online.setattr(access, "SECONDS_TO_ANSWER", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the request, never answers
        online.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "cannot be reached" in ask("open/model").found


def test_token_that_no_header_can_hold_is_not_shown(hub: None, online: pytest.MonkeyPatch) -> None:
    online.setenv("HF_TOKEN", f"{TOKEN}\u00e9")
    row = ask("open/model")
    assert row.verdict == "fail" and "token cannot be sent" in row.found


def test_folder_linked_under_the_hub_id_is_resolved(online: pytest.MonkeyPatch) -> None:
    folder = write_model(Path("models_path/Llama-2-7b-hf").absolute())
    Path("meta-llama").mkdir()
    Path("meta-llama/Llama-2-7b-hf").symlink_to(folder)
    row = ask("meta-llama/Llama-2-7b-hf")
    assert row.verdict == "ok" and f"local folder {folder}" in row.found
    assert "safetensors weights and a tokenizer" in row.found


@pytest.mark.parametrize(
    ("lacking", "verdict"),
    [("model.safetensors", "note"), ("tokenizer.json", "fail"), ("config.json", "fail")],
)
def test_folder_that_is_not_whole_says_what_it_lacks(
    tmp_path: Path, lacking: str, verdict: str
) -> None:
    folder = write_model(tmp_path / "model")
    (folder / lacking).unlink()
    row = ask(str(folder))
    assert row.verdict == verdict
    assert {"tokenizer.json": "a tokenizer"}.get(lacking, lacking) in row.found


def test_missing_shard_is_named(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    shards = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    (folder / access.INDEX).write_text(json.dumps({"weight_map": shards}))
    row = ask(str(folder))
    assert row.verdict == "note" and "model-2.safetensors" in row.found


def write_cached(cache: Path) -> Path:
    repository = cache / "models--open--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    return write_model(repository / "snapshots" / "abc")


def test_whole_model_in_the_cache_needs_no_hub(online: pytest.MonkeyPatch) -> None:
    folder = write_cached(Path("cache"))
    online.setattr(constants, "HF_HUB_OFFLINE", True)
    row = ask("open/model")
    assert row.verdict == "ok" and str(folder) in row.found


def test_cache_without_weights_is_not_enough(online: pytest.MonkeyPatch) -> None:
    (write_cached(Path("cache")) / "model.safetensors").unlink()
    online.setattr(constants, "HF_HUB_OFFLINE", True)
    assert ask("open/model").verdict == "fail"


def test_path_that_is_not_there_is_no_hub_id(online: pytest.MonkeyPatch) -> None:
    row = ask("./models/nothing")
    assert row.verdict == "fail" and "no such folder" in row.found
