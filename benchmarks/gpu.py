"""Measures training with random weights, on one GPU or on a CPU: speed, memory, hours.

    python -m benchmarks.gpu --out outputs/gpu [--models 7b,13b,8b] [--variants faithful,packed]
                             [--steps 20] [--minutes 9]

Nothing is downloaded. Configs come from models/architectures.yml, tokenizers are real ones of the
same kind, and the rows are `benchmarks.made_cogex`. Weights are drawn on the GPU and written to
OUT/MODEL, for one model at a time to save disk. DeepSpeed is not needed. The project's plugin is
left out, because it hashes the base before each run. Variants, each in its own process:

- faithful: the recipe on one GPU, with sdpa and Axolotl's LoRA kernels, which are on by default
- kernels-off: without these kernels
- flash: attn_implementation flash_attention_2, if the flash_attn package is installed
- packed: with the other values of cogex-llama2-7b-packed.yml; packed-flash: both
- kept: activations are kept, as in packed; packed-again: packed, with activations recomputed
- trl: TRL's SFTTrainer with the same values, rows at random; trl-ordered: in the recipe's order

A variant that fails is a row with its reason. Each row is written to OUT/results.jsonl at once and
is not measured again, so a long list can be spread over several calls: `--minutes` ends a call.
OUT/table.md is written again each time. Two models are for a CPU: `small` is large
enough to compare the variants; `tiny` only shows that everything works.
"""

import importlib.util
import itertools
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from benchmarks import short_runs
from benchmarks.made_llama import llama3_tokenizer
from benchmarks.meter import rates
from benchmarks.short_runs import RunFailed
from tests import real_tokenizers
from tests.engine import tiny_bases
from tests.engine.cpu_overrides import overrides
from tools.files import write_json
from tools.prepare.cogex import prepare_cogex
from tools.recipe import Recipe, read_recipe
from tools.training.batch import accumulation
from validation.preflight.architecture import build, published
from validation.preflight.batches import Batches
from validation.preflight.hours import epoch_operations
from validation.preflight.memory import GIB, estimate, is_checkpointed

EPOCHS, ROWS = 5, 50_000  # of the paper's runs
SKIPPED = 2  # steps at the start that are not timed, if more than as many are left
TINY = {
    "vocab_size": 2_304, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 4,
}  # fmt: skip
SMALL = {
    "hidden_size": 512, "intermediate_size": 1_376, "num_hidden_layers": 4,
    "num_attention_heads": 8, "num_key_value_heads": 8,
}  # fmt: skip
FLASH = {"attn_implementation": "flash_attention_2"}

Row = dict[str, Any]


@dataclass(frozen=True)
class Model:
    """A model to measure: its recipe, what writes its tokenizer, and its smaller dimensions."""

    recipe: str
    tokenizer: Callable[[Path], Any]
    cut: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """One way to train: the contestant of benchmarks.training_run, and the keys that it changes."""

    contestant: str
    order: tuple[str, ...] = ()
    changes: dict[str, Any] = field(default_factory=dict)


MODELS = {
    "7b": Model("cogex-llama2-7b.yml", real_tokenizers.build_llama2_hub),
    "13b": Model("cogex-llama2-13b.yml", real_tokenizers.build_llama2_hub),
    "8b": Model("cogex-llama3.1-8b.yml", llama3_tokenizer),
    "small": Model("cogex-llama2-7b.yml", real_tokenizers.build_llama2_hub, SMALL),
    "tiny": Model("cogex-llama2-7b.yml", tiny_bases.llama2_tokenizer, TINY),
}
VARIANTS = {
    "faithful": Variant("axolotl"),
    "packed": Variant("axolotl", changes=short_runs.packed()),
    "trl": Variant("trl", ("random",)),
    "trl-ordered": Variant("trl", ("sequential",)),
    # if one of them is set, Axolotl turns none on by default
    "kernels-off": Variant("axolotl", changes={"lora_qkv_kernel": False}),
    "flash": Variant("axolotl", changes=FLASH),
    "packed-flash": Variant("axolotl", changes=short_runs.packed() | FLASH),
    "kept": Variant("axolotl", changes=short_runs.KEPT),
    "packed-again": Variant("axolotl", changes=short_runs.packed() | short_runs.AGAIN),
}


