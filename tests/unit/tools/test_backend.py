"""A model in this process: what it generates, and how one model is told from another."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from prompt_strategies.layout import render_prompt
from tests.openai_server import Reply, Server, completion
from tests.unit.conftest import WriteAdapter
from tools.backend import NOTHING, Generation, Request, Served, weights_hash
from tools.endpoint import Endpoint
from tools.errors import UserError
from tools.in_process import InProcess, base_of, load_in_process
from tools.search.store import NAME, Store

LIMIT = 20


def asked(count: int, **other: Any) -> list[Request]:
    values = {"temperature": 1.0, "max_new_tokens": LIMIT} | other
    prompts = [render_prompt("Add.", "1 " * (number % 7)) for number in range(count)]
    return [Request(prompt, seed=number, **values) for number, prompt in enumerate(prompts)]


def run(backend: InProcess, requests: list[Request]) -> list[str]:
    made = {index: item for batch in backend.run(requests) for index, item in batch}
    assert sorted(made) == list(range(len(requests)))
    return [made[index].text for index in range(len(requests))]


@pytest.fixture
def backend(tiny_model: Any, tiny_tokenizer: Any) -> InProcess:
    return InProcess(tiny_model, tiny_tokenizer, {"weights": "tiny"})


def test_generation_does_not_depend_on_what_else_is_asked(backend: InProcess) -> None:
    warm, cold, short = asked(9), asked(3, temperature=0.0), asked(3, max_new_tokens=2)
    mixed = run(backend, [*warm, *cold, *short])
    assert len(set(mixed[:9])) > 5
    assert mixed == run(backend, warm[::-1])[::-1] + run(backend, cold) + run(backend, short)


def test_prompt_that_fills_the_context_generates_nothing(backend: InProcess) -> None:
    long = Request(render_prompt("Add.", "1 " * 600), 1.0, 1, LIMIT)
    [alone] = asked(1)
    made = {index: item for batch in backend.run([long, alone]) for index, item in batch}
    assert made[0] == NOTHING
    assert made[1].text == run(backend, [alone])[0]


def test_generation_stops_where_a_server_would(backend: InProcess) -> None:
    [whole] = run(backend, asked(1, max_new_tokens=60))
    stop = whole[5:7]
    [cut] = run(backend, asked(1, max_new_tokens=60, stop=stop))
    assert cut == whole[: whole.index(stop)]


def test_base_under_an_adapter(tmp_path: Path, write_adapter: WriteAdapter, backend: InProcess,
                               tiny_tokenizer: Any) -> None:  # fmt: skip
    folder = write_adapter(tmp_path / "adapter")
    tiny_tokenizer.save_pretrained(folder)
    trained = load_in_process(folder)
    base = base_of(trained)
    assert base is not None
    requests = asked(4)
    assert run(base, requests) == run(backend, requests) != run(trained, requests)
    assert base.identity != trained.identity
    assert base.identity["base_weights"] == trained.identity["base_weights"]
    assert base_of(base) is not None  # itself
    assert base_of(backend) is None


def test_model_is_known_by_its_weights(tmp_path: Path, write_adapter: WriteAdapter) -> None:
    one, same, other = (write_adapter(tmp_path / name, seed) for name, seed in
                        (("one", 1), ("same", 1), ("other", 2)))  # fmt: skip
    assert weights_hash(one) == weights_hash(same) != weights_hash(other)
    path = same / "adapter_model.safetensors"
    weights = load_file(path)
    name = sorted(weights)[0]
    weights[name] = weights[name] + torch.finfo(torch.float32).eps * 8
    save_file(weights, path)
    assert weights_hash(one) != weights_hash(same)
    with pytest.raises(UserError, match="holds no weights"):
        weights_hash(tmp_path)


# a model behind a server


def test_requests_without_text_are_told_and_made_again(tmp_path: Path) -> None:
    """What the server does not take is known from the kept generations, too."""
    requests = [Request(f"say {name}", 0.05, 1, 10) for name in ("a", "odd", "b")]

    def answer(kind: str, body: dict[str, Any]) -> str | Reply:
        if "seed" in body:
            return Reply({"error": {"message": "seed: extra inputs are not permitted"}}, 400)
        if "odd" in body["prompt"] and kind == "odd":
            return Reply(completion(body, None, choices=None))
        return body["prompt"].upper() + "\ud83d"

    def made(kind: str) -> tuple[list[str], Store]:
        store = Store(tmp_path)
        served = Served(Endpoint(server.url(kind), "tiny", concurrency=1), {"served": "tiny"})
        return [item.text for item in store.complete(served, requests, "x")], store

    with Server(answer) as server:
        texts, store = made("odd")
        assert texts == ["SAY A?", "", "SAY B?"]
        assert (store.without_text, store.not_taken) == (['no text: {"choices": null}'], ["seed"])
        before = len(server.received)
        texts, store = made("sound")
        assert texts == ["SAY A?", "SAY ODD?", "SAY B?"]
        assert (store.without_text, store.not_taken) == ([], ["seed"])
        assert len(server.received) == before + 2  # with the seed, and without
        made("sound")
        assert len(server.received) == before + 2
    assert len((tmp_path / NAME).read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("text", "finish", "expected"),
    [
        ("def f(): ...", "length", Generation("def f(): ...", 10, False)),
        ("Add.\ndef f(): ...", "stop", Generation("\ndef f(): ...", 10, True)),  # with its prompt
        ("def f(): ...EOSdef g", "stop", Generation("def f(): ...", 10, True)),
        ("one\ntwo", "length", Generation("one", 10, True)),
    ],
)
def test_text_of_a_server_is_what_the_model_wrote(
    text: str, finish: str, expected: Generation, tiny_tokenizer: Any
) -> None:
    text = text.replace("EOS", tiny_tokenizer.eos_token)
    request = Request("Add.\n", 0.05, 1, 10, stop="\n" if "two" in text else None)
    with Server(lambda _, body: Reply(completion(body, text, {"finish_reason": finish}))) as server:
        served = Served(Endpoint(server.url(), "tiny"), {}, tiny_tokenizer)
        assert list(served.run([request])) == [[(0, expected)]]
