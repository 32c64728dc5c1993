"""Talks to any server with OpenAI's interface: many requests at once, with retries.

One odd answer costs its own request alone (`NoAnswer`). A busy server is asked again with growing
pauses, and Retry-After is obeyed. What a server does not take, such as `temperature`, is left out
from then on. The key is read from OPENAI_API_KEY, sent to the server and written nowhere.
"""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx

from tools.errors import UserError
from tools.server_answer import (
    ADDRESS,
    KEY,
    Answer,
    AskOtherwise,
    Busy,
    NoAnswer,
    page,
    parse,
    read_answer,
    shown,
)

CONNECT_SECONDS = 10.0  # then nobody is at the address
LONGEST_PAUSE = 8.0  # seconds between tries
DOUBTS = 8  # answers that cannot be used, before the first that can
MOST_FORMS = 8  # of a request, each without something that the server does not take
REASONING_TOKENS = 4096  # more than were asked for, for a model that reasons

type Call[T] = Callable[["Session"], Awaitable[T]]


@dataclass
class Endpoint:
    """A server and one model on it; `concurrency` requests are under way at once.

    `patience` is for how many seconds a server may be busy or away, so that it can restart;
    `timeout` is for one answer. A server that was not `there` before is not waited for. `without`
    names what the server turned out not to take.
    """

    base_url: str
    model: str
    concurrency: int = 16
    patience: float = 300.0
    timeout: float = 600.0
    there: bool = False
    proved: bool = False  # an answer could be used, so the address is right
    reasons: bool = False  # the model reasons, and needs room for it
    without: set[str] = field(default_factory=set)

    def completions(
        self, requests: Sequence[dict[str, Any]]
    ) -> Iterator[tuple[int, Answer | NoAnswer]]:
        """Yield (index, answer) for each request, as they are answered.

        A request holds the arguments of /v1/completions, without the model. Raises UserError as
        `run` does.
        """
        return self.run([partial(Session.complete, arguments=each) for each in requests])

    def run[T](self, calls: Sequence[Call[T]]) -> Iterator[tuple[int, T | NoAnswer]]:
        """Yield (index, answer) in the order of arrival; `concurrency` calls are in flight.

        A call may make several requests. Raises UserError for what makes every request fail: an
        address that is none, a missing credit, key or model, a server that stays away.
        """
        if calls and not self.there:
            self.knock()
        doubts = 0
        with asyncio.Runner() as runner:
            answers: asyncio.Queue[tuple[int, T | Exception]] = asyncio.Queue()
            work = runner.get_loop().create_task(self._answer_all(calls, answers))
            try:
                for _ in calls:
                    index, answer = runner.run(answers.get())
                    if isinstance(answer, NoAnswer):
                        doubts += answer.doubtful and not self.proved
                        if doubts == DOUBTS:
                            told = f"{answer.reason}; no request was answered so far"
                            raise UserError(f"{self.base_url}: {told}{ADDRESS}")
                    elif isinstance(answer, Exception):
                        raise answer
                    else:
                        self.proved = True
                    yield index, answer
            finally:
                work.cancel()

    def knock(self) -> httpx.Response:
        """Return the answer to a question for models. Raises UserError if there is no server."""
        try:
            with httpx.Client(**_settings(self.base_url, self.timeout)) as client:
                response = client.get("models")  # not every server lists its models
        except httpx.HTTPError as error:
            raise UserError(_away(self.base_url, _lost(error))) from None
        self.there = True
        return response

    async def _answer_all[T](
        self, calls: Sequence[Call[T]], answers: "asyncio.Queue[tuple[int, T | Exception]]"
    ) -> None:
        waiting = iter(enumerate(calls))

        async def work(session: "Session") -> None:
            for index, call in waiting:
                try:
                    await answers.put((index, await call(session)))
                except Exception as error:
                    await answers.put((index, error))

        async with httpx.AsyncClient(**_settings(self.base_url, self.timeout)) as client:
            session = Session(self, client)
            await asyncio.gather(*(work(session) for _ in range(self.concurrency)))


