"""Generates completions in batches, from the same prompt ids as in training."""

import random
from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from rich.progress import Progress
from transformers import StoppingCriteria, StopStringCriteria
from transformers.cache_utils import DynamicCache, DynamicLayer

from prompt_strategies.tokenise import after_prompt, decode, encode_prompts
from tools.backend import NOTHING, Generation
from tools.machine import memory
from tools.workers import Workers, spread

# prompt and completion at their longest: 64 rows of 512 tokens, 16 of 2,048
TOKENS_PER_BATCH = 32_768
LEAVE = 0.5  # share of a batch's rows that are done, at which they leave it
CACHE_SHARE = 0.5  # of the memory beside the weights; the rest is for activations, and in reserve


@dataclass(frozen=True)
class PromptBatch:
    """Prompts that are continued together: their ids, and how far and how they go on.

    At a temperature above 0 each has a seed of its own. A row ends where it writes `stop`, and its
    text before it. If not `adapted`, the base under the adapter writes.
    """

    ids: Sequence[list[int]]
    max_length: int  # tokens of prompt and completion
    temperature: float = 0.0
    max_new_tokens: int | None = None
    seeds: Sequence[int] = ()
    stop: str | None = None
    adapted: bool = True

    @property
    def limits(self) -> list[int]:
        """The most tokens of each completion."""
        most = self.max_length if self.max_new_tokens is None else self.max_new_tokens
        return [min(self.max_length - len(ids), most) for ids in self.ids]


def open_writer(
    load: Callable[[], tuple[Any, Any]],
) -> tuple[Any, Any, Callable[..., list[Generation]]]:
    """Load (model, tokenizer), here and on each further GPU; return both, and `generate` with them.

    `load` is a function of a module, or a `partial` of one.
    """
    model, tokenizer = load()
    return model, tokenizer, partial(generate, model, tokenizer, workers=Workers(load))


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    max_length: int,
    temperature: float = 0.0,
    seed: int = 0,
    max_new_tokens: int | None = None,
    workers: Workers | None = None,
) -> list[Generation]:
    """Continue each prompt until EOS or until prompt and completion are `max_length` tokens.

    The model writes the white space that ends a prompt; the text is without it: see `after_prompt`.
    `max_new_tokens` is the most for a completion alone. Greedy at temperature 0, else sampled; each
    prompt has a seed of its own, counted from `seed`. Prompts of similar length share a batch; the
    answers come in the order of the prompts. A prompt that fills `max_length` has `NOTHING` for its
    answer. `workers` hold the same (model, tokenizer), and share the batches.
    """
    encoded = encode_prompts(tokenizer, prompts)
    fitting = [index for index, ids in enumerate(encoded) if len(ids) < max_length]
    results = [NOTHING] * len(encoded)
    lengths = [len(encoded[index]) for index in fitting]
    places = plan_batches(lengths, tokens_per_batch(model), max_length, max_new_tokens)
    batches = [[fitting[place] for place in batch] for batch in places]
    with Progress(transient=True, disable=len(fitting) < 2) as progress:
        bar = progress.add_task("Generating", total=len(fitting))
        jobs = [
            PromptBatch(
                [encoded[index] for index in batch],
                max_length,
                temperature,
                max_new_tokens,
                [seed + index for index in batch],
            )
            for batch in batches
        ]
        told = 0.0

        def tell(rows: float) -> None:
            progress.update(bar, completed=told + rows)

        for number, made in spread(run_batch, (model, tokenizer, tell), jobs, workers):
            told += len(made)
            progress.update(bar, completed=told)
            for index, generation in zip(batches[number], made, strict=True):
                seen = decode(tokenizer, encoded[index])
                text = after_prompt(prompts[index], seen, generation.text)
                results[index] = replace(generation, text=text)
    return results


def run_batch(held: Sequence[Any], batch: PromptBatch) -> list[Generation]:
    """Generate with (model, tokenizer), which a process holds; in this one also with `tell`."""
    model, tokenizer, *tell = held
    return generate_batch(model, tokenizer, batch, *tell)


