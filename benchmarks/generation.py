"""Calls per second: batches, as a search makes them, against one prompt at a time.

    python -m benchmarks.generation recipes/cogex-tiny.yml tasks/tiny-coin.yml --prompts 128

The prompts are those of the emulator with one program. "Plain" is `model.generate` of transformers
on one prompt after the other, sampled at the same temperature, with the same limits; the model is
the same object. Before each is timed, it is run once on a few prompts.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from prompt_strategies.tokenise import encode_prompts
from tools.files import write_json
from tools.search.backend import InProcess, Request, load_in_process
from tools.search.candidates import PROGRAM
from tools.search.data import load_task
from tools.search.scoring import Scorer, Settings
from tools.search.store import Store


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


def main() -> None:
    """Measure both, and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a recipe (its best/), or a model folder")
    parser.add_argument("task", type=Path)
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--store", type=Path, default=Path("outputs/generation"))
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    backend = load_in_process(arguments.model)
    task, settings = load_task(arguments.task), Settings()
    scorer = Scorer(task, PROGRAM, backend, Store(arguments.store), settings)
    program = next(filter(None, map(PROGRAM.cut, scorer.propose(task.train[:5], 0))))
    rows = [*task.train, *task.dev, *task.test][: arguments.prompts]
    requests = [
        Request(
            PROGRAM.emulator_prompt(task.card.instruction, row.input, program),
            settings.emulator_temperature,
            number,
            settings.emulator_tokens,
        )
        for number, row in enumerate(rows)
    ]
    ways: dict[str, Callable[[InProcess, Sequence[Request]], int]] = {
        "one at a time, plain generate": plain,
        "in batches, each row its own seed": batched,
    }
    table = Table("way", "calls", "seconds", "CPU seconds", "calls a second", "tokens a second")
    figures = {}
    for name, way in ways.items():
        way(backend, requests[:4])
        started, used = time.monotonic(), time.process_time()
        tokens = way(backend, requests)
        seconds, cpu = time.monotonic() - started, time.process_time() - used
        table.add_row(name, str(len(requests)), f"{seconds:.1f}", f"{cpu:.1f}",
                      f"{len(requests) / seconds:.1f}", f"{tokens / seconds:,.0f}")  # fmt: skip
        figures[name] = {
            "calls": len(requests),
            "seconds": seconds,
            "CPU seconds": cpu,
            "calls a second": len(requests) / seconds,
            "tokens a second": tokens / seconds,
        }
    if arguments.json:
        write_json(arguments.json, {"figures": figures})
    console = Console(width=120)
    console.print(table)
    console.print(f"{torch.get_num_threads()} threads, device {backend.model.device}")


if __name__ == "__main__":
    main()
