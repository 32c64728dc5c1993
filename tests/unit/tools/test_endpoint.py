"""The client of a server: patient where it helps, clear where it does not, silent about the key."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tools.endpoint import KEY, Endpoint, connect
from tools.errors import UserError

SECRET = "sk-a-secret-that-nobody-may-read"


class Server(ThreadingHTTPServer):
    """Answers each prompt with its upper case; what goes wrong first is in `faults`."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler, bind_and_activate=False)
        self.faults: dict[str, list[int | float]] = {}
        self.served = ["tiny"]
        self.seen: list[tuple[str, str | None]] = []
        self.busy = self.most_busy = 0
        self.page: bytes | None = None  # sent in place of every answer
        self.lock = threading.Lock()

    def open(self) -> None:
        self.server_bind()
        self.server_activate()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        models = [
            {"id": name, "object": "model", "max_model_len": 64} for name in self.server.served
        ]
        self._send(200, {"object": "list", "data": models})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["prompt"]
        with self.server.lock:
            self.server.seen.append((prompt, self.headers.get("Authorization")))
            faults = self.server.faults.get(prompt, [])
            fault = faults.pop(0) if faults else 200
            self.server.busy += 1
            self.server.most_busy = max(self.server.most_busy, self.server.busy)
        if isinstance(fault, float):
            time.sleep(fault)
            fault = 200
        time.sleep(0.02)
        with self.server.lock:
            self.server.busy -= 1
        if fault != 200:
            message = f"no {fault} for the key {self.headers.get('Authorization')}"
            self._send(int(fault), {"error": {"message": message}})
        else:
            self._send(200, {"id": "1", "object": "text_completion", "created": 1, "model": "tiny",
                             "choices": [{"index": 0, "text": prompt.upper(),
                                          "finish_reason": "stop", "logprobs": None}]})  # fmt: skip

    def _send(self, status: int, value: Any) -> None:
        content = json.dumps(value).encode() if self.server.page is None else self.server.page
        self.send_response(status)
        html = content.startswith(b"<html>")
        self.send_header("Content-Type", "text/html" if html else "application/json")
        self.send_header("Content-Length", str(len(content)))
        if status in (429, 503):
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    server.open()
    yield server
    server.close()


def complete(endpoint: Endpoint, *prompts: str) -> list[str]:
    answers = dict(endpoint.completions([{"prompt": prompt} for prompt in prompts]))
    return [answers[index].choices[0].text for index in range(len(prompts))]


def test_each_request_gets_its_own_answer(server: Server) -> None:
    prompts = [f"prompt {number}" for number in range(40)]
    server.faults["prompt 3"] = [0.3]  # arrives last
    assert complete(Endpoint(server.url, "tiny"), *prompts) == [text.upper() for text in prompts]


def test_no_more_requests_than_allowed_are_under_way(server: Server) -> None:
    complete(Endpoint(server.url, "tiny", concurrency=3), *map(str, range(12)))
    assert server.most_busy == 3


def test_busy_and_broken_answers_are_tried_again(server: Server) -> None:
    server.faults = {"a": [429, 429, 429], "b": [503], "c": [500]}
    assert complete(Endpoint(server.url, "tiny"), "a", "b", "c") == ["A", "B", "C"]
    assert sorted(prompt for prompt, _ in server.seen) == ["a"] * 4 + ["b"] * 2 + ["c"] * 2


def test_answer_that_is_too_slow_is_asked_for_again(server: Server) -> None:
    server.faults = {"a": [2.0]}
    assert complete(Endpoint(server.url, "tiny", timeout=0.5), "a", "b") == ["A", "B"]


def test_tries_end(server: Server) -> None:
    server.faults = {"a": [429] * 9}
    with pytest.raises(UserError, match=r"127\.0\.0\.1:\d+/v1: Error code: 429"):
        complete(Endpoint(server.url, "tiny", retries=1), "a")
    assert len(server.seen) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_what_no_try_would_change_is_said_at_once(
    server: Server, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, SECRET)
    server.faults = {"a": [status] * 9}
    with pytest.raises(UserError) as error:
        complete(Endpoint(server.url, "tiny"), "a")
    assert server.seen == [("a", f"Bearer {SECRET}")]
    assert "secret" not in str(error.value)


def test_work_that_is_broken_off_leaves_nothing_behind(server: Server) -> None:
    before = threading.active_count()
    answers = Endpoint(server.url, "tiny", concurrency=2).completions([{"prompt": "a"}] * 50)
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    time.sleep(0.2)
    assert len(server.seen) < 20
    assert threading.active_count() <= before + 2


def test_the_only_model_needs_no_name_and_one_of_several_does(server: Server) -> None:
    endpoint, info = connect(server.url)
    assert (endpoint.model, info["max_model_len"]) == ("tiny", 64)
    server.served = ["tiny", "base"]
    with pytest.raises(UserError, match=r"name one .* base, tiny"):
        connect(server.url)
    assert connect(server.url, "base")[0].model == "base"
    with pytest.raises(UserError, match="serves no model other; it has base, tiny"):
        connect(server.url, "other")


@pytest.mark.parametrize("ask", [connect, lambda url: complete(Endpoint(url, "tiny"), "a")])
def test_no_server_is_said_within_seconds(ask: Callable[[str], Any]) -> None:
    """Though a server that was there is waited for much longer."""
    started = time.monotonic()
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9/v1: no server answers; start it or"):
        ask("http://127.0.0.1:9/v1")
    assert time.monotonic() - started < 20


def test_server_that_answered_before_is_waited_for(server: Server) -> None:
    """It is away at the first request, and back a second later."""
    endpoint, _ = connect(server.url)
    port = server.server_port
    server.close()
    later = Server(port)
    threading.Timer(1.0, later.open).start()
    assert complete(endpoint, "a") == ["A"]
    later.close()


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


@pytest.mark.parametrize(
    "page",
    [b"<html>Log in</html>", b"{cut", b"", b"[1]", b"null", b"{}", b'{"choices": []}',
     b'{"choices": [{"index": 0, "text": null}]}', b'{"choices": [1]}', b'{"choices": "ab"}',
     b'{"choices": [{"text": "a"}, {"text": "b"}]}'],
)  # fmt: skip
def test_answer_without_one_text_is_one_message(server: Server, page: bytes) -> None:
    endpoint, _ = connect(server.url)
    server.page = page
    with pytest.raises(UserError, match="gives an answer that cannot be used"):
        complete(endpoint, "a")


@pytest.mark.parametrize("page", [b"<html>Log in</html>", b"{cut", b"", b"[1]", b"null"])
def test_list_of_models_that_is_none(server: Server, page: bytes) -> None:
    server.page = page
    with pytest.raises(UserError, match=r"cannot be used \(no list of models\)"):
        connect(server.url)
