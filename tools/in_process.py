"""The model that generates in this process, and in one process more for each further GPU."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from prompt_strategies.tokenise import encode_prompts
from tools.backend import MOST_TOKENS, NOTHING, Batch, Request, weights_hash
from tools.generate import PromptBatch, plan_batches, run_batch, tokens_per_batch
from tools.models import load_trained
from tools.recipe import is_recipe, read_recipe
from tools.workers import Workers, spread


@dataclass
class InProcess:
    """A loaded model. Prompts of similar length share a batch; each row has its own seed.

    With `adapted` False the adapter is disabled, so that the base answers. `workers` hold the same
    (model, tokenizer), and share the batches.
    """

    model: Any
    tokenizer: Any
    identity: dict[str, Any]
    adapted: bool = True
    workers: Workers | None = None

    def run(self, requests: Sequence[Request]) -> Iterator[Batch]:
        """Yield generations; requests of one temperature, token limit and stop share batches."""
        limit = min(MOST_TOKENS, self.model.config.max_position_embeddings)
        prompts = encode_prompts(self.tokenizer, [request.prompt for request in requests])
        if full := [(index, NOTHING) for index, ids in enumerate(prompts) if len(ids) >= limit]:
            yield full
        kinds: dict[tuple[float, int, str | None], list[int]] = {}
        for index, request in enumerate(requests):
            if len(prompts[index]) < limit:
                kind = (request.temperature, request.max_new_tokens, request.stop)
                kinds.setdefault(kind, []).append(index)
        batches, jobs = [], []
        for (temperature, most, stop), fitting in kinds.items():
            lengths = [len(prompts[index]) for index in fitting]
            for places in plan_batches(lengths, tokens_per_batch(self.model), limit, most):
                batches.append([fitting[place] for place in places])
                ids = [prompts[index] for index in batches[-1]]
                seeds = [requests[index].seed for index in batches[-1]]
                jobs.append(PromptBatch(ids, limit, temperature, most, seeds, stop, self.adapted))
        for number, made in spread(run_batch, (self.model, self.tokenizer), jobs, self.workers):
            yield list(zip(batches[number], made, strict=True))


def load_in_process(target: Path) -> InProcess:
    """Load a recipe's `best/`, an adapter or a model folder. Raises UserError if it fails."""
    model, tokenizer = load_trained(target)
    folder = read_recipe(target).output_dir / "best" if is_recipe(target) else target
    identity: dict[str, Any] = {"weights": weights_hash(folder), "dtype": str(model.dtype)}
    config = folder / "adapter_config.json"
    if config.is_file():
        base = json.loads(config.read_text(encoding="utf-8"))["base_model_name_or_path"]
        commit = getattr(model.config, "_commit_hash", None)
        identity |= {
            "base": base,
            "base_weights": weights_hash(Path(base)) if Path(base).is_dir() else commit,
        }
    return InProcess(model, tokenizer, identity, workers=Workers(partial(load_trained, target)))


def base_of(backend: InProcess) -> InProcess | None:
    """Return the base under an adapter, as a backend of its own; None for a whole model."""
    if "base" not in backend.identity:
        return None
    kept = {name: backend.identity[name] for name in ("base", "base_weights", "dtype")}
    if load := getattr(backend.model, "load_base_again", None):  # as under PiSSA
        return InProcess(load(), backend.tokenizer, kept | {"loaded": "again"})
    return replace(backend, identity=kept, adapted=False)
