"""Calls per second: batches, as in a search, beside one prompt at a time; one process beside two.

    python -m benchmarks.generation recipes/cogex-tiny.yml tasks/tiny-coin.yml [--prompts 512]
                                    [--json FILE]

The prompts are those of the emulator with one program. "Plain" is `model.generate` of transformers
on an eighth of them, one after the other, sampled at the same temperature, with the same limits;
the model is the same object. Before each is timed, it is run once on a few prompts.
"""

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated
from unittest.mock import patch

import torch
import typer
from rich.console import Console
from rich.table import Table
from transformers import GenerationConfig

from prompt_strategies.tokenise import encode_prompts
from tools.backend import Request
from tools.files import write_json
from tools.in_process import InProcess, load_in_process
from tools.models import load_trained
from tools.search.candidates import PROGRAM
from tools.search.data import Task, load_task
from tools.search.scoring import Scorer, Settings
from tools.search.store import Store
from tools.workers import COUNT, Workers

Way = Callable[[InProcess, Sequence[Request]], int]


def plain(backend: InProcess, requests: Sequence[Request]) -> int:
    """Generate one prompt after the other; return the new tokens."""
    tokens = 0
    for request in requests:
        [ids] = encode_prompts(backend.tokenizer, [request.prompt])
        room = backend.model.config.max_position_embeddings - len(ids)
        with torch.inference_mode():
            made = backend.model.generate(
                input_ids=torch.tensor([ids]).to(backend.model.device),
                attention_mask=torch.ones(1, len(ids), dtype=torch.long).to(backend.model.device),
                do_sample=True,
                temperature=request.temperature,
                top_k=0,
                max_new_tokens=min(request.max_new_tokens, room),
                eos_token_id=backend.tokenizer.eos_token_id,
                pad_token_id=backend.tokenizer.pad_token_id,
            )
        tokens += made.shape[1] - len(ids)
    return tokens


def batched(backend: InProcess, requests: Sequence[Request]) -> int:
    """Generate as a search does; return the new tokens."""
    return sum(made.tokens for batch in backend.run(requests) for _, made in batch)


def none_leaves(backend: InProcess, requests: Sequence[Request]) -> int:
    """Generate in batches that all rows stay in until the last is done; return the new tokens."""
    with patch("tools.generate.LEAVE", 1.0):
        return batched(backend, requests)


def main(
    model: Annotated[Path, typer.Argument(help="A recipe (its best/), or a model folder.")],
    task: Annotated[Path, typer.Argument(help="A task card.")],
    prompts: Annotated[int, typer.Option(help="How many.")] = 512,
    store: Annotated[Path, typer.Option(help="Keeps the program.")] = Path("outputs/generation"),
    json: Annotated[Path | None, typer.Option(help="Also write the figures here.")] = None,
) -> None:
    """Measure every way, and print them."""
    backend = load_in_process(model)
    every = emulations(load_task(task), backend, store)
    requests = list(islice(cycle(every), prompts))
    figures = {
        "one at a time, plain generate": timed(plain, backend, requests[: max(1, prompts // 8)]),
        "in batches, each row its own seed": timed(batched, backend, requests),
        "in batches that no row leaves": timed(none_leaves, backend, requests),
        "transformers' continuous batching": timed(continuous, backend, requests),
    }
    torch.set_num_threads(1)
    figures["in batches, one thread"] = timed(batched, backend, requests)
    os.environ[COUNT] = "2"
    backend.workers = Workers(partial(load_trained, model))
    batched(backend, requests)  # starts the other process, and waits for its model
    figures["in batches, two processes of one thread"] = timed(batched, backend, requests)
    table = Table("way", *next(iter(figures.values())))
    for name, figure in figures.items():
        table.add_row(name, *(f"{value:,.1f}" for value in figure.values()))
    console = Console(width=120)
    console.print(table)
    console.print(f"device {backend.model.device}")
    if json:
        write_json(json, {"figures": figures})


def continuous(backend: InProcess, requests: Sequence[Request]) -> int:
    """Generate by transformers' continuous batching; return the new tokens."""
    tokenizer, first = backend.tokenizer, requests[0]
    made = backend.model.generate_batch(
        encode_prompts(tokenizer, [request.prompt for request in requests]),
        generation_config=GenerationConfig(
            do_sample=True,
            temperature=first.temperature,
            top_k=0,
            max_new_tokens=first.max_new_tokens,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ),
    )
    return sum(len(item.generated_tokens) for item in made.values())


def emulations(task: Task, backend: InProcess, store: Path) -> list[Request]:
    """Return the emulator's request for each row of a task, with one program of the model."""
    settings = Settings()
    scorer = Scorer(task, PROGRAM, backend, Store(store), settings)
    program = next(filter(None, map(PROGRAM.cut, scorer.propose(task.train[:5], 0))))
    return [
        Request(
            PROGRAM.emulator_prompt(task.card.instruction, row.input, program),
            settings.emulator_temperature,
            number,
            settings.emulator_tokens,
        )
        for number, row in enumerate([*task.train, *task.dev, *task.test])
    ]


def timed(way: Way, backend: InProcess, requests: Sequence[Request]) -> dict[str, float]:
    """Run a way on a few prompts, then on all; return what the second run took."""
    way(backend, requests[:4])
    started, used = time.monotonic(), time.process_time()
    tokens = way(backend, requests)
    seconds, cpu = time.monotonic() - started, time.process_time() - used
    return {
        "calls": len(requests),
        "seconds": seconds,
        "CPU seconds": cpu,
        "calls a second": len(requests) / seconds,
        "tokens a second": tokens / seconds,
    }


if __name__ == "__main__":
    typer.run(main)
