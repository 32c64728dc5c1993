"""The model that generates: in this process, or behind a server with OpenAI's interface."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich.progress import Progress

from prompt_strategies.tokenise import after_prompt, decode, encode_prompts
from tools.errors import UserError
from tools.files import sha256
from tools.recipe import is_recipe, read_recipe

if TYPE_CHECKING:  # only an endpoint needs an HTTP client
    from tools.endpoint import Endpoint
    from tools.server_answer import Answer, NoAnswer

MOST_TOKENS = 2048  # of prompt and completion together, even if the model has room for more


@dataclass(frozen=True)
class Generation:
    """A completion: its exact text, its length in tokens, and whether it ended by EOS."""

    text: str
    tokens: int
    ended: bool


# for a prompt that leaves no room for an answer: a failure, and no lost row
NOTHING = Generation(text="", tokens=0, ended=False)


Batch = list[tuple[int, Generation]]


@dataclass(frozen=True)
class FromServer(Generation):
    """A generation of a server; `reason` says why it has no text.

    `without` names the parts of the request that the server did not take.
    """

    reason: str = ""
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """A completion to make; it depends on these fields and the model alone."""

    prompt: str
    temperature: float
    seed: int
    max_new_tokens: int
    stop: str | None = None


class Backend(Protocol):
    """What a search needs of a model; `identity` distinguishes models."""

    identity: dict[str, Any]

    def run(self, requests: Sequence[Request]) -> Iterator[Batch]:
        """Yield each finished batch: (index, generation) of its requests."""
        ...


def _stopped(made: Generation, stop: str | None) -> Generation:
    """Cut what a server wrote beyond a stop that it did not take."""
    if stop is None or stop not in made.text:
        return made
    return Generation(made.text.split(stop)[0], made.tokens, True)


@dataclass
class Served:
    """A model behind an endpoint.

    With a tokenizer prompts are sent as token ids, the same as in training and with BOS. Without
    one they are sent as text, without the white space that ends them, and the server's tokenizer
    adds BOS if that is its default. `context` is the most tokens that the server takes; None if it
    does not say.
    """

    endpoint: "Endpoint"
    identity: dict[str, Any]
    tokenizer: Any = None
    context: int | None = None

    @property
    def name(self) -> str:
        """What the model is called in the names of files."""
        return f"served-{self.endpoint.model}".replace("/", "-")

    def run(self, requests: Sequence[Request]) -> Iterator[Batch]:
        """Yield each request's generation as it arrives, in a batch of its own."""
        limit = min(MOST_TOKENS, self.context or MOST_TOKENS)
        texts = [request.prompt for request in requests]
        if self.tokenizer is None:
            prompts: list[Any] = [text.rstrip() for text in texts]
            rooms = [limit] * len(prompts)
        else:
            prompts = encode_prompts(self.tokenizer, texts)
            rooms = [limit - len(ids) for ids in prompts]
        if full := [(index, NOTHING) for index, room in enumerate(rooms) if room < 1]:
            yield full
        fitting = [index for index, room in enumerate(rooms) if room > 0]
        arguments = [_arguments(requests[i], prompts[i], rooms[i]) for i in fitting]
        for place, answer in self.endpoint.completions(arguments):
            request = requests[fitting[place]]
            yield [(fitting[place], self._generation(answer, request, arguments[place]))]

    def write(
        self,
        prompts: Sequence[str],
        *,
        max_length: int,
        temperature: float = 0.0,
        seed: int = 0,
        max_new_tokens: int | None = None,
    ) -> list[Generation]:
        """Continue each prompt, as `tools.generate.generate`; each has a seed of its own.

        A server that gets text does not write the white space that ends a prompt.
        """
        requests = [
            Request(prompt, temperature, seed + number, max_new_tokens or max_length)
            for number, prompt in enumerate(prompts)
        ]
        made = [NOTHING] * len(requests)
        with Progress(transient=True, disable=len(requests) < 2) as progress:
            for batch in progress.track(self.run(requests), len(requests), description="Asking"):
                for index, generation in batch:
                    made[index] = self._after(prompts[index], generation)
        return made

    def _after(self, prompt: str, generation: Generation) -> Generation:
        if self.tokenizer is None:
            return generation
        seen = decode(self.tokenizer, encode_prompts(self.tokenizer, [prompt])[0])
        return replace(generation, text=after_prompt(prompt, seen, generation.text))

    def _generation(
        self, answer: "Answer | NoAnswer", request: Request, arguments: dict[str, Any]
    ) -> Generation:
        without = tuple(sorted(self.endpoint.without & arguments.keys()))
        if isinstance(answer, Exception):
            return FromServer("", 0, False, reason=answer.reason, without=without)
        text = answer.text.removeprefix(request.prompt.rstrip())  # some servers repeat it
        if eos := getattr(self.tokenizer, "eos_token", None):
            text = text.partition(eos)[0]
        made = Generation(text, answer.written or 0, not answer.cut)
        made = _stopped(made, request.stop)
        return FromServer(**vars(made), without=without) if without else made


def _arguments(request: Request, prompt: Any, room: int) -> dict[str, Any]:
    return {
        "prompt": prompt,
        "temperature": request.temperature,
        "max_tokens": min(request.max_new_tokens, room),
        **({"seed": request.seed} if request.temperature else {}),
        **({} if request.stop is None else {"stop": [request.stop]}),
    }


@dataclass(frozen=True)
class Server:
    """A model behind an endpoint, as a command names it; the server's only one without a `model`.

    With `unseeded` it gets no seed.
    """

    url: str
    model: str | None = None
    concurrency: int = 16
    unseeded: bool = False

    def open(self, target: Path | None) -> Served:
        """Connect. Prompts go through the tokenizer of a recipe or a folder, or as text."""
        from tools.endpoint import connect
        from tools.models import load_recipe_tokenizer, load_tokenizer

        tokenizer = None
        if target is not None:
            recipe = is_recipe(target)
            tokenizer = (
                load_recipe_tokenizer(read_recipe(target)) if recipe else load_tokenizer(target)
            )
        endpoint, info = connect(self.url, self.model, concurrency=self.concurrency)
        endpoint.without |= {"seed"} if self.unseeded else set()
        # vLLM reports the files that it serves as `root`, and the longest prompt
        prompts = "text" if tokenizer is None else "ids"
        identity = {"served": endpoint.model, "root": info.get("root"), "prompts": prompts}
        context = info.get("max_model_len")
        known = type(context) is int and context > 0
        return Served(endpoint, identity, tokenizer, context if known else None)


def weights_hash(folder: Path) -> str:
    """Return the SHA-256 over a model folder's weights and their configuration."""
    files = sorted(
        path
        for path in folder.iterdir()
        if path.suffix == ".safetensors" or path.name in ("config.json", "adapter_config.json")
    )
    if not files:
        raise UserError(f"{folder}: holds no weights; is it a model folder?")
    together = [[path.name, sha256(path)] for path in files]
    return hashlib.sha256(json.dumps(together).encode()).hexdigest()
