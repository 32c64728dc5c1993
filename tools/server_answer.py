"""Reads what a server with OpenAI's interface answers, on good days and on bad ones.

`read_answer` reads chat and plain completions alike. It returns an `Answer`, or raises what the
answer means for the request: `NoAnswer`, `Busy`, `Unsupported`, `TooLong` or `Hopeless`. Servers
disagree on where an error stands and how it is worded, so all of its words and codes are read.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

KEY = "OPENAI_API_KEY"

ADDRESS = "; is it the address of OpenAI's interface, which often ends in /v1?"
NO_REQUEST = "; no request was answered so far"


@dataclass(frozen=True)
class Answer:
    """A text, why it ended, and its cost in tokens: in all, and for the text (None: not told)."""

    text: str
    finish: str
    tokens: int | None
    written: int | None
    reasons: bool  # the model reasons before it answers; the text is without that

    @property
    def cut(self) -> bool:
        """Whether the limit on its tokens ended it."""
        return "length" in self.finish.casefold() or "max" in self.finish.casefold()


class NoAnswer(Exception):
    """One request has no text, for a reason of its own: other requests may have one.

    `doubt` is what to ask if no request has been answered so far.
    """

    def __init__(
        self,
        reason: str,
        *,
        status: Literal["refused", "unparseable"] = "unparseable",
        doubt: str = "",
        tokens: int = 0,
        reasoned_on: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason, self.status, self.doubt = reason, status, doubt
        self.tokens, self.reasoned_on = tokens, reasoned_on


class Busy(Exception):
    """A later try may be answered, `after` so many seconds if the server says so."""

    def __init__(self, reason: str, *, said: bool = True) -> None:
        super().__init__(reason)
        self.said = said  # by the server, in its own words
        self.after: float | None = None


class Unsupported(Exception):
    """The server does not take the part `name` of a request."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class TooLong(Exception):
    """The context has `room` for fewer new tokens than were asked for."""

    def __init__(self, room: int) -> None:
        super().__init__(room)
        self.room = room


class Hopeless(Exception):
    """No request will be answered: the money, the key, the model or the address is missing."""


def read_answer(status: int, body: bytes, request: dict[str, Any]) -> Answer:
    """Return the answer to a request from an HTTP status and a body."""
    value = parse(body)
    check(status, value, body, request)
    if not isinstance(value, dict) or "choices" not in value:
        raise NoAnswer(f"no completion: {shown(_page(body)) or 'nothing'}", doubt=ADDRESS)
    return _read_completion(value)


def parse(body: bytes) -> Any:
    """Return the JSON value of a body, without half characters; None if it is no JSON."""
    try:
        value = json.loads(body.decode("utf-8-sig", "replace"))
        return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def shown(text: str) -> str:
    """Return what a server said: on one line, not too long, and without the key."""
    key = os.environ.get(KEY, "")
    words = text.encode("utf-8", "replace").decode()[:2000].split()
    # servers repeat the beginning and the end of a key
    secret = (key[:6], key[-4:]) if len(key) > 10 else ()
    masked = ["***" if "***" in w or any(part in w for part in secret) else w for w in words]
    return " ".join(masked)[:300]


def by_reason(reasons: list[str]) -> dict[str, int]:
    """Count reasons; those that differ in words with digits alone are one."""
    first: dict[str, str] = {}
    counts: dict[str, int] = {}
    for reason in reasons:
        name = first.setdefault(re.sub(r"\S*\d\S*", "#", reason), reason)
        counts[name] = counts.get(name, 0) + 1
    return counts


# errors

PROSE = (
    "message", "msg", "detail", "error", "errors", "error_msg", "error_description", "description",
    "title", "metadata", "raw",
)  # fmt: skip
CODES = ("code", "type", "param", "status", "reason", "reasons", "innererror", "loc")

CONTEXT = r"context[ _]?(length|size|window)|(?<!took )(?<!taking )too (long|large)|input length"
FILTER = r"content[ _.]?(filter|policy|management)|data_inspection|moderation|flagged|responsibleai"
MONEY = (
    r"insufficient.{0,10}(quota|balance|credit|fund)|billing|credit balance|arrear|payment required"
    r"|\b(no|of|more|enough) credit|quota.{0,20}(exceed|exhaust)|exceeded.{0,20}quota"
)
LIMIT = r"rate.?limit|too many requests|try again|retry|overload|temporar|unavailable|per minute"
REFUSES = r"\b(un|not|only|unknown|extra|invalid|must|instead)|n't\b|deprecat|disabled"
SYSTEM = (
    r"system.{0,20}(role|message|prompt|instruction)|role.{0,40}system|developer instruction"
    r"|roles must alternate"
)


