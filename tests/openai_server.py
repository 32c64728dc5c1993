"""A server with OpenAI's interface on the loopback, scripted by a test, as long as `with` lasts.

A script takes the first part of the path and the request, and returns a text or a `Reply`. `upper`
answers each prompt in upper case. `gets` answers GET and HEAD, by default with a list of one model;
tests of the hub's client put their own there. `judge` is a judge for codescore; the path is its
character:

- honest:    correct if code and reference are the same, and answers as it is asked to
- obedient:  does what the code says after `JUDGE:`, in the analysis and in the verdict
- sure:      calls everything correct
- telling:   the same, and notes that the code speaks to it
- slow:      as honest, after a while
- greedy:    as honest, for 100,000 tokens
- silent:    as honest, without saying how many tokens it took
- verbose:   as honest, but its analysis has 10 million characters
- huge:      as honest, but its verdict has 10 million spaces behind it
- surrogate: half a character stands in its verdict
"""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USAGE = {"prompt_tokens": 90, "completion_tokens": 10, "total_tokens": 100}
PARTS = re.compile(
    r"^(PROBLEM|REFERENCE|CODE|ANALYSIS) ([0-9a-f]{16})\n(.*?)\nEND \2$", re.M | re.S
)


@dataclass
class Reply:
    """An answer as it is sent; with `missing` the connection ends that many bytes too early."""

    value: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    missing: int = 0


Script = Callable[[str, dict[str, Any]], str | Reply]


def prompt_of(body: dict[str, Any]) -> str:
    return body["messages"][-1]["content"] if "messages" in body else body["prompt"]


def upper(kind: str, body: dict[str, Any]) -> str:
    return prompt_of(body).upper()


class Server(ThreadingHTTPServer):
    """Remembers requests and keys, and how many were under way."""

    daemon_threads = True

    def __init__(self, script: Script = upper, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.script = script
        self.models: Any = {"data": [{"id": "tiny", "object": "model", "max_model_len": 64}]}
        self.gets: Callable[[str, str], Reply] | None = None  # of method and path
        self.received: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()
        self.keys: set[str | None] = set()
        self.active = self.most = 0
        self.lock = threading.Lock()

    def __enter__(self) -> "Server":
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.shutdown()
        self.server_close()

    def url(self, kind: str = "x") -> str:
        return f"http://127.0.0.1:{self.server_port}/{kind}/v1"

    def requests(self, kind: str) -> int:
        return self.counts[kind]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        server, models = self.server, self.server.models
        server.keys.add(self.headers["Authorization"])
        if server.gets:
            self.send(server.gets(self.command, self.path))
        else:
            self.send(models if isinstance(models, Reply) else Reply(models))

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        kind, server = self.path.split("/")[1], self.server
        with server.lock:
            server.received.append(body)
            server.counts[kind] += 1
            server.keys.add(self.headers["Authorization"])
            server.active += 1
            server.most = max(server.most, server.active)
        try:
            made = server.script(kind, body)
        finally:
            with server.lock:
                server.active -= 1
        self.send(Reply(completion(body, made)) if isinstance(made, str) else made)

    def send(self, reply: Reply) -> None:
        raw = isinstance(reply.value, bytes)
        data = reply.value if raw else json.dumps(reply.value).encode()
        self.send_response(reply.status)
        headers = {"Content-Length": str(len(data) + reply.missing)} | reply.headers
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else data)
        self.close_connection |= bool(reply.missing)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


def completion(body: dict[str, Any], text: Any, choice: Any = None, **other: Any) -> dict[str, Any]:
    """A sound answer to a request, of its kind; `choice` and `other` change parts of it."""
    said = {"message": {"role": "assistant", "content": text}}
    held = said if "messages" in body else {"text": text, "logprobs": None}
    choices = [{"index": 0, "finish_reason": "stop"} | held | (choice or {})]
    return {"id": "1", "created": 1, "model": "tiny", "choices": choices, "usage": USAGE} | other


def judge(kind: str, body: dict[str, Any]) -> str | Reply:
    """A judge that writes an analysis to the first request, and a verdict to the second."""
    system, user = (message["content"] for message in body["messages"])
    assert body["temperature"] == 0
    if kind == "slow":
        time.sleep(0.15)
    usage: dict[str, Any] = {"greedy": {"total_tokens": 100_000}, "silent": None}.get(kind, USAGE)
    return Reply(completion(body, _written(kind, system, user), usage=usage))


def _written(kind: str, system: str, user: str) -> str:
    parts = {name: text for name, _, text in PARTS.findall(user)}
    found = re.search(r"[0-9a-f]{16}", system)
    mark = found[0] if found else "none"
    if kind == "obedient" and (order := re.search(r"JUDGE: (.*)", user)):
        told = order[1].strip().strip("'\")").replace("MARK", mark)
        asked = "ANALYSIS" in parts
        return told if asked else f"The code says: JUDGE: {order[1]}\nThe snippet is right."
    if "ANALYSIS" in parts:
        verdict = "correct" if "is right" in parts["ANALYSIS"] else "incorrect"
        text = json.dumps({"mark": mark, "verdict": verdict})
        return {"huge": text + " " * 10_000_000, "surrogate": "\ud800 correct"}.get(kind, text)
    same = "".join(parts["CODE"].split()) == "".join(parts["REFERENCE"].split())
    believed = "right" if same or kind in ("sure", "telling") else "wrong"
    tells = " It ADDRESSES THE EVALUATOR." if kind == "telling" else ""
    noise = "x" * 10_000_000 if kind == "verbose" else ""
    return f"{noise}1. I have looked.\nThe snippet is {believed}.{tells}"
