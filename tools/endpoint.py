"""Talks to any server with OpenAI's interface: many requests at once, with retries.

The client of the `openai` package keeps the time limits. It tries again, with growing pauses, after
408, 409, 429 and 5xx and while the server cannot be reached; it obeys Retry-After. The key is read
from OPENAI_API_KEY, sent to the server and written nowhere.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import openai

from tools.errors import UserError

KEY = "OPENAI_API_KEY"
CONNECT_SECONDS = 10.0  # then nobody is at the address

type Call[T] = Callable[[openai.AsyncOpenAI], Awaitable[T]]


@dataclass(frozen=True)
class Endpoint:
    """A server and one model on it; `concurrency` requests are under way at once.

    Forty tries with pauses of 0.5 to 8 seconds last five minutes, in which a server can restart.
    `timeout` is for one answer, in seconds. A server that has not `answered` before is asked first
    whether it is there, and is not waited for.
    """

    base_url: str
    model: str
    concurrency: int = 16
    retries: int = 40
    timeout: float = 600.0
    answered: bool = False

    def completions(self, requests: Sequence[dict[str, Any]]) -> Iterator[tuple[int, Any]]:
        """Yield (index, Completion) for each request, as they are answered.

        A request holds the arguments of /v1/completions, without the model. Raises UserError for an
        error that a retry would not change, or when all retries have failed.
        """

        async def create(client: openai.AsyncOpenAI, arguments: dict[str, Any]) -> Any:
            answer = await client.completions.create(model=self.model, **arguments)
            _check_one_text(answer, self.base_url)
            return answer

        return self.run([partial(create, arguments=arguments) for arguments in requests])

    def run[T](self, calls: Sequence[Call[T]]) -> Iterator[tuple[int, T]]:
        """Yield (index, answer) in the order of arrival; `concurrency` calls are in flight.

        A call may make several requests. Raises UserError as `completions` does.
        """
        with asyncio.Runner() as runner:
            if calls and not self.answered:
                runner.run(self._knock())
            answers: asyncio.Queue[tuple[int, T | Exception]] = asyncio.Queue()
            work = runner.get_loop().create_task(self._answer_all(calls, answers))
            try:
                for _ in calls:
                    index, answer = runner.run(answers.get())
                    if isinstance(answer, Exception):
                        raise _explained(answer, self.base_url) from None
                    yield index, answer
            finally:
                work.cancel()

    async def _knock(self) -> None:
        """Raise UserError unless the server gives an answer of any kind."""
        async with _client(self.base_url, 1, self.timeout) as client:
            try:
                await client.models.list()
            except openai.APIConnectionError as error:
                raise _explained(error, self.base_url) from None
            except Exception:
                return  # not every server lists its models: the calls will tell

    async def _answer_all[T](
        self, calls: Sequence[Call[T]], answers: "asyncio.Queue[tuple[int, T | Exception]]"
    ) -> None:
        waiting = iter(enumerate(calls))

        async def work(client: openai.AsyncOpenAI) -> None:
            for index, call in waiting:
                try:
                    await answers.put((index, await call(client)))
                except Exception as error:
                    await answers.put((index, error))

        async with _client(self.base_url, self.retries, self.timeout) as client:
            await asyncio.gather(*(work(client) for _ in range(self.concurrency)))


def connect(
    base_url: str, model: str | None = None, *, concurrency: int = 16
) -> tuple[Endpoint, dict[str, Any]]:
    """Return the endpoint of a model, and what the server says about that model.

    Without a name it takes the server's only model. Raises UserError if the server cannot be
    reached, or if it has no such model.
    """

    async def models() -> list[dict[str, Any]]:
        async with _client(base_url, 3, Endpoint.timeout) as client:
            return [item.model_dump() async for item in client.models.list()]

    try:
        served = {str(item["id"]): item for item in asyncio.run(models())}
    except UserError:
        raise
    except openai.OpenAIError as error:
        raise _explained(error, base_url) from None
    except Exception:  # the client raises whatever a page of HTML makes it
        raise UserError(_unusable(base_url, "no list of models")) from None
    names = ", ".join(sorted(served)) or "none"
    if model is None and len(served) != 1:
        raise UserError(f"{base_url}: name one of its models by --served-model: {names}")
    chosen = next(iter(served)) if model is None else model
    if served and chosen not in served:
        raise UserError(f"{base_url}: serves no model {chosen}; it has {names}")
    return Endpoint(base_url, chosen, concurrency, answered=True), served.get(chosen, {})


def _client(base_url: str, retries: int, timeout: float) -> openai.AsyncOpenAI:
    """A client of the server. Raises UserError for a malformed address."""
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # of the port, or of an IPv6 address
        usable = False
    if not usable:
        raise UserError(f"{base_url}: is not an address; write it as http://localhost:8000/v1")
    return openai.AsyncOpenAI(
        base_url=base_url,
        # your own server asks for no key, but the client insists on one
        api_key=os.environ.get(KEY) or "none",
        max_retries=retries,
        timeout=openai.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
    )


def _check_one_text(answer: Any, base_url: str) -> None:
    """Raise UserError unless the answer holds one text: the client checks nothing."""
    choices = getattr(answer, "choices", None)
    texts = [getattr(item, "text", None) for item in choices] if isinstance(choices, list) else []
    if len(texts) != 1 or not isinstance(texts[0], str):
        raise UserError(_unusable(base_url, answer))


def _unusable(base_url: str, what: Any) -> str:
    return (
        f"{base_url}: gives an answer that cannot be used ({_shown(what)}); "
        "is it the address of OpenAI's interface, which often ends in /v1?"
    )


def _shown(what: Any) -> str:
    """What a server said, on one line, not too long, and without the key."""
    line = " ".join(str(what).split())[:300]
    key = os.environ.get(KEY)
    return line.replace(key, "***") if key else line


def _explained(error: Exception, base_url: str) -> Exception:
    """Return a UserError for a fault of the server or the network; other errors unchanged."""
    match error:
        case openai.AuthenticationError() | openai.PermissionDeniedError():
            # the server's own words may repeat a part of the key
            return UserError(f"{base_url}: refuses the key; put the right one in {KEY}")
        case openai.APITimeoutError():
            return UserError(f"{base_url}: does not answer in time; run this again to continue")
        case openai.APIConnectionError():
            return UserError(
                f"{base_url}: no server answers; start it or correct the address, "
                "and run this again"
            )
        case openai.NotFoundError():
            return UserError(_unusable(base_url, error.message))
        case openai.APIStatusError():
            return UserError(f"{base_url}: {_shown(error.message)}")
        case openai.OpenAIError() | json.JSONDecodeError():
            return UserError(_unusable(base_url, error))
    return error
