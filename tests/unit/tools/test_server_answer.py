"""Every odd answer that is known of real servers, in chat and in completions: what becomes of it.

One request of three gets it, each time that it is asked. The two others are answered.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.openai_server import Reply, Server, completion, prompt_of, upper
from tools import server_answer
from tools.endpoint import Endpoint
from tools.errors import UserError
from tools.server_answer import KEY, Answer, NoAnswer, by_reason, shown

Odd = Callable[[dict[str, Any]], Reply]
CHAT, PLAIN = "chat", "completions"


def ask(url: str, path: str, *prompts: str, **settings: Any) -> list[Any]:
    """Return texts, or (status, reason) of what has none."""
    endpoint = Endpoint(url, "tiny", **{"patience": 1.0} | settings)
    if path == CHAT:
        calls = [lambda session, p=prompt: session.chat("Shout.", p, 20) for prompt in prompts]
        answers = dict(endpoint.run(calls))
    else:
        answers = dict(endpoint.completions([{"prompt": p, "max_tokens": 20} for p in prompts]))
    assert len(answers) == len(prompts)
    return [_short(answers[index]) for index in range(len(prompts))]


def _short(answer: Answer | NoAnswer) -> Any:
    return answer.text if isinstance(answer, Answer) else (answer.status, answer.reason)


def error(status: int, message: Any, **other: Any) -> Odd:
    return lambda body: Reply({"error": {"message": message} | other}, status)


def raw(value: Any, status: int = 200, **other: Any) -> Odd:
    return lambda body: Reply(value, status, **other)


def made(text: Any = "ODD", choice: Any = None, **other: Any) -> Odd:
    return lambda body: Reply(completion(body, text, choice, **other))


REFUSED, NO_TEXT = "refused", "unparseable"
ODD: dict[str, tuple[Odd, Any]] = {
    # usage that cannot be read
    **{
        f"usage {name}": (made(usage=usage), "ODD")
        for name, usage in {
            "null": None, "empty": {}, "a list": [], "a number": 7,
            "null inside": {"total_tokens": None, "completion_tokens": None},
            "negative": {"total_tokens": -1, "completion_tokens": -1},
            "texts": {"total_tokens": "ten", "completion_tokens": "10"},
            "half there": {"prompt_tokens": 9},
        }.items()
    },
    # where the text stands, and what stands around it
    "parts": (made([{"type": "text", "text": "O"}, {"type": "text", "text": "DD"}],
                   {"text": None, "message": {"content": [{"type": "text", "text": "ODD"}]}}),
              "ODD"),
    "part alone": (made(None, {"message": {"content": {"type": "text", "text": "ODD"}}}), "ODD"),
    "texts as parts": (made(None, {"message": {"content": ["O", "DD"]}}), "ODD"),
    "EOS of ChatML": (made("ODD<|im_end|>\n<|im_start|>user\nand"), "ODD"),
    "EOS of Llama-2": (made("ODD</s>"), "ODD"),
    "EOS of Llama-3": (made("ODD<|eot_id|>"), "ODD"),
    "EOS that is HTML": (made("O</s>DD"), "O</s>DD"),
    "CRLF": (made("O\r\nDD"), "O\nDD"),
    "BOM in the text": (made("\ufeffODD"), "ODD"),
    "BOM of the body": (lambda body: Reply(
        b"\xef\xbb\xbf" + json.dumps(completion(body, "ODD")).encode()), "ODD"),
    "half a character": (made("ODD\ud83d"), "ODD?"),
    "a byte that is not UTF-8": (lambda body: Reply(
        json.dumps(completion(body, "ODDX")).encode().replace(b"X", b"\xff")), "ODD\ufffd"),
    "another finish": (made(choice={"finish_reason": "eos_token"}), "ODD"),
    "finish null": (made(choice={"finish_reason": None}), "ODD"),
    "error null": (made(error=None), "ODD"),
    # reasoning
    "think": (made("<think>\nIs it?\n</think>\n\nODD"), "ODD"),
    "thinking": (made("<thinking>Is it?</thinking>ODD"), "ODD"),
    "reasoning": (made("<Reasoning>Is it?</Reasoning>\nODD"), "ODD"),
    "two blocks": (made("<think>a</think>\n<think>b</think>ODD"), "ODD"),
    "think from the template": (made("Is it?\n</think>\n\nODD"), "ODD"),
    "a program about it": (made("x = '<think>'\n</think>"), "x = '<think>'\n</think>"),
    "part of reasoning": (made(None, {"message": {"content": [
        {"type": "thinking", "thinking": "?"}, {"type": "text", "text": "ODD"}]}}), "ODD"),
    "think without end": (made("<think>Is it?", {"finish_reason": "length"}),
                          (NO_TEXT, "reasoning alone: its limit of tokens ended it")),
    "reasoning alone": (made(None, {"message": {"content": None, "reasoning_content": "Is it?"},
                                    "finish_reason": "length"}),
                        (NO_TEXT, "reasoning alone: its limit of tokens ended it")),
    "hidden reasoning": (made("", {"finish_reason": "length"}, usage={
        "completion_tokens_details": {"reasoning_tokens": 20}}),
        (NO_TEXT, "reasoning alone: its limit of tokens ended it")),
    "reasoning and no answer": (made(None, {"message": {"content": "", "reasoning": "Is it?"}}),
                                (NO_TEXT, "reasoning alone: no answer follows it")),
    # no text
    "choices null": (made(choices=None), (NO_TEXT, 'no text: {"choices": null}')),
    "choices empty": (made(choices=[]), (NO_TEXT, 'no text: {"choices": []}')),
    "choices of null": (made(choices=[None]), (NO_TEXT, 'no text: {"choices": [null]}')),
    "choices a text": (made(choices="ab"), (NO_TEXT, 'no text: {"choices": "ab"}')),
    "words beside no choices": (made(choices=None, base_resp={"status_msg": "login fails"}),
                                (NO_TEXT, "login fails")),
    "text null": (made(None), (NO_TEXT, "no text: ")),
    "message null": (made(None, {"message": None}), (NO_TEXT, "no text: ")),
    "a call of a tool": (made(None, {"finish_reason": "tool_calls"}), (NO_TEXT, "tool_calls")),
    "HTML": (raw(b"<html><head><title>Log in</title></head>please</html>"),
             (NO_TEXT, "no completion: Log in")),
    "no body": (raw(b""), (NO_TEXT, "no completion: nothing")),
    "cut JSON": (raw(b'{"choices": [{"te'), (NO_TEXT, 'no completion: {"choices": [{"te')),
    "JSON list": (raw([1]), (NO_TEXT, "no completion: [1]")),
    "JSON text": (raw("hello"), (NO_TEXT, 'no completion: "hello"')),
    "JSON null": (raw(None), (NO_TEXT, "no completion: null")),
    "deep JSON": (raw(b"[" * 99_999), (NO_TEXT, "no completion: [[[")),
    "broken off": (raw(b'{"choices"', missing=9), (NO_TEXT, "breaks off its answer")),
    # refusals
    "filter": (made(None, {"finish_reason": "content_filter", "message": None}),
               (REFUSED, "finish_reason content_filter")),
    "Gemini's filter": (made(None, {"finish_reason": "SAFETY"}), (REFUSED, "SAFETY")),
    "refusal": (made(None, {"message": {"content": None, "refusal": "I will not."}}),
                (REFUSED, "I will not.")),
    "part that refuses": (made(None, {"message": {"content": [
        {"type": "refusal", "refusal": "I will not."}]}}), (REFUSED, "I will not.")),
    "vLLM's context": (error(400, "This model's maximum context length is 8 tokens. However, you "
                             "requested 9000 tokens"), (REFUSED, "400: This model's maximum")),
    "llama.cpp's context": (error(400, "exceeds the available size",
                                  type="exceed_context_size_error"), (REFUSED, "400: exceeds")),
    "its 500": (error(500, "Context size has been exceeded."), (REFUSED, "500: Context size")),
    "SGLang's error": (raw({"object": "error", "message": "longer than the context length"}, 400),
                       (REFUSED, "400: longer")),
    "the same as 200": (raw({"object": "error", "message": "longer than the context length"}),
                        (REFUSED, "longer than")),
    "DashScope": (error(400, "Input data may contain inappropriate content.",
                        code="data_inspection_failed"), (REFUSED, "400: Input data")),
    "Azure": (error(400, "Filtered", innererror={"code": "ResponsibleAIPolicyViolation"}),
              (REFUSED, "400: Filtered")),
    "moderation as 403": (error(403, "requires moderation", metadata={"reasons": ["hate"]}),
                          (REFUSED, "403: requires moderation")),
    "too large for its rate": (error(429, "Request too large: tokens per min"),
                               (REFUSED, "429: Request too large")),
    "413": (raw(b"<h1>Request Entity Too Large</h1>", 413), (REFUSED, "413: Request Entity")),
    "422": (raw({"detail": [{"loc": ["body", "prompt"], "msg": "too odd"}]}, 422),
            (REFUSED, "422: too odd")),
    "400 of one": (raw({"message": "Provider cannot"}, 400), (REFUSED, "400: Provider cannot")),
    "400 as a text": (raw({"error": "bad character"}, 400), (REFUSED, "400: bad character")),
    "400 of Google": (raw([{"error": {"code": 400, "message": "INVALID"}}]),
                      (REFUSED, "400: INVALID")),
    "400 without words": (raw(b"", 400), (REFUSED, "400: Bad Request")),
    "firewall": (raw(b"<title>You have been blocked</title>", 403),
                 (REFUSED, "403: You have been blocked")),
    "error true": (raw({"error": True, "message": "cannot"}), (REFUSED, "cannot")),
    "error of its own": (raw({"code": 20012, "msg": "cannot"}), (REFUSED, "cannot")),
    "error without words": (raw({"error": {"kind": "odd"}}), (REFUSED, '{"kind": "odd"}')),
    # busy for this request alone
    "429 as 200": (error(200, "Provider returned error", code=429,
                         metadata={"raw": "slow down"}),
                   (NO_TEXT, "429: Provider returned error; slow down, for 0 s")),
    "502 as text": (error(200, "overloaded", code="502"), (NO_TEXT, "502: overloaded, for")),
    "error of a choice": (made(choices=[{"error": {"code": 502, "message": "lost"}}]),
                          (NO_TEXT, "502: lost, for")),
    "500": (error(500, "boom"), (NO_TEXT, "500: boom, for")),
    "529 in HTML": (raw(b"<title>Overloaded</title>", 529), (NO_TEXT, "529: Overloaded, for")),
}  # fmt: skip


@pytest.mark.parametrize("path", [CHAT, PLAIN])
@pytest.mark.parametrize("kind", ODD)
def test_one_odd_answer_costs_its_own_request_alone(kind: str, path: str) -> None:
    odd, expected = ODD[kind]
    with Server(lambda _, body: odd(body) if prompt_of(body) == "odd" else upper("", body)) as on:
        first, *others = ask(on.url(), path, "odd", "a", "b")
    assert others == ["A", "B"]
    if isinstance(expected, str):
        assert first == expected
    else:
        assert first[0] == expected[0] and expected[1] in first[1]


HOPELESS: dict[str, tuple[Odd, str]] = {
    "OpenAI's quota": (error(429, "You exceeded your current quota", code="insufficient_quota"),
                       r"no credit left \(429: You exceeded your current quota\)"),
    "402": (error(402, "Insufficient Balance"), r"no credit left \(402: Insufficient Balance"),
    "Anthropic's": (error(400, "Your credit balance is too low"), "no credit left"),
    "quota by its code": (error(200, "try again", code="insufficient_quota"), "no credit left"),
    "401": (error(401, "Incorrect API key provided: sk-a-sec***body."),
            r"refuses the key \(401: Incorrect API key provided: \*\*\*\); put the right"),
    "403": (error(403, "not your region"), r"refuses the key \(403: not your region\)"),
    "no model": (error(404, "The model `tiny` does not exist"), "404: The model `tiny` does not"),
    "404": (raw(b"<title>Not here</title>", 404), r"404: Not here\); is it the address of OpenAI"),
}  # fmt: skip


@pytest.mark.parametrize("path", [CHAT, PLAIN])
@pytest.mark.parametrize("kind", HOPELESS)
def test_what_no_request_can_change_is_said_at_once(
    kind: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "sk-a-secret-for-nobody")
    odd, says = HOPELESS[kind]
    with Server(lambda _, body: odd(body)) as on, pytest.raises(UserError, match=says) as told:
        ask(on.url(), path, "a", patience=60)
    assert len(on.received) == 1 and "secret" not in str(told.value)


@pytest.mark.parametrize("path", [CHAT, PLAIN])
@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("HTML", "Log in; is it the address of OpenAI's interface, which often ends in /v1"),
        ("JSON list", "is it the address"),
        ("no body", "is it the address"),
        ("400 of one", "400: Provider cannot; no request was answered so far"),
        ("500", "500: boom; run this again to continue"),
        ("429 as 200", "429: Provider returned error; slow down; run this again"),
        ("broken off", "breaks off its answer"),
    ],
)
def test_address_and_server_are_in_doubt_until_the_first_good_answer(
    kind: str, path: str, says: str
) -> None:
    odd, _ = ODD[kind]
    with Server(lambda _, body: odd(body)) as on, pytest.raises(UserError, match=says):
        ask(on.url(), path, *"abcdefghijklmnopqrstuvwxyz", concurrency=2)
    assert len(on.received) < 20


@pytest.mark.parametrize("prompts", ["ab", "ba"])
def test_one_good_answer_before_or_after_ends_the_doubt(prompts: str) -> None:
    odd, expected = ODD["HTML"]
    with Server(lambda _, body: odd(body) if prompt_of(body) == "b" else "A") as on:
        texts = ask(on.url(), PLAIN, *prompts, concurrency=1)
    assert texts == [{"a": "A", "b": expected}[prompt] for prompt in prompts]


@pytest.mark.parametrize(
    ("name", "message", "status"),
    [
        ("temperature", "Unsupported value: 'temperature' does not support 0", 400),
        ("temperature", "`temperature` must be strictly positive", 422),
        ("max_completion_tokens", "Unrecognized request argument: max_completion_tokens", 400),
        ("system", "System role not supported", 400),
        ("system", "Jinja Exception: System role not supported", 500),
        ("system", "Developer instruction is not enabled for this model", 400),
    ],
)
def test_what_a_server_does_not_take_is_left_out_from_then_on(
    name: str, message: str, status: int
) -> None:
    def refuses(_: str, body: dict[str, Any]) -> str | Reply:
        held = len(body["messages"]) > 1 if name == "system" else name in body
        return error(status, message)(body) if held else upper("", body)

    with Server(refuses) as on:
        endpoint = Endpoint(on.url(), "tiny", concurrency=1)
        calls = [lambda session: session.chat("Shout.", "a", 20)] * 3
        texts = [_short(answer) for _, answer in endpoint.run(calls)]
    assert texts == ["SHOUT.\n\nA" if name == "system" else "A"] * 3
    assert endpoint.without == {name} and len(on.received) == 4
    if name == "max_completion_tokens":
        assert on.received[-1]["max_tokens"] == 20


def test_without_a_limit_on_tokens_nothing_is_asked() -> None:
    def refuses(_: str, body: dict[str, Any]) -> Reply:
        name = next(name for name in body if name.startswith("max_"))
        return error(400, f"Unsupported parameter: {name}")(body)

    with Server(refuses) as on, pytest.raises(UserError, match="takes neither max_tokens nor"):
        ask(on.url(), PLAIN, "a")


def test_a_prompt_gets_the_room_that_the_context_has() -> None:
    says = {
        20: "maximum context length is 8 tokens. However, you requested 22 tokens",
        6: "maximum context length of 7 tokens and your request has 2 input tokens",
    }
    with Server(
        lambda _, body: (
            error(400, says[body["max_tokens"]])(body) if body["max_tokens"] in says else "a"
        )
    ) as on:
        [refused] = ask(on.url(), PLAIN, "a")
        del says[6]
        assert refused == (REFUSED, "the prompt leaves no room in the context")
        assert ask(on.url(), PLAIN, "a") == ["a"]


def test_a_model_that_reasons_gets_room_for_it() -> None:
    def reasons(_: str, body: dict[str, Any]) -> Reply:
        enough = body["max_completion_tokens"] > 1000
        odd = made("<think>?</think>ODD") if enough else ODD["think without end"][0]
        return odd(body)

    with Server(reasons) as on:
        endpoint = Endpoint(on.url(), "tiny", concurrency=1)
        calls = [lambda session: session.chat("Shout.", "a", 20)] * 2
        answers = [answer for _, answer in endpoint.run(calls)]
    assert [answer.text for answer in answers] == ["ODD", "ODD"]
    assert [answer.tokens for answer in answers] == [200, 100]  # the first was asked twice


def test_reasons_that_differ_in_numbers_alone_are_counted_as_one() -> None:
    reasons = ["400: 9000 tokens", "400: 9100 tokens", "boom"]
    assert by_reason(reasons) == {"400: 9000 tokens": 2, "boom": 1}


def test_what_is_shown_holds_no_key_and_no_half_character(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "sk-abcdefghijklmnop")
    told = shown("bad key sk-abc...mnop, x****y or\n sk-abcdefghijklmnop: \ud83d" + " x" * 999)
    assert told.startswith("bad key *** *** or *** ? x x") and len(told) == 300
    assert server_answer.parse(b'{"a\\ud83d": "\\ud83d\\ude00"}') == {"a?": "\U0001f600"}
