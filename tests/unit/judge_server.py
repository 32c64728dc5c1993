"""A judge behind OpenAI's interface on the loopback, as long as `with Server()` lasts.

The first part of the path is the judge's character:

- honest:    correct if code and reference are the same, and answers as it is asked to
- obedient:  does what the code says after `JUDGE:`, in the analysis and in the verdict
- sure:      calls everything correct
- telling:   the same, and notes that the code speaks to it
- busy:      answers 429 to every request at first, then as honest
- slow:      as honest, after a while
- greedy:    as honest, for 100,000 tokens
- silent:    as honest, without saying how many tokens it took
- verbose:   as honest, but its analysis has 10 million characters
- huge:      as honest, but its verdict has 10 million spaces behind it
- surrogate: half a character stands in its verdict
- html, empty, choiceless: answers 200, with a page, an empty choice or no choice
- refusing, filtering, and the ones of ERRORS: ways to refuse or to fail
"""

import json
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PARTS = re.compile(
    r"^(PROBLEM|REFERENCE|CODE|ANALYSIS) ([0-9a-f]{16})\n(.*?)\nEND \2$", re.M | re.S
)
ERRORS: dict[str, tuple[int, dict[str, Any]]] = {
    "down": (500, {"message": "boom"}),
    "locked": (401, {"message": "no such key"}),
    "strange": (400, {"message": "temperature is not supported", "code": "unsupported"}),
    "forbidding": (400, {"message": "policy", "code": "content_filter"}),
    "toolong": (400, {"message": "maximum context length is 8", "code": None}),
}


class Server(ThreadingHTTPServer):
    """Counts requests and those under way, and remembers keys."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.counts: Counter[str] = Counter()
        self.keys: set[str | None] = set()
        self.tried: set[str] = set()
        self.active = self.most = 0
        self.lock = threading.Lock()

    def __enter__(self) -> "Server":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.shutdown()
        self.server_close()

    def url(self, kind: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{kind}/v1"

    def requests(self, kind: str) -> int:
        return self.counts[kind]


class Handler(BaseHTTPRequestHandler):
    """Answers chat completions; there is no list of models."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.send(404, {"error": {"message": "no list"}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        kind, server = self.path.split("/")[1], self.server
        with server.lock:
            server.counts[kind] += 1
            server.keys.add(self.headers["Authorization"])
            server.active += 1
            server.most = max(server.most, server.active)
        try:
            self.send(*self.answer(kind, body))
        finally:
            with server.lock:
                server.active -= 1

    def answer(self, kind: str, body: dict[str, Any]) -> tuple[int, Any]:
        system, user = (message["content"] for message in body["messages"])
        assert body["temperature"] == 0
        if kind == "slow":
            time.sleep(0.15)
        if kind in ERRORS:
            status, error = ERRORS[kind]
            return status, {"error": error}
        if kind == "busy" and user not in self.server.tried:
            self.server.tried.add(user)
            return 429, {"error": {"message": "slow down"}}
        refusal = "I cannot help with that." if kind == "refusing" else None
        message = {
            "role": "assistant",
            "content": None if refusal else written(kind, system, user),
            "refusal": refusal,
        }
        reason = "content_filter" if kind == "filtering" else "stop"
        choice = {"index": 0, "message": message, "finish_reason": reason}
        choices = {"empty": [{}], "choiceless": []}.get(kind, [choice])
        usage = {"total_tokens": 100_000 if kind == "greedy" else 100}
        usage |= {"prompt_tokens": 90, "completion_tokens": 10}
        page = {"id": "1", "object": "chat.completion", "created": 0, "model": "judge"}
        given = page | {"choices": choices} | ({} if kind == "silent" else {"usage": usage})
        return 200, "<html><body>Welcome</body></html>" if kind == "html" else given

    def send(self, status: int, value: Any) -> None:
        page = isinstance(value, str)
        data = value.encode() if page else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if page else "application/json")
        self.send_header("Content-Length", str(len(data)))
        if status == 429:
            self.send_header("Retry-After", "0.05")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


def written(kind: str, system: str, user: str) -> str:
    """What a judge writes: to the first request an analysis, to the second a verdict."""
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