def tokens_per_batch(model: Any) -> int:
    """Return how many tokens may share a batch: `TOKENS_PER_BATCH`, or what the memory holds.

    The bytes of their keys and values bound it: 819,200 a token for Llama-2 13B in bf16, 131,072
    for Llama-3.1 8B. It counts all memory except the weights, even what is in use now, so that
    batches are the same each time.
    """
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cached = 2 * config.num_hidden_layers * heads * width * model.dtype.itemsize  # bytes a token
    room = CACHE_SHARE * (_memory(model.device) - model.get_memory_footprint())
    return max(1, min(TOKENS_PER_BATCH, int(room // cached)))


def _memory(device: torch.device) -> int:
    """Bytes of memory of a device."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return memory()


def plan_batches(
    lengths: Sequence[int], most_tokens: int, max_length: int, max_new_tokens: int | None = None
) -> list[list[int]]:
    """Return the indexes of prompts by batch, the shortest prompts first.

    A batch holds `most_tokens` at most, each row counted as its longest prompt with all that may
    follow it; but always a row. What comes after a batch never changes it: without the prompts of
    the first batches, the others stay as they are.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        width = max_length
        if max_new_tokens is not None:
            width = min(max_length, lengths[index] + max_new_tokens)
        if not batches or (len(batches[-1]) + 1) * width > most_tokens:
            batches.append([])
        batches[-1].append(index)
    return batches


def generate_batch(
    model: Any,
    tokenizer: Any,
    batch: PromptBatch,
    tell: Callable[[float], object] = lambda rows: None,
) -> list[Generation]:
    """Continue the ids of each prompt, all together; see `generate`.

    The rest of the batch changes only the rounding of a row's logits. `tell` hears after each token
    how many rows are done; a row that goes on counts by its share of the most tokens that it may
    have.
    """
    with nullcontext() if batch.adapted else model.disable_adapter():
        made = _continue(model, tokenizer, batch, tell)
    return [
        _until(batch.stop, tokenizer, prompt_ids, ids[:limit])
        for prompt_ids, ids, limit in zip(batch.ids, made, batch.limits, strict=True)
    ]


def _until(stop: str | None, tokenizer: Any, prompt_ids: list[int], ids: list[int]) -> Generation:
    """Read a generation up to what stops it; the tokens up to there are counted."""
    made = read_generation(tokenizer, prompt_ids, ids)
    if stop is None or stop not in made.text:
        return made
    tokens = bisect_left(
        range(made.tokens), True, key=lambda n: stop in decode(tokenizer, ids[:n], prompt_ids)
    )
    return Generation(made.text.split(stop)[0], tokens, True)


def read_generation(tokenizer: Any, prompt_ids: list[int], ids: list[int]) -> Generation:
    """Cut the ids at EOS, and give their text."""
    ended = tokenizer.eos_token_id in ids
    kept = ids[: ids.index(tokenizer.eos_token_id)] if ended else ids
    return Generation(decode(tokenizer, kept, prompt_ids), len(kept), ended)


@torch.inference_mode()
def _continue(
    model: Any, tokenizer: Any, batch: PromptBatch, tell: Callable[[float], object]
) -> list[list[int]]:
    """The ids after each prompt: EOS and what follows it included, up to its limit or more.

    When enough rows are done (`LEAVE`), the others go on without them.
    """
    prompts, limits = batch.ids, batch.limits
    width = max(map(len, prompts))
    pad = tokenizer.pad_token_id  # Llama-2 has none, and one that a recipe adds has no embedding
    if pad is None or pad >= model.get_input_embeddings().weight.shape[0]:
        pad = tokenizer.eos_token_id
    device = model.device
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in prompts], device=device)
    mask = torch.tensor(
        [[0] * (width - len(row)) + [1] * len(row) for row in prompts], device=device
    )
    rows = torch.arange(len(prompts))  # that go on
    stopped = StopStringCriteria(tokenizer, [batch.stop]) if batch.stop else None
    done = _EnoughDone(tokenizer.eos_token_id, width, limits, stopped, tell, device)
    cache = _cache(model)
    made: list[list[int]] = [[] for _ in prompts]
    while len(rows):
        sampling: dict[str, Any] = {"do_sample": False}
        if batch.temperature:
            seeds = [batch.seeds[row] for row in rows.tolist()]
            by_row = _SampleByRow(seeds, batch.temperature, max(limits), width)
            sampling["logits_processor"] = [by_row]
        new = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=width + max(limits) - ids.shape[1],
            pad_token_id=pad,
            eos_token_id=tokenizer.eos_token_id,
            past_key_values=cache,
            stopping_criteria=[done],
            **sampling,
        )
        for row, out in zip(rows.tolist(), new[:, width:].tolist(), strict=True):
            made[row] = out
        kept = done.keep()
        mask = torch.nn.functional.pad(mask, (0, new.shape[1] - mask.shape[1]), value=1)
        rows, ids, mask = rows[kept.cpu()], new[kept], mask[kept]
        if len(rows):
            cache.batch_select_indices(kept)
    return made


