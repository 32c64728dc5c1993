"""Reads what a server with OpenAI's interface answers, on good days and on bad ones.

`read_answer` reads chat and plain completions alike. It returns an `Answer`, or raises what the
answer means: `NoAnswer`, `Busy` or `AskOtherwise` for the request, UserError for all requests.
Servers disagree on where an error stands and how it is worded, so all of its words and codes count.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tools.errors import UserError

KEY = "OPENAI_API_KEY"
CHARACTERS_PER_TOKEN = 3  # for estimates, which are then rather too high

ADDRESS = "; is it the address of OpenAI's interface, which often ends in /v1?"


@dataclass
class Answer:
    """A text, and its cost in tokens: in all, and for the text (None: not told).

    `cut` says that the limit on its tokens ended it, `reasons` that the model reasons before it
    answers; the text is without that.
    """

    text: str
    cut: bool
    tokens: int | None
    written: int | None
    reasons: bool

    def cost(self, *asked: str) -> int:
        """Its tokens in all; estimated from the texts if the server does not tell."""
        length = len(self.text) + sum(map(len, asked))
        return -(-length // CHARACTERS_PER_TOKEN) if self.tokens is None else self.tokens


@dataclass(eq=False)
class NoAnswer(Exception):
    """One request has no text, for a reason of its own: other requests may have one.

    `doubtful` says that the reason may be the same for all, if none has been answered so far. `cut`
    and `reasons` are those of an `Answer`.
    """

    reason: str
    status: Literal["refused", "unparseable"] = "unparseable"
    doubtful: bool = False
    tokens: int = 0
    cut: bool = False
    reasons: bool = False


@dataclass(eq=False)
class Busy(Exception):
    """A later try may be answered, `after` so many seconds if the server says so."""

    reason: str
    said: bool = True  # by the server, in its own words
    after: float | None = None


@dataclass(eq=False)
class AskOtherwise(Exception):
    """The server takes the request without the part `without`, or with `room` for new tokens."""

    reason: str
    without: str = ""
    room: int = 0


def read_answer(status: int, body: bytes, request: dict[str, Any]) -> Answer:
    """Return the answer to a request from an HTTP status and a body."""
    value = parse(body)
    if isinstance(value, list):  # Google's errors
        value = _first(value)
    error = _find_error(status, value)
    if error is None:
        return _read_completion(value)
    raise _meaning(status, error, page(body), request)


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

TOLD = (
    "message", "msg", "detail", "error", "errors", "error_msg", "error_description", "description",
    "title", "metadata", "raw", "code", "type", "param", "reason", "reasons", "innererror", "loc",
)  # fmt: skip

CONTEXT = r"context[ _]?(length|size|window)|(?<!took )(?<!taking )too (long|large)|input length"
FILTER = r"content[ _.]?(filter|policy|management)|data_inspection|moderation|flagged|responsibleai"
MONEY = (
    r"insufficient.{0,10}(quota|balance|credit|fund)|billing|credit balance|payment required"
    r"|\b(no|of|more|enough) credit|quota.{0,20}(exceed|exhaust)|exceeded.{0,20}quota"
)
LIMIT = r"rate.?limit|too many requests|try again|retry|overload|temporar|unavailable|per minute"
REFUSES = r"\b(un|not|only|unknown|extra|invalid|must|instead)|n't\b|deprecat|disabled"
SYSTEM = (
    r"system.{0,20}(role|message|prompt|instruction)|role.{0,40}system|developer instruction"
    r"|roles must alternate"
)


def _meaning(status: int, error: Any, body: str, request: dict[str, Any]) -> Exception:
    """Return the exception for an error (see `_find_error`), which may stand under status 200."""
    status = _inner_status(error) if status < 300 else status
    said = "; ".join(dict.fromkeys(word for word in _said(error) if word != str(status)))[:2000]
    words = shown(said or body) or "nothing"
    reason = f"no completion: {words}" if status == 200 else f"{status}: {words}"
    told = said.casefold()
    if status not in (401, 402, 404) and re.search(f"{CONTEXT}|{FILTER}", told):
        room = _room(told, request)
        if room:
            return AskOtherwise(reason, room=room)
        return NoAnswer(reason, status="refused")
    limited = re.search(LIMIT, told)
    unpaid = status < 500 and re.search(MONEY, told) and not limited
    if status == 402 or "insufficient_quota" in told or unpaid:
        return UserError(f"the account has no credit left ({reason}); nothing more was asked")
    if status == 401 or (status == 403 and error):  # a firewall's page is about this request
        return UserError(f"refuses the key ({reason}); put the right one in {KEY}")
    if status in (404, 405, 410) or 300 <= status < 400:
        doubt = "" if "model" in told else ADDRESS
        return UserError(f"gives an answer that cannot be used ({reason}){doubt}")
    if status != 429 and (name := _unsupported(told, request)):
        return AskOtherwise(reason, without=name)
    if status in (408, 409, 425, 429) or status >= 500 or (status == 200 and limited):
        return Busy(reason)
    # 413 is about this request alone; another status may be about all
    kind: Literal["refused", "unparseable"] = "refused" if error or status != 200 else "unparseable"
    return NoAnswer(reason, status=kind, doubtful=status != 413)


def _find_error(status: int, value: Any) -> Any:
    """Return the part of an answer that tells an error, {} for a page, None if there is none."""
    if not isinstance(value, dict):
        return {}
    for holder in (value, _first(value.get("choices"))):
        if found := holder.get("error") or holder.get("errors"):
            return found if isinstance(found, str | list | dict) else holder
    return value if status >= 300 or "choices" not in value else None


def _first(items: Any) -> dict[str, Any]:
    """Return the first object of a list, an empty one if there is none."""
    first = items[0] if isinstance(items, list) and items else None
    return first if isinstance(first, dict) else {}


def _inner_status(error: Any) -> int:
    """Return the HTTP status that an error under status 200 names, 200 if it names none."""
    values = error.values() if isinstance(error, dict) else ()
    return next((int(str(v)) for v in values if re.fullmatch("[345][0-9]{2}", str(v))), 200)


def _said(value: Any, depth: int = 8) -> Iterator[str]:
    """Yield the words and codes of an error, wherever they stand."""
    if isinstance(value, dict):
        value = [value[name] for name in TOLD if name in value]
    if isinstance(value, str) or type(value) is int:
        yield str(value)
    elif isinstance(value, list) and depth:
        for item in value:
            yield from _said(item, depth - 1)


def page(body: bytes) -> str:
    """Return a body as text: the title of an HTML page, or all of it without its tags."""
    text = body[:20_000].decode("utf-8-sig", "replace")
    title = re.search(r"<title[^>]*>([^<]+)", text, re.IGNORECASE)
    return title[1] if title else re.sub(r"<[^>]*>", " ", text).strip()


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
    choice = _first(value["choices"])
    message = _first([choice.get("message")])
    raw = message.get("content") if choice.get("text") is None else choice["text"]
    reasons = any(message.get(name) for name in REASONING)
    if isinstance(raw, list):  # of parts
        parts = [_first([part]) for part in raw]
        reasons = reasons or any(part.get("type") in REASONING for part in parts)
        raw = "".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")
    usage = _first([value.get("usage")])
    written, total = _count(usage, "completion_tokens"), _count(usage, "total_tokens")
    details = _first([usage.get("completion_tokens_details")])
    text, tagged = without_reasoning(raw if isinstance(raw, str) else "")
    text = ENDS.sub("", text)
    reasons = reasons or tagged or bool(_count(details, "reasoning_tokens"))
    finish = str(choice.get("finish_reason"))
    cut = "length" in finish.casefold() or "max" in finish.casefold()
    if (refusal := message.get("refusal")) or finish.casefold() in REFUSALS:
        reason = shown(str(refusal or f"finish_reason {finish}"))
        raise NoAnswer(reason, status="refused", tokens=total or 0)
    if reasons and not text.strip():
        ended = "its limit of tokens ended it" if cut else "no answer follows it"
        raise NoAnswer(f"reasoning alone: {ended}", tokens=total or 0, cut=cut, reasons=True)
    if not isinstance(raw, str):
        told = {name: part for name, part in value.items() if name not in BOOKKEEPING}
        raise NoAnswer(f"no text: {shown(json.dumps(told))[:150]}", tokens=total or 0)
    return Answer(text, cut, total, written, reasons)


def _count(usage: dict[str, Any], name: str) -> int | None:
    number = usage.get(name)
    return number if type(number) is int and number >= 0 else None


def without_reasoning(text: str) -> tuple[str, bool]:
    """Return a text without BOM, CRLF and the reasoning before it, and whether it had any."""
    rest = text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    while found := OPENS.match(rest):
        _, _, rest = rest[found.end() :].partition(f"</{found[1]}>")  # without an end it is all
    closed = CLOSES.search(rest)
    if closed and not OPENS.search(rest, 0, closed.start()):  # the template has written `<think>`
        rest = rest[closed.end() :]
    return (rest.lstrip(), True) if rest != text else (text, False)