def main(
    out: Annotated[Path, typer.Option(help="Folder for results, logs and weights.")],
    models: Annotated[str, typer.Option(help=f"Of {', '.join(MODELS)}.")] = "7b,13b,8b",
    variants: Annotated[str, typer.Option(help="Which ones.")] = ",".join(VARIANTS),
    steps: Annotated[int, typer.Option(help="Optimizer steps of about 32 examples.")] = 20,
    minutes: Annotated[float, typer.Option(help="No run takes longer than this.")] = 9,
    limit: Annotated[float, typer.Option(help="Seconds for each variant.")] = 300,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write the results here.")
    ] = None,
) -> None:
    """Measure what is not in the results yet, until the time is up."""
    end = time.monotonic() + minutes * 60
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    about = out / "card.json"
    short_runs.run_module(
        ["benchmarks.gpu_parts", "card", str(about)], out / "card.log", about, 120
    )
    card = json.loads(about.read_text())
    results = out / "results.jsonl"
    for name, variant in itertools.product(models.split(","), variants.split(",")):
        key = {"card": card["card"], "model": name, "variant": variant, "steps": steps}
        if any(key.items() <= row.items() for row in _read(results)):
            continue
        try:
            row = measure(out / name, MODELS[name], variant, steps, limit, end, card)
        except RunFailed as failed:
            row = {"reason": str(failed)}
        if time.monotonic() > end:
            print(f"{name} {variant}: no time left; the same command continues from here")
            break
        with results.open("a") as file:
            file.write(json.dumps(key | {"versions": card["versions"]} | row) + "\n")
        print(json.dumps(key | row), flush=True)
    mine = [row for row in _read(results) if row["card"] == card["card"]]
    table = markdown(card, mine)
    (out / "table.md").write_text(table)
    Console().print(table)
    if json_path:
        write_json(json_path, {"figures": {f"{r['model']} {r['variant']}": r for r in mine}})


def measure(
    folder: Path, model: Model, variant: str, steps: int, limit: float, end: float, card: Row
) -> Row:
    """Run one variant and return its figures. Raises RunFailed."""
    way = VARIANTS[variant]
    if way.changes.get("attn_implementation") and importlib.util.find_spec("flash_attn") is None:
        raise RunFailed("flash_attn is not installed")

    def left() -> float:
        return max(1, min(limit, end - time.monotonic()))

    mean_tokens = prepare(folder, model, steps, left())
    source = read_recipe(short_runs.RECIPES / model.recipe)
    recipe = short_runs.write_recipe(
        folder / f"{variant}.yml", source, folder / f"steps-{steps}.jsonl",
        _on_one_device(source, folder) | {"max_steps": steps} | way.changes,
    )  # fmt: skip
    report = short_runs.run(way.contestant, recipe, *way.order, timeout=left())
    return figures(recipe, report, mean_tokens, card)


def prepare(folder: Path, model: Model, steps: int, limit: float) -> float:
    """Make missing weights, tokenizer and rows; return the mean tokens of a row."""
    source = read_recipe(short_runs.RECIPES / model.recipe)
    folder.mkdir(exist_ok=True)
    if not (folder / "base" / "done").exists():
        for other in MODELS:
            shutil.rmtree(folder.with_name(other) / "base", ignore_errors=True)
        make_base(folder, source.base_model, model, limit)
    known = folder / f"steps-{steps}.json"
    if not known.exists():
        if model.cut is TINY:
            prepare_cogex(short_runs.ROOT / "data/sample/data.json", folder / "data", val_size=4)
            data = folder / "data" / "train.jsonl"
        else:
            data = short_runs.make_rows(folder)
        changes = _on_one_device(source, folder)
        epoch = short_runs.write_recipe(folder / "epoch.yml", source, data, changes)
        mean = short_runs.sample_steps(epoch, steps, folder / f"steps-{steps}.jsonl")
        write_json(known, {"mean_tokens": mean})
    return json.loads(known.read_text())["mean_tokens"]


