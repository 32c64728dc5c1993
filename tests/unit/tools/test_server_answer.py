"""Every odd answer that is known of real servers, in chat and in completions: what it means."""

import json
from typing import Any

import pytest

from tests.openai_server import USAGE, completion
from tools import server_answer
from tools.errors import UserError
from tools.server_answer import KEY, AskOtherwise, Busy, NoAnswer, by_reason, read_answer, shown

PLAIN = {"prompt": "a", "max_tokens": 20, "temperature": 0.1, "seed": 1}
CHAT = {
    "messages": [{"role": "system", "content": "b"}, {"role": "user", "content": "a"}],
    "max_completion_tokens": 20, "temperature": 0,
}  # fmt: skip
LONG = "This model's maximum context length is 8 tokens. However, you requested 9000 tokens"


def meaning(status: int, value: Any, request: dict[str, Any]) -> Any:
    """The text of an answer, or what it raises."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    try:
        return read_answer(status, body, request).text
    except (AskOtherwise, Busy, NoAnswer, UserError) as told:
        return told


@pytest.mark.parametrize("request_", [CHAT, PLAIN], ids=["chat", "plain"])
@pytest.mark.parametrize(
    ("text", "other", "expected"),
    [
        *(
            ("ODD", {"usage": usage}, "ODD")
            for usage in (None, {}, [], 7, {"total_tokens": None}, {"total_tokens": -1},
                          {"completion_tokens": "10"}, {"completion_tokens_details": None})
        ),
        ("ODD", {"error": None}, "ODD"),
        ("O\r\nDD", {}, "O\nDD"),
        ("\ufeffODD", {}, "ODD"),
        ("ODD\ud83d", {}, "ODD?"),  # half a character
        ("ODD<|im_end|>\n<|im_start|>user\nand", {}, "ODD"),
        ("ODD</s>", {}, "ODD"),
        ("O</s>DD", {}, "O</s>DD"),
        ("<think>\nIs it?\n</think>\n\nODD", {}, "ODD"),
        ("<Reasoning>a</Reasoning>\n<think>b</think>ODD", {}, "ODD"),
        ("Is it?\n</think>\n\nODD", {}, "ODD"),  # the template has written `<think>`
        ("x = '<think>'\n</think>", {}, "x = '<think>'\n</think>"),
    ],
)  # fmt: skip
def test_text_is_what_the_model_wrote(
    request_: dict[str, Any], text: str, other: dict[str, Any], expected: str
) -> None:
    assert meaning(200, completion(request_, text, **other), request_) == expected


def test_body_that_is_not_quite_utf8() -> None:
    body = json.dumps(completion(PLAIN, "ODDX")).encode()
    assert meaning(200, b"\xef\xbb\xbf" + body.replace(b"X", b"\xff"), PLAIN) == "ODD\ufffd"


def test_content_may_be_a_list_of_parts() -> None:
    parts = [{"type": "thinking", "thinking": "?"}, {"type": "text", "text": "O"},
             {"type": "text", "text": "DD"}]  # fmt: skip
    assert meaning(200, completion(CHAT, parts), CHAT) == "ODD"
    told = meaning(200, completion(CHAT, parts[:1], {"finish_reason": "length"}), CHAT)
    assert told.cut and told.reasons


@pytest.mark.parametrize(
    ("usage", "finish", "tokens", "written", "cut"),
    [
        (USAGE, "stop", 100, 10, False),
        (USAGE, "length", 100, 10, True),
        (USAGE, "max_tokens", 100, 10, True),
        (USAGE, None, 100, 10, False),
        ({"completion_tokens": 10}, "eos_token", None, 10, False),
    ],
)
def test_cost_and_end(usage: Any, finish: Any, tokens: Any, written: Any, cut: bool) -> None:
    value = completion(PLAIN, "a", {"finish_reason": finish}, usage=usage)
    answer = read_answer(200, json.dumps(value).encode(), PLAIN)
    assert (answer.tokens, answer.written, answer.cut) == (tokens, written, cut)


NO_TEXT: dict[str, tuple[Any, str]] = {
    "think without end": (completion(CHAT, "<think>Is it?", {"finish_reason": "length"}),
                          "reasoning alone: its limit of tokens ended it"),
    "reasoning in a field": (
        completion(CHAT, None, {"message": {"content": None, "reasoning_content": "Is it?"}}),
        "reasoning alone: no answer follows it"),
    "hidden reasoning": (
        completion(CHAT, "", {"finish_reason": "length"},
                   usage={"completion_tokens_details": {"reasoning_tokens": 20}}),
        "reasoning alone: its limit"),
    **{
        f"choices {choices}": (completion(PLAIN, None, choices=choices),
                               f'no text: {{"choices": {json.dumps(choices)}}}')
        for choices in (None, [], [None], "ab")
    },
    "text null": (completion(PLAIN, None), "no text: "),
    "message null": (completion(CHAT, None, {"message": None}), "no text: "),
    "HTML": (b"<html><head><title>Log in</title></head>please retry</html>",
             "no completion: Log in"),
    "no body": (b"", "no completion: nothing"),
    "cut JSON": (b'{"choices": [{"te', 'no completion: {"choices": [{"te'),
    "JSON list": ([1], "no completion: [1]"),
    "JSON null": (None, "no completion: null"),
    "deep JSON": (b"[" * 99_999, "no completion: [[["),
}  # fmt: skip
REFUSED: dict[str, tuple[int, Any, str]] = {
    "filter": (200, completion(CHAT, None, {"finish_reason": "content_filter", "message": None}),
               "finish_reason content_filter"),
    "Gemini's filter": (200, completion(CHAT, None, {"finish_reason": "SAFETY"}), "SAFETY"),
    "refusal": (200, completion(CHAT, None, {"message": {"content": None, "refusal": "not me"}}),
                "not me"),
    "context": (400, {"error": {"message": LONG}}, "400: This model's maximum"),
    "llama.cpp's": (400, {"error": {"message": "m", "code": "exceed_context_size_error"}}, "m"),
    "its 500": (500, {"error": {"message": "Context size exceeded"}}, "500: Context size"),
    "SGLang's": (400, {"object": "error", "message": "longer than the context length"}, "longer"),
    "as 200": (200, {"object": "error", "message": "the context length"}, "the context length"),
    "DashScope": (400, {"error": {"message": "bad", "code": "data_inspection_failed"}}, "400: bad"),
    "Azure": (400, {"error": {"message": "Filtered", "innererror": {
        "code": "ResponsibleAIPolicyViolation"}}}, "400: Filtered"),
    "moderation": (403, {"error": {"message": "moderation", "metadata": {}}}, "403: moderation"),
    "too large for its rate": (429, {"error": "Request too large: tokens per min"}, "429: Request"),
    "413": (413, b"<h1>Request Entity Too Large</h1>", "413: Request Entity"),
    "422": (422, {"detail": [{"loc": ["body", "prompt"], "msg": "too odd", "input": "billing"}]},
            "422: too odd"),
    "a text": (400, {"error": "bad character"}, "400: bad character"),
    "Google's": (200, [{"error": {"code": 400, "message": "INVALID"}}], "400: INVALID"),
    "no words": (400, b"", "400: nothing"),
    "firewall": (403, b"<title>You are blocked</title>", "403: You are blocked"),
    "error true": (200, {"error": True, "message": "cannot"}, "cannot"),
    "its own": (200, {"code": 20012, "msg": "cannot"}, "cannot"),
    "unknown words": (200, {"error": {"kind": "odd"}}, '{"kind": "odd"}'),
}  # fmt: skip


@pytest.mark.parametrize("kind", [*NO_TEXT, *REFUSED])
def test_one_request_without_text(kind: str) -> None:
    status, value, reason = (200, *NO_TEXT[kind]) if kind in NO_TEXT else REFUSED[kind]
    for request in (PLAIN, CHAT):
        told = meaning(status, value, request)
        assert isinstance(told, NoAnswer) and reason in told.reason
        assert told.status == ("unparseable" if kind in NO_TEXT else "refused")


@pytest.mark.parametrize(
    ("status", "value", "reason"),
    [
        (200, {"error": {"message": "Provider error", "code": 429, "metadata": {"raw": "slow"}}},
         "429: Provider error; slow"),
        (200, {"error": {"message": "overloaded", "code": "502"}}, "502: overloaded"),
        (200, completion(PLAIN, "", choices=[{"error": {"code": 502, "message": "lost"}}]),
         "502: lost"),
        (200, {"error": "please try again"}, "please try again"),
        (500, {"error": {"message": "boom"}}, "500: boom"),
        (529, b"<title>Overloaded</title>", "529: Overloaded"),
        (429, {"error": {"message": "Rate limit: insufficient balance of tokens"}}, "429: Rate"),
    ],
)  # fmt: skip
def test_a_busy_server_may_be_asked_again(status: int, value: Any, reason: str) -> None:
    told = meaning(status, value, PLAIN)
    assert isinstance(told, Busy) and reason in told.reason


@pytest.mark.parametrize(
    ("status", "value", "says"),
    [
        (429, {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}},
         "no credit left (429: You exceeded your quota; insufficient_quota)"),
        (402, {"error": {"message": "Insufficient Balance"}}, "no credit left (402: Insufficient"),
        (400, {"error": {"message": "Your credit balance is too low"}}, "no credit left"),
        (401, {"error": {"message": "Incorrect key: sk-a-sec***body."}},
         "refuses the key (401: Incorrect key: ***); put the right"),
        (403, {"error": {"message": "not your region"}}, "refuses the key (403: not your region)"),
        (404, {"error": {"message": "The model `x` is not there"}}, "404: The model `x` is"),
        (404, b"<title>Not here</title>", "404: Not here); is it the address of OpenAI"),
    ],
)  # fmt: skip
def test_what_no_request_can_change(
    status: int, value: Any, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "sk-a-secret-for-nobody")
    told = meaning(status, value, CHAT)
    assert isinstance(told, UserError) and says in str(told) and "secret" not in str(told)


@pytest.mark.parametrize(
    ("message", "status", "change"),
    [
        ("Unsupported value: 'temperature' does not support 0", 400, "temperature"),
        ("`temperature` must be strictly positive", 422, "temperature"),
        ("Unrecognized request argument: max_completion_tokens", 400, "max_completion_tokens"),
        ("System role not supported", 400, "system"),
        ("Jinja Exception: System role not supported", 500, "system"),
        ("Developer instruction is not enabled for this model", 400, "system"),
        ("maximum context length is 8 tokens. However, you requested 22 tokens", 400, 6),
        ("maximum context length of 7 tokens and your request has 2 input tokens", 400, 5),
    ],
)
def test_what_a_server_takes_instead(message: str, status: int, change: str | int) -> None:
    told = meaning(status, {"error": {"message": message}}, CHAT)
    assert isinstance(told, AskOtherwise) and change in (told.without, told.room)


def test_reasons_that_differ_in_numbers_alone_are_counted_as_one() -> None:
    reasons = ["400: 9000 tokens", "400: 9100 tokens", "boom"]
    assert by_reason(reasons) == {"400: 9000 tokens": 2, "boom": 1}


def test_what_is_shown_holds_no_key_and_no_half_character(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "sk-abcdefghijklmnop")
    told = shown("bad key sk-abc...mnop, x****y or\n sk-abcdefghijklmnop: \ud83d" + " x" * 999)
    assert told.startswith("bad key *** *** or *** ? x x") and len(told) == 300
    assert server_answer.parse(b'{"a\\ud83d": "\\ud83d\\ude00"}') == {"a?": "\U0001f600"}
