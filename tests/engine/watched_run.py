"""Runs one recipe in the engine and tells what reached the model; imports all of the engine.

`tests.engine.forked` starts `watched`, `rank`, `command` and `module`. The watching goes through
Axolotl's own plugins and changes nothing in the run.
"""

import atexit
import gc
import json
import os
import runpy
import socket
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import axolotl.core.builders.causal  # noqa: F401 (this and the next are imported late by the engine)
import deepspeed
import torch
from axolotl.cli.args import TrainerCliArgs
from axolotl.cli.config import load_cfg
from axolotl.cli.train import do_train
from axolotl.integrations.base import BasePlugin, PluginManager
from axolotl.train import train  # noqa: F401 (do_train imports it late)
from bitsandbytes.nn import Linear4bit
from torch.nn.functional import cross_entropy
from transformers import TrainerCallback

from prompt_strategies.tokenise import IGNORE_INDEX
from tests.engine.cpu_overrides import keep_quantised_weights

Row = tuple[list[int], list[int]]  # ids and labels of one example, without padding

# DeepSpeed's own messages between CPUs would first be compiled, for half a minute
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
gc.freeze()  # Axolotl collects garbage often, each time through a million imported objects


class Watch(BasePlugin):
    """Notes every batch that the model gets, and weights before and after.

    `weights` is false where they are sharded, or on no device.
    """

    def __init__(self, weights: bool = True) -> None:
        super().__init__()
        self.weights = weights
        self.steps: list[list[Row]] = [[]]
        self.sequences = [0]  # rows of the batches of each step: examples, or packs of them
        self.evaluations: list[list[Row]] = [[]]

    def post_model_load(self, cfg: Any, model: Any) -> None:
        if not self.weights:
            return
        self.before = {name: _bytes(weight).clone() for name, weight in model.named_parameters()}
        self.trainable = [name for name, w in model.named_parameters() if w.requires_grad]
        self.in_4_bits = {
            name: module.weight.quant_type
            for name, module in model.named_modules()
            if isinstance(module, Linear4bit) and module.weight.quant_state
        }

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        self.trainer = trainer
        trainer.add_callback(_Ends(self))
        self.compute_loss = trainer.compute_loss
        trainer.compute_loss = self.note  # not at the model: where labels are smoothed it gets none

    def note(self, model: Any, batch: dict[str, torch.Tensor], *args: Any, **kwargs: Any) -> Any:
        rows = list(split(batch))
        if model.training:
            self.steps[-1] += rows
            self.sequences[-1] += len(batch["input_ids"])
        else:
            self.evaluations[-1] += rows
        return self.compute_loss(model, batch, *args, **kwargs)

    def report(self) -> dict[str, Any]:
        self.trainer.compute_loss = self.compute_loss
        model = self.trainer.model
        after = {name: _bytes(weight) for name, weight in model.named_parameters()}
        return {
            "steps": [rows for rows in self.steps if rows],
            "sequences": [count for count in self.sequences if count],
            "evaluations": [rows for rows in self.evaluations if rows],
            "log": self.trainer.state.log_history,
            "trainable": self.trainable,
            "changed": [name for name in after if not torch.equal(after[name], self.before[name])],
            "in_4_bits": self.in_4_bits,
            "embeddings": model.get_input_embeddings().num_embeddings,
        }