def make_base(folder: Path, hub: str, model: Model, limit: float) -> None:
    """Write a model folder: tokenizer, config, and weights that a process draws on the GPU."""
    base = folder / "base"
    base.mkdir()
    model.tokenizer(base)
    config = (published(hub) or {})["config"] | model.cut
    command = ["benchmarks.gpu_parts", "base", json.dumps(config), str(base)]
    short_runs.run_module(command, folder / "base.log", base / "done", limit)


def figures(recipe: Recipe, report: Row, mean_tokens: float, card: Row) -> Row:
    """Turn the report of a run into a row of the table."""
    steps = report["steps"]
    skipped = min(SKIPPED, (len(steps) - 1) // 2)
    rate, built = rates(steps, skipped), build(recipe)
    timed = {key: sum(step[key] for step in steps[skipped:]) for key in steps[0]}
    batches = Batches(
        rows=timed["examples"], count=len(steps) - skipped, examples=timed["examples"],
        example_tokens=timed["tokens"], tokens=timed["computed"],
        longest=max(step["largest"] for step in steps), pairs=timed["pairs"],
    )  # fmt: skip
    operations = epoch_operations(built, batches, checkpointing=is_checkpointed(recipe))
    tflops = operations / timed["seconds"] / 1e12
    need = estimate(recipe, built, tokens=batches.longest, eval_tokens=0, gpus=1)
    return vars(rate) | {
        "tflops": tflops,
        "share_of_matrix_rate": tflops / card["matrix_tflops"],
        "memory_gib": report["memory"],
        "preflight_gib": need.total / GIB,
        "hours": EPOCHS * ROWS * mean_tokens / rate.tokens_per_second / 3600,
        "losses": [step["loss"] for step in steps],
        "grad_norms": [step["grad_norm"] for step in steps],
    }


def markdown(card: Row, rows: list[Row]) -> str:
    """Return the table, with what it was measured on above it."""
    versions = ", ".join(f"{name} {version}" for name, version in card["versions"].items())
    lines = [
        f"{card['card']}, matrix products at {card['matrix_tflops']:.3g} TFLOP/s; {versions}",
        "",
        "| model | variant | useful tokens/s | times TRL | tokens per CPU second "
        "| TFLOP/s | of the matrix rate | padding "
        "| peak memory, GiB: allocated, reserved | preflight's estimate "
        f"| hours of {EPOCHS} x {ROWS:,} rows | loss, first and last |",
        "|" + 12 * "---|",
    ]
    for row in rows:
        name = f"| {row['model']} | {row['variant']} "
        if "reason" in row:
            lines.append(name + f"| {row['reason']} |" + " |" * 9)
            continue
        trl = [
            other["tokens_per_second"] for other in rows if "reason" not in other
            and other["variant"] == "trl"
            and all(other[key] == row[key] for key in ("model", "steps"))
        ]  # fmt: skip
        times = f"{row['tokens_per_second'] / trl[0]:.2f}" if trl else "-"
        peak = ", ".join(f"{row['memory_gib'][key]:.1f}" for key in ("allocated", "reserved")
                         if row["memory_gib"]) or "-"  # fmt: skip
        lines.append(
            name + f"| {row['tokens_per_second']:,.0f} | {times} "
            f"| {row['tokens_per_cpu_second']:,.0f} | {row['tflops']:.3g} "
            f"| {row['share_of_matrix_rate']:.0%} | {row['padding']:.1%} | {peak} "
            f"| {row['preflight_gib']:.1f} | {row['hours']:.1f} "
            f"| {row['losses'][0]:.4f}, {row['losses'][-1]:.4f} |"
        )
    return "\n".join(lines) + "\n"


def _on_one_device(source: Recipe, folder: Path) -> dict[str, Any]:
    """What changes on one GPU, or on none: as many examples make a step as elsewhere."""
    changes = {
        "deepspeed": None,
        "gradient_accumulation_steps": accumulation(source, 1),
    }
    if not torch.cuda.is_available():
        changes |= overrides(source)
    return changes | {"base_model": str(folder / "base"), "plugins": []}


def _read(results: Path) -> list[Row]:
    lines = results.read_text().splitlines() if results.exists() else []
    return [json.loads(line) for line in lines]


if __name__ == "__main__":
    typer.run(main)
