"""A judge behind OpenAI's interface, in a process of its own on the loopback: `Server` starts it.

The first part of the path is the judge's character, so that one process serves every test:

- honest:   correct if code and reference are the same, and answers as it is asked to
- obedient: does what the code says after `JUDGE:`, in the analysis and in the verdict
- sure:     calls everything correct
- telling:  the same, and notes that the code speaks to it
- busy:     answers 429 to every request at first, then as honest
- down:     answers 500
- strange:  answers 400 to everything
- slow:     as honest, after a while
- greedy:   as honest, for 100,000 tokens
- silent:   as honest, without saying how many tokens it took
- verbose:  as honest, but its analysis has 10 million characters
- locked:   answers 401
- html:     answers 200, with a page
- empty:    answers 200, with a choice in which there is nothing
- refusing, filtering, forbidding, toolong: four ways to refuse
- what GARBAGE names: that text
"""

import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

ROOT = Path(__file__).parents[2]
MARK = re.compile(r"[0-9a-f]{16}")
PARTS = re.compile(
    r"^(PROBLEM|REFERENCE|CODE|ANALYSIS) ([0-9a-f]{16})\n(.*?)\nEND \2$", re.M | re.S
)
GARBAGE = {
    "yes": "Yes",
    "boxed": "The code is right. [[Correct]]",
    "markless": '{"verdict": "correct"}',
    "wrongmark": '{"mark": "0000000000000000", "verdict": "correct"}',
    "cut": '{"mark": "MARK", "verdict": "corr',
    "twice": '{"mark": "MARK", "verdict": "incorrect"} {"mark": "MARK", "verdict": "correct"}',
    "keytwice": '{"mark": "MARK", "verdict": "incorrect", "verdict": "correct"}',
    "fences": '```json\n{"mark": "MARK", "verdict": "correct"}\n```\nor\n```json\n'
    '{"mark": "MARK", "verdict": "incorrect"}\n```',
    "truth": '{"mark": "MARK", "verdict": "true"}',
    "boolean": '{"mark": "MARK", "verdict": true}',
    "lookalike": '{"mark": "MARK", "verdict": "\u0441orrect"}',  # a Cyrillic letter
    "pass": "PASS. The verdict is: PASS",
    "pairs": '[["mark", "MARK"], ["verdict", "correct"]]',
    "huge": '{"mark": "MARK", "verdict": "correct"}' + " " * 10_000_000,
    "more": '{"mark": "MARK", "verdict": "correct", "score": 1}',
    "other": '{"mark": "MARK", "verdict": "correct-ish"}',
    "list": '[{"mark": "MARK", "verdict": "correct"}]',
    "prose": 'I think {"mark": "MARK", "verdict": "correct"}',
    "nothing": "",
    "page": "<html><body>502 Bad Gateway</body></html>",
    "deep": "[" * 5000,
    "surrogate": "\ud800 correct",
}


class State:
    """What the tests look at."""

    lock = threading.Lock()
    requests: ClassVar[Counter[str]] = Counter()
    tried: ClassVar[set[str]] = set()
    keys: ClassVar[set[str]] = set()
    active = most = 0


class Handler(BaseHTTPRequestHandler):
    """Answers chat completions, and GET with the state."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send(200, {"requests": State.requests, "most": State.most, "keys": [*State.keys]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        kind = self.path.split("/")[1]
        with State.lock:
            State.requests[kind] += 1
            State.keys.add(self.headers["Authorization"])
            State.active += 1
            State.most = max(State.most, State.active)
        try:
            self._send(*answer(kind, body))
        finally:
            with State.lock:
                State.active -= 1

    def _send(self, status: int, value: Any) -> None:
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


def answer(kind: str, body: dict[str, Any]) -> tuple[int, Any]:
    system, user = (message["content"] for message in body["messages"])
    assert body["temperature"] == 0
    if kind == "slow":
        time.sleep(0.15)
    if kind == "down":
        return 500, {"error": {"message": "boom"}}
    if kind == "strange":
        return 400, {"error": {"message": "temperature is not supported", "code": "unsupported"}}
    if kind == "busy" and user not in State.tried:
        State.tried.add(user)
        return 429, {"error": {"message": "slow down"}}
    if kind == "locked":
        return 401, {"error": {"message": "no such key"}}
    if kind == "html":
        return 200, "<html><body>Welcome</body></html>"
    if kind == "empty":
        return 200, completion("", "stop") | {"choices": [{}]}
    if kind == "forbidding":
        return 400, {"error": {"message": "policy", "code": "content_filter"}}
    if kind == "toolong":
        return 400, {"error": {"message": "maximum context length is 8", "code": None}}
    if kind == "choiceless":
        return 200, completion("", "stop") | {"choices": []}
    refusal = "I cannot help with that." if kind == "refusing" else None
    reason = "content_filter" if kind == "filtering" else "stop"
    text = "" if refusal else written(kind, system, user)
    given = completion(text, reason, refusal)
    if kind == "greedy":
        given["usage"]["total_tokens"] = 100_000
    if kind == "silent":
        del given["usage"]
    return 200, given


def written(kind: str, system: str, user: str) -> str:
    parts = {name: text for name, _, text in PARTS.findall(user)}
    found = MARK.search(system)
    mark = found[0] if found else "none"
    summing = "ANALYSIS" in parts
    if kind == "obedient" and (order := re.search(r"JUDGE: (.*)", user)):
        told = order[1].strip().strip("'\")").replace("MARK", mark)
        return told if summing else f"The code says: JUDGE: {order[1]}\nThe snippet is right."
    if kind in GARBAGE and summing:
        return GARBAGE[kind].replace("MARK", mark)
    if not summing:
        same = "".join(parts["CODE"].split()) == "".join(parts["REFERENCE"].split())
        tells = " It ADDRESSES THE EVALUATOR." if kind == "telling" else ""
        believes = same or kind in ("sure", "telling") or kind in GARBAGE
        noise = "x" * 10_000_000 if kind == "verbose" else ""
        return (
            f"{noise}1. I have looked.\nThe snippet is {'right' if believes else 'wrong'}.{tells}"
        )
    verdict = "correct" if "is right" in parts["ANALYSIS"] else "incorrect"
    return json.dumps({"mark": mark, "verdict": verdict})


def completion(text: str, reason: str, refusal: str | None = None) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": refusal}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "judge",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": {"prompt_tokens": 90, "completion_tokens": 10, "total_tokens": 100},
    }


class Server:
    """The process, for as long as the `with` block lasts."""

    def __enter__(self) -> "Server":
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.judge_server"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        return self

    def __exit__(self, *raised: object) -> None:
        self.process.kill()
        self.process.wait()

    def url(self, kind: str) -> str:
        return f"http://127.0.0.1:{self.port}/{kind}/v1"

    def state(self) -> dict[str, Any]:
        with urllib.request.urlopen(self.url("state")) as page:
            found: dict[str, Any] = json.load(page)
        return found

    def requests(self, kind: str) -> int:
        return int(self.state()["requests"].get(kind, 0))


def main() -> None:
    """Serve until killed; the port is the first line that is printed."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
