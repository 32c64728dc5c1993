"""A fetched file is the published one, or there is none."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.openai_server import Reply, Server
from tools.errors import UserError
from tools.prepare import fetch as module
from tools.prepare.fetch import FILES, Pinned, fetch, verified

CONTENT = b'{"rows": 3}\n' * 1000


STATED = {
    "X-Repo-Commit": "c" * 40,
    "X-Linked-Etag": f'"{hashlib.sha256(CONTENT).hexdigest()}"',
}


def answer(method: str, path: str) -> Reply:
    """/good is the file; /cut ends too early; any other path is not there.

    Below /datasets it answers as the hub does: what it states leads elsewhere.
    """
    if method == "HEAD":
        there = path == "/datasets/a/b/resolve/main/data.json"
        return Reply(b"", 302 if there else 401, {"Location": "http://elsewhere.invalid/"} | STATED)
    if path == "/cut":
        return Reply(CONTENT[:100], missing=len(CONTENT) - 100)
    pinned = f"/datasets/a/b/resolve/{'c' * 40}/data.json"
    return Reply(CONTENT, 200 if path in ("/good", pinned) else 404)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Server() as server:
        server.gets = answer
        yield f"http://127.0.0.1:{server.server_port}"


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


def pin(monkeypatch: pytest.MonkeyPatch, url: str, content: bytes = CONTENT) -> Pinned:
    pinned = Pinned("file.json", url, hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(FILES, "file", pinned)
    return pinned


def test_brings_the_file_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pin(monkeypatch, f"{url}/good")
    assert fetch("file").read_bytes() == CONTENT
    pin(monkeypatch, "http://127.0.0.1:9/")  # nobody listens there
    assert fetch("file") == verified("file") == module.FOLDER / "file.json"


@pytest.mark.parametrize("path", ["/good", "/cut"])
def test_other_bytes_are_not_kept(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str
) -> None:
    pin(monkeypatch, url + path, b"other")
    with pytest.raises(UserError, match=r"SHA-256 [0-9a-f]{64}, not [0-9a-f]{64}|IncompleteRead"):
        fetch("file")
    assert list((tmp_path / module.FOLDER).iterdir()) == []


@pytest.mark.parametrize("where", ["closed", "missing"])
def test_without_a_network_says_what_to_put_where(
    url: str, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    pinned = pin(monkeypatch, "http://127.0.0.1:9/x" if where == "closed" else f"{url}/no")
    with pytest.raises(UserError) as error:
        fetch("file")
    for part in (pinned.url, pinned.sha256, "data/fetched/file.json"):
        assert part in str(error.value)


def test_file_put_there_by_hand_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    path = pin(monkeypatch, "http://127.0.0.1:9/").path
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert fetch("file") == path
    path.write_bytes(CONTENT + b"x")
    for check in (fetch, verified):
        with pytest.raises(UserError, match="is another file"):
            check("file")
    assert path.read_bytes() == CONTENT + b"x"  # a person's file is left alone


def hub_file(monkeypatch: pytest.MonkeyPatch, url: str, name: str = "a/b") -> Pinned:
    """A file whose hash is not known before the hub states it."""
    pinned = Pinned("mine.json", f"{url}/datasets/{name}/resolve/main/data.json", "")
    monkeypatch.setitem(FILES, "mine", pinned)
    return pinned


def test_a_file_without_a_hash_is_pinned_by_what_the_hub_states_first(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = hub_file(monkeypatch, url)
    with pytest.raises(UserError, match="run `cogex fetch mine`"):
        verified("mine")
    assert fetch("mine").read_bytes() == CONTENT
    assert json.loads(pinned.pin.read_text()) == {
        "url": f"{url}/datasets/a/b/resolve/{'c' * 40}/data.json",
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
    }
    monkeypatch.delitem(STATED, "X-Linked-Etag")  # asked no more
    pinned.path.unlink()
    assert fetch("mine") == verified("mine")
    pinned.path.write_bytes(b"other")
    with pytest.raises(UserError, match="is another file"):
        verified("mine")
    pinned.pin.write_text("{")
    with pytest.raises(UserError, match="is damaged; remove it"):
        verified("mine")


@pytest.mark.parametrize("case", ["terms", "no hash", "no network"])
def test_where_the_hub_does_not_give_the_file_the_way_by_hand_is_told(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str
) -> None:
    if case == "no hash":
        monkeypatch.delitem(STATED, "X-Linked-Etag")
    where = "http://127.0.0.1:9" if case == "no network" else url
    name = "a/gated" if case == "terms" else "a/b"
    hub_file(monkeypatch, where, name)
    with pytest.raises(UserError) as error:
        fetch("mine")
    assert f"look at {where}/datasets/{name} " in str(error.value)
    assert f"hf download --repo-type dataset {name} data.json --local-dir data" in str(error.value)
    assert not (tmp_path / module.FOLDER).exists()


def test_unknown_name() -> None:
    with pytest.raises(UserError, match="fetch one of cogex, svamp, word_sorting, humaneval, mbpp"):
        fetch("nothing")


def test_every_url_names_a_commit() -> None:
    for name, pinned in FILES.items():
        if name == "cogex":
            continue  # pinned at the first fetch
        commit = pinned.url.split("/")[5]
        assert len(commit) == 40
        assert pinned.url.endswith("/" + pinned.file)
