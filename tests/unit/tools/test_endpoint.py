"""The client of a server: patient where it helps, clear where it does not, silent about the key."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.openai_server import Reply, Server, upper
from tools.endpoint import Endpoint, _seconds, connect
from tools.errors import UserError


class Faulty(Server):
    """Answers each prompt with its upper case; `faults` holds what comes first: status or delay."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(self._answer, port)
        self.faults: dict[str, list[int | float]] = {}

    def _answer(self, kind: str, body: dict[str, Any]) -> str | Reply:
        faults = self.faults.get(body["prompt"], [])
        fault = faults.pop(0) if faults else 0.02
        if isinstance(fault, float):
            time.sleep(fault)
            return upper(kind, body)
        return Reply({"error": {"message": f"no {fault}"}}, fault, {"Retry-After": "0.01"})


@pytest.fixture
def server() -> Iterator[Faulty]:
    with Faulty() as server:
        yield server


def complete(endpoint: Endpoint, *prompts: str) -> list[str]:
    answers = dict(endpoint.completions([{"prompt": prompt} for prompt in prompts]))
    return [answers[index].text for index in range(len(prompts))]


def test_each_request_gets_its_own_answer(server: Faulty) -> None:
    prompts = [f"prompt {number}" for number in range(40)]
    server.faults["prompt 3"] = [0.3]  # arrives last
    assert complete(Endpoint(server.url(), "tiny"), *prompts) == [text.upper() for text in prompts]


def test_no_more_requests_than_allowed_are_under_way(server: Faulty) -> None:
    complete(Endpoint(server.url(), "tiny", concurrency=3), *map(str, range(12)))
    assert server.most == 3


def test_busy_and_broken_answers_are_tried_again(server: Faulty) -> None:
    server.faults = {"a": [429, 429, 429], "b": [503], "c": [500]}
    assert complete(Endpoint(server.url(), "tiny"), "a", "b", "c") == ["A", "B", "C"]
    asked = sorted(body["prompt"] for body in server.received)
    assert asked == ["a"] * 4 + ["b"] * 2 + ["c"] * 2


def test_answer_that_is_too_slow_is_asked_for_again(server: Faulty) -> None:
    server.faults = {"a": [2.0]}
    assert complete(Endpoint(server.url(), "tiny", timeout=0.5), "a", "b") == ["A", "B"]


def test_tries_end(server: Faulty) -> None:
    server.faults = {"a": [429] * 99}
    with pytest.raises(UserError, match=r":\d+/x/v1: 429: no 429; run this again to continue"):
        complete(Endpoint(server.url(), "tiny", patience=0.5), "a")
    assert len(server.received) > 2


def test_words_of_a_server_are_shown_after_it_went_away() -> None:
    def leave(kind: str, body: dict[str, Any]) -> Reply:
        threading.Thread(target=server.__exit__).start()
        return Reply({"error": "no worker"}, 503, {"Connection": "close"})

    with Server(leave) as server, pytest.raises(UserError, match="503: no worker; run this again"):
        complete(Endpoint(server.url(), "tiny", patience=1.0), "a")
    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("0.5", 0.5, 0.5),
        ("Wed, 21 Oct 2099 07:28:00 GMT", 9e8, 9e9),
        ("1e99", 1e99, 1e99),  # the patience bounds it
        *((header, None, None) for header in (
            "", "-5", "0", "nan", "soon", "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 99 Oct 2099")),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(header: str, least: Any, most: Any) -> None:
    found = _seconds(header)
    assert found is None if least is None else found is not None and least <= found <= most


def test_work_that_is_broken_off_leaves_nothing_behind(server: Faulty) -> None:
    before = threading.active_count()
    answers = Endpoint(server.url(), "tiny", concurrency=2).completions([{"prompt": "a"}] * 50)
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    time.sleep(0.2)
    assert len(server.received) < 20
    assert threading.active_count() <= before + 2


def test_the_only_model_needs_no_name_and_one_of_several_does(server: Faulty) -> None:
    endpoint, info = connect(server.url())
    assert (endpoint.model, info["max_model_len"]) == ("tiny", 64)
    server.models = {"data": [{"id": "tiny"}, {"id": "base"}]}
    with pytest.raises(UserError, match=r"name one .* base, tiny"):
        connect(server.url())
    assert connect(server.url(), "base")[0].model == "base"
    with pytest.raises(UserError, match="serves no model other; it has base, tiny"):
        connect(server.url(), "other")


@pytest.mark.parametrize("ask", [connect, lambda url: complete(Endpoint(url, "tiny"), "a")])
def test_no_server_is_said_within_seconds(ask: Callable[[str], Any]) -> None:
    """Though a server that was there is waited for much longer."""
    started = time.monotonic()
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9/v1: no server answers; start it or"):
        ask("http://127.0.0.1:9/v1")
    assert time.monotonic() - started < 20


def test_server_that_answered_before_is_waited_for(server: Faulty) -> None:
    """It is away at the first request, and back a second later."""
    endpoint, _ = connect(server.url())
    server.__exit__()
    threading.Timer(1.0, lambda: Faulty(server.server_port).__enter__()).start()
    assert complete(endpoint, "a") == ["A"]


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8000/v1", "ftp://localhost/v1", "http://", "http://[::1/v1",
     "http://localhost:port/v1", "http://localhost:99999/v1"],
)  # fmt: skip
def test_what_is_no_address_is_refused(url: str) -> None:
    for ask in (connect, lambda url: complete(Endpoint(url, "tiny"), "a")):
        with pytest.raises(
            UserError, match="is not an address; write it as http://localhost:8000/v1"
        ):
            ask(url)


@pytest.mark.parametrize("page", [b"<html>Log in</html>", b"{cut", b"", b"[1]", b"null", b"{}"])
def test_list_of_models_that_is_none(server: Faulty, page: bytes) -> None:
    server.models = Reply(page)
    with pytest.raises(UserError, match=r"cannot be used \(no list of models\); is it the address"):
        connect(server.url())


def test_a_model_that_is_named_needs_no_list(server: Faulty) -> None:
    server.models = Reply(b"", 404)
    assert complete(connect(server.url(), "tiny")[0], "a") == ["A"]
    server.models = Reply({"object": "list", "data": None})  # Ollama's
    with pytest.raises(UserError, match="name one of its models by --served-model: none"):
        connect(server.url())
    server.models = Reply({"error": {"message": "no such key"}}, 401)
    with pytest.raises(UserError, match=r"refuses the key \(401: no such key\)"):
        connect(server.url(), "tiny")


@pytest.mark.parametrize("key", ["sk-\u00e4", "sk-a\nb"])
def test_what_is_no_key_is_refused(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UserError, match="OPENAI_API_KEY: is not a key"):
        connect("http://127.0.0.1:9/v1")