class _EnoughDone(StoppingCriteria):
    """Stops a batch once enough of its rows are done: by EOS, `stopped`, or at their limit."""

    def __init__(
        self,
        eos: int,
        width: int,
        limits: Sequence[int],
        stopped: StopStringCriteria | None,
        tell: Callable[[float], object],
        device: torch.device,
    ) -> None:
        self.eos, self.width, self.stopped, self.tell = eos, width, stopped, tell
        self.limits = torch.tensor(limits, device=device)
        self.done = torch.zeros_like(self.limits, dtype=torch.bool)
        self.left = 0  # rows that an earlier call left done

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        step = input_ids.shape[1] - self.width
        self.done |= (input_ids[:, -1] == self.eos) | (step >= self.limits)
        if self.stopped:
            self.done |= self.stopped(input_ids, scores)
        going = step / self.limits[~self.done]
        self.tell(self.left + self.done.sum().item() + going.sum().item())
        return torch.full_like(self.done, self.done.sum() >= LEAVE * len(self.done))

    def keep(self) -> torch.Tensor:
        """Forget the rows that are done; return the places of the others."""
        kept = torch.nonzero(~self.done).flatten()
        self.left += len(self.done) - len(kept)
        self.limits, self.done = self.limits[kept], self.done[kept]
        return kept


def _cache(model: Any) -> DynamicCache:
    cache = DynamicCache(config=model.config)
    cache.layers = [_Layer() if type(item) is DynamicLayer else item for item in cache.layers]
    return cache


class _Layer(DynamicLayer):
    """Keys and values of a layer, with room for more: transformers' own copies all at each token.

    That took a fifth of the time on the tiny model.
    """

    ROOM = 64  # tokens

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add states of (rows, heads, tokens, width); return all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.roomy = [key_states[:, :, :0], value_states[:, :, :0]]
        start = self.get_seq_length()
        stop = start + key_states.shape[2]
        for index, states in enumerate((key_states, value_states)):
            if stop > self.roomy[index].shape[2]:
                rows, heads, _, width = states.shape
                larger = states.new_empty(rows, heads, stop + self.ROOM, width)
                larger[:, :, :start] = self.roomy[index][:, :, :start]
                self.roomy[index] = larger
            self.roomy[index][:, :, start:stop] = states
        self.keys, self.values = (held[:, :, :stop] for held in self.roomy)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows alone."""
        super().batch_select_indices(indices)
        self.roomy = [self.keys, self.values]


class _SampleByRow:
    """A logits processor that draws each row's next token from the row's own uniform numbers.

    By inverse transform; greedy search then takes the one token that is left. The numbers come from
    Python's generator, so they are the same on every device.
    """

    def __init__(
        self, seeds: Sequence[int], temperature: float, steps: int, prompt_width: int
    ) -> None:
        self.temperature, self.prompt_width = temperature, prompt_width
        self.uniforms: list[list[float]] = []
        for seed in seeds:
            rng = random.Random(seed)
            self.uniforms.append([rng.random() for _ in range(steps)])

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        step = input_ids.shape[1] - self.prompt_width
        uniforms = torch.tensor([[row[step]] for row in self.uniforms], dtype=torch.float64)
        below = torch.softmax(scores.double() / self.temperature, dim=-1).cumsum(dim=-1)
        # scaled by the sum, which rounding keeps from being 1
        target = uniforms.to(scores.device) * below[:, -1:]
        drawn = torch.searchsorted(below, target, right=True).clamp(max=scores.shape[1] - 1)
        return torch.full_like(scores, float("-inf")).scatter(1, drawn, 0.0)
