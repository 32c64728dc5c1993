"""Speaks to any server with OpenAI's interface: many requests at once, patiently.

The client of the `openai` package does what is hard: time limits, and new tries with growing
pauses after 408, 409, 429 and 5xx, and while the server cannot be reached; a server's Retry-After
is obeyed. The key is read from OPENAI_API_KEY, sent to the server and written nowhere.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import openai

from tools.errors import UserError

KEY = "OPENAI_API_KEY"

T = TypeVar("T")
Call = Callable[[openai.AsyncOpenAI], Awaitable[T]]


@dataclass(frozen=True)
class Endpoint:
    """A server and one model on it.

    `concurrency` requests are under way at once. Forty tries with pauses of 0.5 to 8 seconds last
    for five minutes: long enough for a server to be started again. `timeout` is one answer's, in
    seconds.
    """

    base_url: str
    model: str
    concurrency: int = 16
    retries: int = 40
    timeout: float = 600.0

    def completions(self, requests: Sequence[dict[str, Any]]) -> Iterator[tuple[int, Any]]:
        """Yield (index, Completion) for each request, as they are answered.

        A request holds the arguments of /v1/completions, without the model. Raises UserError for
        what no further try would change, or when the tries are used up.
        """

        def create(client: openai.AsyncOpenAI, arguments: dict[str, Any]) -> Awaitable[Any]:
            return client.completions.create(model=self.model, **arguments)

        return self.run([partial(create, arguments=arguments) for arguments in requests])

    def chat(self, requests: Sequence[dict[str, Any]]) -> Iterator[tuple[int, Any]]:
        """Yield (index, ChatCompletion): the same for /v1/chat/completions."""

        def create(client: openai.AsyncOpenAI, arguments: dict[str, Any]) -> Awaitable[Any]:
            return client.chat.completions.create(model=self.model, **arguments)

        return self.run([partial(create, arguments=arguments) for arguments in requests])

    def run(self, calls: Sequence[Call[T]]) -> Iterator[tuple[int, T]]:
        """Yield (index, answer) in the order of arrival; `concurrency` calls are in flight.

        A call may make several requests. Raises UserError as `completions` does.
        """
        with asyncio.Runner() as runner:
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

    async def _answer_all(
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
    base_url: str,
    model: str | None = None,
    *,
    concurrency: int = 16,
    retries: int = 40,
    timeout: float = 600.0,
) -> tuple[Endpoint, dict[str, Any]]:
    """Return the endpoint of a model, and what the server says of that model.

    Without a name the server's only model is taken. Raises UserError if the server cannot be
    reached, or if it has no such model.
    """

    async def models() -> list[dict[str, Any]]:
        async with _client(base_url, min(retries, 3), timeout) as client:
            return [item.model_dump() async for item in client.models.list()]

    try:
        served = {item["id"]: item for item in asyncio.run(models())}
    except Exception as error:
        raise _explained(error, base_url) from None
    names = ", ".join(sorted(served)) or "none"
    if model is None and len(served) != 1:
        raise UserError(f"{base_url}: name one of its models by --served-model: {names}")
    chosen = next(iter(served)) if model is None else model
    if served and chosen not in served:
        raise UserError(f"{base_url}: serves no model {chosen}; it has {names}")
    return Endpoint(base_url, chosen, concurrency, retries, timeout), served.get(chosen, {})


def _client(base_url: str, retries: int, timeout: float) -> openai.AsyncOpenAI:
    # a server of one's own asks for no key, but the client insists on one
    key = os.environ.get(KEY) or "none"
    return openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=retries, timeout=timeout)


def _explained(error: Exception, base_url: str) -> Exception:
    """A UserError for what the server or the way to it did wrong; other errors as they are."""
    match error:
        case openai.AuthenticationError() | openai.PermissionDeniedError():
            # the server's own words may repeat a part of the key
            return UserError(f"{base_url}: refuses the key; put the right one in {KEY}")
        case openai.APITimeoutError():
            return UserError(f"{base_url}: does not answer in time; run this again to go on")
        case openai.APIConnectionError():
            return UserError(f"{base_url}: cannot be reached; is the server running?")
        case openai.APIStatusError():
            what = " ".join(str(error.message).split())[:300]
            key = os.environ.get(KEY)
            return UserError(f"{base_url}: {what.replace(key, '***') if key else what}")
        case openai.OpenAIError():
            return UserError(f"{base_url}: gives an answer that cannot be used: {error}")
    return error
