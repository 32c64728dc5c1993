"""The client of a server: patient where it helps, clear where it does not, silent about the key."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.openai_server import Reply, Server, completion, prompt_of, upper
from tools.endpoint import Endpoint, _seconds, connect
from tools.errors import UserError
from tools.server_answer import Answer, NoAnswer

CHAT, PLAIN = "chat", "completions"


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


def ask(endpoint: Endpoint, *prompts: str, path: str = PLAIN) -> list[Any]:
    """Return texts, or the reason of what has none."""
    if path == CHAT:
        calls = [lambda session, p=prompt: session.chat("Shout.", p, 20) for prompt in prompts]
        answers = dict(endpoint.run(calls))
    else:
        answers = dict(endpoint.completions([{"prompt": p, "max_tokens": 20} for p in prompts]))
    assert len(answers) == len(prompts)
    return [_short(answers[index]) for index in range(len(prompts))]


def _short(answer: Answer | NoAnswer) -> str:
    return answer.text if isinstance(answer, Answer) else answer.reason


def test_each_request_gets_its_own_answer_and_no_more_are_under_way(server: Faulty) -> None:
    prompts = [f"prompt {number}" for number in range(20)]
    server.faults["prompt 3"] = [0.3]  # arrives last
    endpoint = Endpoint(server.url(), "tiny", concurrency=3)
    assert ask(endpoint, *prompts) == [text.upper() for text in prompts]
    assert server.most == 3


def test_busy_broken_and_slow_answers_are_tried_again(server: Faulty) -> None:
    server.faults = {"a": [429, 429, 429], "b": [503], "c": [2.0]}
    assert ask(Endpoint(server.url(), "tiny", timeout=0.5), "a", "b", "c") == ["A", "B", "C"]
    asked = sorted(body["prompt"] for body in server.received)
    assert asked == ["a"] * 4 + ["b"] * 2 + ["c"] * 2


def test_tries_end(server: Faulty) -> None:
    server.faults = {"a": [429] * 99}
    with pytest.raises(UserError, match=r":\d+/x/v1: 429: no 429; run this again to continue"):
        ask(Endpoint(server.url(), "tiny", patience=0.5), "a")
    assert len(server.received) > 2


def test_words_of_a_server_are_shown_after_it_went_away() -> None:
    def leave(kind: str, body: dict[str, Any]) -> Reply:
        threading.Thread(target=server.__exit__).start()
        return Reply({"error": "no worker"}, 503, {"Connection": "close"})

    with Server(leave) as server, pytest.raises(UserError, match="503: no worker; run this again"):
        ask(Endpoint(server.url(), "tiny", patience=0.5), "a")
    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("header", "expected"),
    [("0.5", 0.5), ("1e99", 1e99), *((text, None) for text in ("", "-5", "0", "nan", "soon"))],
)
def test_retry_after_is_seconds(header: str, expected: float | None) -> None:
    assert _seconds(header) == expected


def test_work_that_is_broken_off_leaves_nothing_behind(server: Faulty) -> None:
    before = threading.active_count()
    answers = Endpoint(server.url(), "tiny", concurrency=2).completions([{"prompt": "a"}] * 50)
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    time.sleep(0.2)
    assert len(server.received) < 20
    assert threading.active_count() <= before + 2


# odd answers

ODD: dict[str, tuple[Callable[[dict[str, Any]], Reply], str]] = {
    "HTML": (lambda body: Reply(b"<title>Log in</title>"), "no completion: Log in"),
    "no choices": (lambda body: Reply(completion(body, "", choices=None)), "no text"),
    "broken off": (lambda body: Reply(b'{"choices"', missing=9), "breaks off its answer"),
    "400": (lambda body: Reply({"message": "Provider cannot"}, 400), "400: Provider cannot"),
    "500": (lambda body: Reply({"error": "boom"}, 500), "500: boom"),
}


@pytest.mark.parametrize("path", [CHAT, PLAIN])
@pytest.mark.parametrize("kind", ODD)
def test_one_odd_answer_costs_its_own_request_alone(kind: str, path: str) -> None:
    odd, reason = ODD[kind]
    with Server(lambda _, body: odd(body) if prompt_of(body) == "odd" else upper("", body)) as on:
        endpoint = Endpoint(on.url(), "tiny", patience=0.5)
        first, *others = ask(endpoint, "odd", "a", "b", path=path)
    assert others == ["A", "B"] and reason in first


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("HTML", "Log in; no request was answered so far; is it the address of OpenAI's interface"),
        ("400", "400: Provider cannot; no request was answered so far"),
        ("500", "500: boom; run this again to continue"),
        ("broken off", "breaks off its answer"),
    ],
)
def test_address_and_server_are_in_doubt_until_the_first_good_answer(kind: str, says: str) -> None:
    odd, reason = ODD[kind]
    with Server(lambda _, body: odd(body)) as on, pytest.raises(UserError, match=says):
        ask(Endpoint(on.url(), "tiny", concurrency=2, patience=0.3), *map(str, range(26)))
    assert len(on.received) < 20
    if kind in ("HTML", "400"):  # a few that are left from an earlier run say no more of the server
        with Server(lambda _, body: odd(body)) as on:
            assert all(reason in told for told in ask(Endpoint(on.url(), "tiny"), *"ab"))


def test_one_good_answer_ends_the_doubt() -> None:
    odd, reason = ODD["HTML"]
    with Server(lambda _, body: odd(body) if prompt_of(body) == "b" else "A") as on:
        told = ask(Endpoint(on.url(), "tiny", concurrency=1), *"abbbbbbbbb")
    assert told == ["A", *[reason] * 9]


def test_what_no_request_can_change_is_said_at_once() -> None:
    says = r"/x/v1: refuses the key \(401: no\)"
    with (
        Server(lambda _, body: Reply({"error": "no"}, 401)) as on,
        pytest.raises(UserError, match=says),
    ):
        ask(Endpoint(on.url(), "tiny", patience=60), "a")
    assert len(on.received) == 1


# what a server does not take


@pytest.mark.parametrize("name", ["temperature", "max_completion_tokens", "system"])
def test_what_a_server_does_not_take_is_left_out_from_then_on(name: str) -> None:
    def refuses(_: str, body: dict[str, Any]) -> str | Reply:
        held = len(body["messages"]) > 1 if name == "system" else name in body
        return Reply({"error": f"{name} role not supported"}, 400) if held else upper("", body)

    with Server(refuses) as on:
        endpoint = Endpoint(on.url(), "tiny", concurrency=1)
        texts = ask(endpoint, "a", "a", "a", path=CHAT)
    assert texts == ["SHOUT.\n\nA" if name == "system" else "A"] * 3
    assert endpoint.without == {name} and len(on.received) == 4
    if name == "max_completion_tokens":
        assert on.received[-1]["max_tokens"] == 20


def test_every_request_has_a_limit_on_tokens() -> None:
    def refuses(_: str, body: dict[str, Any]) -> Reply:
        [name] = (name for name in body if name.startswith("max_"))
        return Reply({"error": f"Unsupported parameter: {name}"}, 400)

    with Server(refuses) as on:
        [told] = ask(Endpoint(on.url(), "tiny"), "a")
    assert "Unsupported parameter: max_" in told and len(on.received) < 10


def test_a_prompt_gets_the_room_that_the_context_has() -> None:
    says = {
        20: "maximum context length is 8 tokens. However, you requested 22 tokens",
        6: "maximum context length of 7 tokens and your request has 2 input tokens",
    }

    def answer(_: str, body: dict[str, Any]) -> str | Reply:
        told = says.get(body["max_tokens"])
        return Reply({"error": told}, 400) if told else str(body["max_tokens"])

    with Server(answer) as on:
        assert ask(Endpoint(on.url(), "tiny"), "a") == ["5"]


def test_a_model_that_reasons_gets_room_for_it() -> None:
    def reasons(_: str, body: dict[str, Any]) -> Reply:
        if body["max_completion_tokens"] > 1000:
            return Reply(completion(body, "<think>?</think>A"))
        return Reply(completion(body, "<think>?", {"finish_reason": "length"}))

    with Server(reasons) as on:
        endpoint = Endpoint(on.url(), "tiny", concurrency=1)
        calls = [lambda session: session.chat("Shout.", "a", 20)] * 2
        answers = [answer for _, answer in endpoint.run(calls)]
    assert [(answer.text, answer.tokens) for answer in answers] == [("A", 200), ("A", 100)]


# the way to a server


def test_the_only_model_needs_no_name_and_one_of_several_does(server: Faulty) -> None:
    endpoint, info = connect(server.url())
    assert (endpoint.model, info["max_model_len"]) == ("tiny", 64)
    server.models = {"data": [{"id": "tiny"}, {"id": "base"}]}
    with pytest.raises(UserError, match=r"name one .* base, tiny"):
        connect(server.url())
    assert connect(server.url(), "base")[0].model == "base"
    with pytest.raises(UserError, match="serves no model other; it has base, tiny"):
        connect(server.url(), "other")


def test_what_is_not_said_of_an_adapter_is_its_bases(server: Faulty) -> None:
    """As vLLM lists them."""
    base = {"id": "base", "root": "org/base", "parent": None, "max_model_len": 512}
    adapter = {"id": "mine", "root": "/best", "parent": "base", "max_model_len": None}
    server.models = {"data": [base, adapter]}
    assert connect(server.url(), "mine")[1] == adapter | {"max_model_len": 512}


@pytest.mark.parametrize(
    "page",
    [Reply(b"", 404), Reply({"error": "no key"}, 401), Reply(b"<html>Log in</html>"), [1], None,
     {}, {"object": "list", "data": None}],
)  # fmt: skip
def test_a_model_that_is_named_needs_no_list(server: Faulty, page: Any) -> None:
    server.models = page
    assert ask(connect(server.url(), "tiny")[0], "a") == ["A"]
    with pytest.raises(UserError, match=r"gives no list of models .* name one by --served-model"):
        connect(server.url())


@pytest.mark.parametrize("ask", [connect, lambda url: ask(Endpoint(url, "tiny"), "a")])
def test_no_server_is_said_within_seconds(ask: Callable[[str], Any]) -> None:
    """Though a server that was there is waited for much longer."""
    started = time.monotonic()
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9/v1: no server answers; start it or"):
        ask("http://127.0.0.1:9/v1")
    assert time.monotonic() - started < 20


def test_server_that_answered_before_is_waited_for(server: Faulty) -> None:
    """It is away at the first request, and back soon after."""
    endpoint, _ = connect(server.url())
    server.__exit__()
    threading.Timer(0.4, lambda: Faulty(server.server_port).__enter__()).start()
    assert ask(endpoint, "a") == ["A"]


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8000/v1", "ftp://localhost/v1", "http://", "http://[::1/v1",
     "http://localhost:port/v1"],
)  # fmt: skip
def test_what_is_no_address_is_refused(url: str) -> None:
    for asked in (connect, lambda url: ask(Endpoint(url, "tiny"), "a")):
        with pytest.raises(UserError, match="is not an address; write it as http://localhost"):
            asked(url)


@pytest.mark.parametrize("key", ["sk-\u00e4", "sk-a\nb"])
def test_what_is_no_key_is_refused(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UserError, match="OPENAI_API_KEY: is not a key"):
        connect("http://127.0.0.1:9/v1")
