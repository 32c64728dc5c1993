"""The client of a server: patient where it helps, clear where it does not, silent about the key."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tools.endpoint import KEY, Endpoint, connect
from tools.errors import UserError

SECRET = "sk-a-secret-that-nobody-may-read"


class Server(ThreadingHTTPServer):
    """Answers each prompt with its upper case; what goes wrong first is in `faults`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults: dict[str, list[int | float]] = {}
        self.served = ["tiny"]
        self.seen: list[tuple[str, str | None]] = []
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()

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
        prompt = body["prompt"] if "prompt" in body else body["messages"][0]["content"]
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
        elif "prompt" in body:
            self._send(200, {"id": "1", "object": "text_completion", "created": 1, "model": "tiny",
                             "choices": [{"index": 0, "text": prompt.upper(),
                                          "finish_reason": "stop", "logprobs": None}]})  # fmt: skip
        else:
            said = {"role": "assistant", "content": prompt.upper()}
            self._send(200, {"id": "1", "object": "chat.completion", "created": 1, "model": "tiny",
                             "choices": [{"index": 0, "message": said,
                                          "finish_reason": "stop"}]})  # fmt: skip

    def _send(self, status: int, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
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
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


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


def test_chat(server: Server) -> None:
    messages = [{"role": "user", "content": "hello"}]
    [(_, answer)] = Endpoint(server.url, "tiny").chat([{"messages": messages}])
    assert answer.choices[0].message.content == "HELLO"


def test_the_only_model_needs_no_name(server: Server) -> None:
    endpoint, info = connect(server.url)
    assert endpoint.model == "tiny"
    assert info["max_model_len"] == 64


def test_several_models_need_one(server: Server) -> None:
    server.served = ["tiny", "base"]
    with pytest.raises(UserError, match=r"name one .* base, tiny"):
        connect(server.url)
    assert connect(server.url, "base")[0].model == "base"
    with pytest.raises(UserError, match="serves no model other; it has base, tiny"):
        connect(server.url, "other")


def test_no_server() -> None:
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9/v1: cannot be reached"):
        connect("http://127.0.0.1:9/v1", retries=0)