class Session:
    """The requests of one run. Each raises NoAnswer if it gets no text, and UserError as `run`."""

    def __init__(self, endpoint: Endpoint, client: httpx.AsyncClient) -> None:
        self.endpoint, self.client = endpoint, client
        self._line = asyncio.Lock()
        self._sound: tuple[str, dict[str, Any]] | None = None  # a request that was answered

    async def complete(self, arguments: dict[str, Any]) -> Answer:
        """Continue a prompt by the arguments of /v1/completions."""
        return await self._ask("completions", arguments)

    async def chat(
        self, system: str, user: str, tokens: int, *, temperature: float = 0, seed: int = 0
    ) -> Answer:
        """Answer a message; a model that reasons has more room than `tokens`."""
        spent = 0
        while True:
            room = REASONING_TOKENS if self.endpoint.reasons else 0
            request = {
                "messages": [
                    {"role": "system", "content": system},
                    {"role": "user", "content": user},
                ],
                "temperature": temperature,
                **({"seed": seed} if temperature else {}),
                "max_completion_tokens": tokens + room,
            }
            answer: Answer | NoAnswer
            try:
                answer = await self._ask("chat/completions", request)
            except NoAnswer as none:
                answer = none
            if room or not (answer.cut and answer.reasons):
                break
            self.endpoint.reasons = True
            spent += answer.tokens or 0
        if answer.tokens is not None:
            answer.tokens += spent
        if isinstance(answer, NoAnswer):
            raise answer
        return answer

    async def _ask(self, path: str, request: dict[str, Any]) -> Answer:
        """Ask, and ask again without what the server does not take."""
        for _ in range(MOST_FORMS):
            body = {"model": self.endpoint.model, **_adapted(request, self.endpoint.without)}
            try:
                return await self._patiently(path, body)
            except AskOtherwise as other:
                reason = other.reason
                if other.room:
                    name = "max_tokens" if "max_tokens" in request else "max_completion_tokens"
                    request = request | {name: other.room}
                else:
                    self.endpoint.without.add(other.without)
        raise NoAnswer(reason, status="refused", doubtful=True)

    async def _patiently(self, path: str, body: dict[str, Any]) -> Answer:
        """Ask; requests that find the server busy stand in line, and the first tries again."""
        try:
            return await self._once(path, body)
        except Busy as busy:
            async with self._line:
                return await self._again(path, body, busy)

    async def _again(self, path: str, body: dict[str, Any], busy: Busy) -> Answer:
        patience, start, pause = self.endpoint.patience, time.monotonic(), 0.5
        while True:
            waited = time.monotonic() - start
            if waited >= patience / 5 and await self._answers_others():
                raise NoAnswer(f"{busy}, for {waited:.0f} s") from None
            if waited >= patience:
                raise UserError(_away(self.endpoint.base_url, busy)) from None
            await asyncio.sleep(min(busy.after or pause, patience / 5, patience - waited))
            pause = min(2 * pause, LONGEST_PAUSE)
            try:
                return await self._once(path, body)
            except Busy as newer:
                # its own words say more than a connection that is lost after them
                busy = newer if newer.said or not busy.said else busy

    async def _answers_others(self) -> bool:
        """Whether the server still answers a request that it answered before."""
        try:
            return bool(self._sound and await self._once(*self._sound))
        except (Busy, NoAnswer, AskOtherwise):
            return False

    async def _once(self, path: str, body: dict[str, Any]) -> Answer:
        try:
            response = await self.client.post(path, content=json.dumps(body).encode())
        except httpx.HTTPError as error:
            raise _lost(error) from None
        try:
            answer = read_answer(response.status_code, response.content, body)
        except Busy as busy:
            busy.after = _seconds(response.headers.get("retry-after", ""))
            raise
        except UserError as error:
            raise UserError(f"{self.endpoint.base_url}: {error}") from None
        self._sound = path, body
        return answer


def connect(
    base_url: str, model: str | None = None, *, concurrency: int = 16
) -> tuple[Endpoint, dict[str, Any]]:
    """Return the endpoint of a model, and what the server says about that model.

    Without a name it takes the server's only model. What is not said of an adapter, such as the
    longest prompt, is that of its base. Raises UserError if the server cannot be
    reached, or if it has no such model.
    """
    endpoint = Endpoint(base_url, model or "", concurrency)
    served = {str(item["id"]): item for item in _listed(endpoint)}
    names = ", ".join(sorted(served)) or "none"
    if model is None and len(served) != 1:
        raise UserError(f"{base_url}: name one of its models by --served-model: {names}")
    endpoint.model = model or next(iter(served))
    if served and endpoint.model not in served:
        raise UserError(f"{base_url}: serves no model {endpoint.model}; it has {names}")
    info = served.get(endpoint.model, {})
    base = served.get(str(info.get("parent")), {})  # of an adapter, on vLLM
    return endpoint, base | {name: value for name, value in info.items() if value is not None}


def _listed(endpoint: Endpoint) -> list[dict[str, Any]]:
    """Return the models of a server. Raises UserError if it has no list, and none was named."""
    response = endpoint.knock()
    value = parse(response.content)
    listed = value.get("data") if isinstance(value, dict) else value
    if isinstance(listed, list) and all(isinstance(item, dict) and "id" in item for item in listed):
        return listed
    if endpoint.model:  # not every server lists its models
        return []
    told = f"{response.status_code}: {shown(page(response.content)) or 'nothing'}"
    raise UserError(
        f"{endpoint.base_url}: gives no list of models ({told}); name one by "
        f"--served-model{ADDRESS}"
    )


def _settings(base_url: str, timeout: float) -> dict[str, Any]:
    """Return the settings of a client. Raises UserError for a malformed address or key."""
    key = os.environ.get(KEY, "").strip() or "none"
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"{KEY}: is not a key; put the right one there")
    try:
        url = httpx.URL(base_url)
        usable = url.scheme in ("http", "https") and url.host and url.port != 0
    except httpx.InvalidURL:
        usable = False
    if not usable:
        raise UserError(f"{base_url}: is not an address; write it as http://localhost:8000/v1")
    return {
        "base_url": base_url,
        "headers": {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        "timeout": httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
        "limits": httpx.Limits(max_connections=None),
        "follow_redirects": True,
    }


def _adapted(request: dict[str, Any], without: set[str]) -> dict[str, Any]:
    """Return a request without what the server does not take."""
    body = {name: value for name, value in request.items() if name not in without}
    other = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
    for name in request.keys() & other.keys() & without:
        body[other[name]] = request[name]
    if "system" in without and "messages" in body:
        content = "\n\n".join(message["content"] for message in body["messages"])
        body["messages"] = [{"role": "user", "content": content}]
    return body


def _seconds(header: str) -> float | None:
    """Return the seconds of a Retry-After; None if there are none."""
    try:
        seconds = float(header)
    except ValueError:
        return None
    return seconds if seconds > 0 else None  # not a number is not above 0


def _lost(error: httpx.HTTPError) -> Busy:
    """Return what a lost request means."""
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout():
            why = f" ({shown(str(error))})" if str(error) else ""
            return Busy(f"no server answers; start it or correct the address{why}", said=False)
        case httpx.TimeoutException():
            return Busy("does not answer in time", said=False)
    return Busy(f"breaks off its answer ({shown(str(error)) or type(error).__name__})", said=False)


def _away(base_url: str, busy: Busy) -> str:
    return f"{base_url}: {busy}; run this again to continue"