def check(status: int, value: Any, body: bytes, request: dict[str, Any]) -> None:
    """Raise what an error means; it may stand in a body under status 200."""
    error = _find_error(status, value, body)
    if error is None:
        return
    status = _inner_status(error) if status < 300 else status
    told = " ".join(_said(error, (*PROSE, *CODES)))[:2000].casefold()
    prose = "; ".join(dict.fromkeys(_said(error, PROSE)))
    words = shown(prose or told or (json.dumps(error) if error else _phrase(status)))
    reason = f"{status}: {words}" if status != 200 else words

    def tells(pattern: str) -> bool:
        return re.search(pattern, told) is not None

    if status not in (401, 402, 404) and tells(f"{CONTEXT}|{FILTER}"):
        if room := _room(told, request):
            raise TooLong(room)
        raise NoAnswer(reason, status="refused")
    unpaid = status < 500 and tells(MONEY) and not tells(LIMIT)
    if status == 402 or "insufficient_quota" in told or unpaid:
        raise Hopeless(f"the account has no credit left ({reason}); nothing more was asked")
    # a firewall's page is about this request, and what it holds
    if status in (401, 407) or (status == 403 and value is not None):
        raise Hopeless(f"refuses the key ({reason}); put the right one in {KEY}")
    if status in (404, 405, 410) or 300 <= status < 400:
        doubt = "" if "model" in told else ADDRESS
        raise Hopeless(f"gives an answer that cannot be used ({reason}){doubt}")
    if status != 429 and (name := _unsupported(told, request)):
        raise Unsupported(name)
    if status in (408, 409, 425, 429) or status >= 500 or (status == 200 and tells(LIMIT)):
        raise Busy(reason)
    # 413 is about this request alone; another status may be about all
    raise NoAnswer(reason, status="refused", doubt="" if status == 413 else NO_REQUEST)


def _find_error(status: int, value: Any, body: bytes) -> Any:
    """Return the part of an answer that tells an error, None if there is none."""
    if status >= 300:
        return _page(body) if value is None else value
    if isinstance(value, list) and value:  # Google's
        value = value[0]
    if not isinstance(value, dict):
        return None
    choices = value.get("choices")
    for holder in (value, *(choices if isinstance(choices, list) else ())):
        if isinstance(holder, dict) and (found := holder.get("error") or holder.get("errors")):
            return found if isinstance(found, str | list | dict) else holder
    told = (
        value.get("object") == "error" or {"detail", "message", "msg", "error_msg"} & value.keys()
    )
    return value if told and "choices" not in value else None


def _inner_status(error: Any) -> int:
    """Return the HTTP status that an error under status 200 names, 200 if it names none."""
    values = error.values() if isinstance(error, dict) else ()
    return next((int(str(v)) for v in values if re.fullmatch("[345][0-9]{2}", str(v))), 200)