class _Ends(TrainerCallback):
    """Begins a new list after each optimizer step and each evaluation."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.watch.steps.append([])
        self.watch.sequences.append(0)

    def on_evaluate(self, *_: Any, **__: Any) -> None:
        self.watch.evaluations.append([])


def command(*options: str) -> None:
    """Do what `accelerate launch -m axolotl.cli.train recipe.yml OPTIONS` does in its process.

    Every address outside that is looked up or spoken to is a line of the file `spoken-to`.
    """
    spoken_to = os.open("spoken-to", os.O_WRONLY | os.O_CREAT)

    def note(event: str, values: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo":
            os.write(spoken_to, f"{values[:2]}\n".encode())
        elif event == "socket.connect" and values[0].family != socket.AF_UNIX:
            os.write(spoken_to, f"{values[1]}\n".encode())

    sys.addaudithook(note)
    try:
        module("axolotl.cli.train", "recipe.yml", *options)
    finally:
        atexit._run_exitfuncs()  # a forked process leaves them out; by them wandb closes its file


def module(name: str, *arguments: str) -> None:
    """Do what `python -m NAME ARGUMENTS` does."""
    sys.argv = [name, *arguments]
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def rank(name: str, number: int) -> None:
    """Train NAME.yml as one rank; NAME-NUMBER.json gets the examples of each optimizer step."""
    watch = Watch(weights=False)
    PluginManager.get_instance().plugins["watch"] = watch
    do_train(load_cfg(f"{name}.yml"), TrainerCliArgs())
    steps = [rows for rows in watch.steps if rows]
    Path(f"{name}-{number}.json").write_text(json.dumps(steps))


def watched(recipe: str, overrides: dict[str, Any]) -> None:
    """Train a recipe; report.json gets what was seen, or `error`."""
    try:
        report = run(recipe, overrides)
    except BaseException as error:
        traceback.print_exc()
        report = {"error": f"{type(error).__name__}: {error}"}
    Path("report.json").write_text(json.dumps(report))


def run(recipe: str, overrides: dict[str, Any]) -> dict[str, Any]:
    """Train a recipe as `python -m axolotl.cli.train` does; return what was seen."""
    keep_quantised_weights()
    watch = Watch()
    PluginManager.get_instance().plugins["watch"] = watch  # beside those that the recipe names
    cfg = load_cfg(recipe, **overrides)
    do_train(cfg, TrainerCliArgs())
    return (
        watch.report()
        | ({"packing": compare(watch.trainer)} if cfg.sample_packing else {})
        | ({"smoothing": smoothing(watch.trainer)} if cfg.label_smoothing_factor else {})
    )


def compare(trainer: Any) -> dict[str, Any]:
    """Compare the logits of a pack's documents with those of each document alone.

    Returns the documents' lengths in tokens and the largest difference: `packed` as the trainer
    runs the pack, `mixed` without its position ids, so that a document sees those before it.
    """
    model = trainer.model.eval()
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    documents = [ids for ids, _ in split(batch)]
    with torch.inference_mode():
        packed = model(**batch).logits[0]
        mixed = model(input_ids=batch["input_ids"]).logits[0]
        alone = torch.cat([model(input_ids=torch.tensor([ids])).logits[0] for ids in documents])
    return {
        "documents": [len(ids) for ids in documents],
        "packed": (packed[: len(alone)] - alone).abs().max().item(),  # padding stands last
        "mixed": (mixed[: len(alone)] - alone).abs().max().item(),
    }


def smoothing(trainer: Any) -> dict[str, float]:
    """Return the loss of one batch: the trainer's own, and with labels smoothed by 0.1 and 0."""
    model = trainer.model.eval()
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    with torch.inference_mode():
        model.get_input_embeddings().weight.mul_(50)  # tied: logits far apart, so that it shows
        logits = model(**batch).logits[:, :-1].flatten(0, 1)
        labels = batch["labels"][:, 1:].flatten()
        return {
            "loss": trainer.compute_loss(model, dict(batch)).item(),
            "smoothed": cross_entropy(logits, labels, label_smoothing=0.1).item(),
            "plain": cross_entropy(logits, labels).item(),
        }


def split(batch: dict[str, torch.Tensor]) -> Iterator[Row]:
    """Yield the examples of a batch; in a pack each one starts where positions start again."""
    for index, (ids, labels) in enumerate(zip(batch["input_ids"], batch["labels"], strict=True)):
        if "attention_mask" in batch:
            real = batch["attention_mask"][index].bool()
            yield ids[real].tolist(), labels[real].tolist()
            continue
        starts = (batch["position_ids"][index] == 0).nonzero().flatten().tolist()
        for start, end in zip(starts, [*starts[1:], len(ids)], strict=True):
            if (labels[start:end] != IGNORE_INDEX).any():  # else it is padding
                yield ids[start:end].tolist(), labels[start:end].tolist()


def _bytes(weight: torch.Tensor) -> torch.Tensor:
    """Return the weight's bytes: packed 4-bit weights read as numbers are partly NaN."""
    return weight.detach().contiguous().view(torch.uint8)