def _said(value: Any, names: tuple[str, ...], depth: int = 8) -> Iterator[str]:
    """Yield the texts of an error, from these keys, in this order."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        yield str(value)
    elif isinstance(value, list | dict) and depth:
        found = value if isinstance(value, list) else [value[n] for n in names if n in value]
        for item in found:
            yield from _said(item, names, depth - 1)


def _page(body: bytes) -> str:
    """Return a body as text: the title of an HTML page, or all of it without its tags."""
    text = body[:20_000].decode("utf-8-sig", "replace")
    title = re.search(r"<title[^>]*>([^<]+)", text, re.IGNORECASE)
    return title[1] if title else re.sub(r"<[^>]*>", " ", text).strip()


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in list(HTTPStatus) else "no words"


def _room(told: str, request: dict[str, Any]) -> int | None:
    """Return for how many new tokens the context has room, if the error tells it."""
    limit = re.search(r"maximum context length (?:is|of) (\d+)", told)
    prompt = re.search(r"(\d+) (?:input tokens|tokens from the input|in (?:the|your) )", told)
    all_ = re.search(r"requested (?:a total of )?(\d+)", told)
    asked = request.get("max_tokens") or request.get("max_completion_tokens")
    if not (limit and asked and (prompt or all_)):
        return None
    used = int(prompt[1]) if prompt else int(all_[1]) - asked if all_ else 0
    room = int(limit[1]) - used
    return room if 0 < room < asked else None


def _unsupported(told: str, request: dict[str, Any]) -> str | None:
    """Return the part of a request that an error refuses, None if it is another error."""
    if len(request.get("messages", ())) > 1 and re.search(SYSTEM, told):
        return "system"
    optional = ("temperature", "seed", "stop", "max_completion_tokens", "max_tokens")
    named = (name for name in optional if name in request and re.search(rf"\b{name}\b", told))
    return next(named, None) if re.search(REFUSES, told) else None


# completions

REASONING = ("reasoning_content", "reasoning", "reasoning_details", "thinking", "thinking_blocks")
OPENS = re.compile(r"\s*<(think|thinking|reasoning)>", re.IGNORECASE)
CLOSES = re.compile(r"^</(think|thinking|reasoning)>", re.IGNORECASE | re.MULTILINE)
# names of EOS: these stand in no program, and `</s>` may
ENDS = re.compile(
    r"(?:<\|(?:im_end|eot_id|eom_id|end_of_text|endoftext|end|return)\|>|<end_of_turn>"
    r"|<\uff5cend▁of▁sentence\uff5c>).*|(?:</s>|<eos>)\s*\Z",
    re.DOTALL,
)
BOOKKEEPING = {"id", "object", "created", "model", "usage", "system_fingerprint"}
REFUSALS = {"content_filter", "safety", "prohibited_content", "recitation", "sensitive", "refusal"}


def _read_completion(value: dict[str, Any]) -> Answer:
    choices = value["choices"]
    choice = choices[0] if isinstance(choices, list) and choices else {}
    choice = choice if isinstance(choice, dict) else {}
    message = choice["message"] if isinstance(choice.get("message"), dict) else {}
    content = choice.get("text") if isinstance(choice.get("text"), str) else message.get("content")
    raw, refusal, reasons = _parts(content)
    refusal = _text(message.get("refusal")) or refusal
    finish = _text(choice.get("finish_reason"))
    tokens, written, reasoned = _usage(value.get("usage"))
    text, tagged = without_reasoning(raw or "")
    reasons = reasons or tagged or reasoned or any(message.get(name) for name in REASONING)
    answer = Answer(ENDS.sub("", text), finish, tokens, written, reasons)
    if refusal or finish.casefold() in REFUSALS:
        reason = shown(refusal) or f"finish_reason {finish}"
        raise NoAnswer(reason, status="refused", tokens=tokens or 0)
    if raw is None or (reasons and not answer.text.strip()):
        told = {name: part for name, part in value.items() if name not in BOOKKEEPING}
        reason = f"no text: {shown(json.dumps(told))[:150]}"
        if reasons:
            ended = "its limit of tokens ended it" if answer.cut else "no answer follows it"
            reason = f"reasoning alone: {ended}"
        raise NoAnswer(reason, tokens=tokens or 0, reasoned_on=reasons and answer.cut)
    return answer


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _parts(content: Any) -> tuple[str | None, str, bool]:
    """Return text, refusal, and whether there is reasoning; content may be a list of parts."""
    if isinstance(content, str):
        return content, "", False
    parts = [
        part if isinstance(part, dict) else {"type": "text", "text": part}
        for part in (content if isinstance(content, list) else [content])
    ]
    kinds = [_text(part.get("type")) for part in parts]
    texts = [
        part["text"]
        for part, kind in zip(parts, kinds, strict=True)
        if isinstance(part.get("text"), str) and kind not in ("thinking", "reasoning")
    ]
    refusal = next((_text(part.get("refusal")) for part in parts if part.get("refusal")), "")
    return ("".join(texts) if texts else None), refusal, bool({"thinking", "reasoning"} & {*kinds})


def _usage(usage: Any) -> tuple[int | None, int | None, bool]:
    """Return tokens in all, tokens of the text, and whether some were for reasoning."""
    if not isinstance(usage, dict):
        return None, None, False

    def count(found: Any, name: str) -> int | None:
        number = found.get(name) if isinstance(found, dict) else None
        return number if type(number) is int and number >= 0 else None

    written, read = count(usage, "completion_tokens"), count(usage, "prompt_tokens")
    total = count(usage, "total_tokens")
    if total is None and written is not None and read is not None:
        total = written + read
    reasoned = count(usage.get("completion_tokens_details"), "reasoning_tokens")
    return total, written, bool(reasoned)


def without_reasoning(text: str) -> tuple[str, bool]:
    """Return a text without BOM, CRLF and the reasoning before it, and whether it had any."""
    rest = text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    while found := OPENS.match(rest):
        _, _, rest = rest[found.end() :].partition(f"</{found[1]}>")  # without an end it is all
    closed = CLOSES.search(rest)
    if closed and not OPENS.search(rest, 0, closed.start()):  # the template has written `<think>`
        rest = rest[closed.end() :]
    return (rest.lstrip(), True) if rest != text else (text, False)
