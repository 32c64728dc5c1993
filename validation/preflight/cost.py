"""What will the run cost: steps, tokens, padding, memory and hours?"""

import math
from typing import Any

from tools.errors import UserError
from tools.recipe import Recipe, whole
from tools.training.batch import on_ranks
from validation.preflight.architecture import Architecture, build
from validation.preflight.batches import Batches, Lengths, batch, kept, padded
from validation.preflight.cards import Card
from validation.preflight.hours import UTILISATION, estimate_hours
from validation.preflight.memory import GIB, estimate
from validation.preflight.schedule import Schedule, schedule
from validation.verdict import Verdict, VerdictRow

ACCUMULATION = "gradient_accumulation_steps"
NEARLY_FULL = 0.9  # of a card's memory: above it the estimate is too rough to rely on


def check_cost(
    recipe: Recipe, lengths: Lengths | None, *, card: Card | None, gpus: int
) -> list[VerdictRow]:
    """Work out the run on `gpus` ranks from the recipe and the token lengths of its training rows.

    Without lengths (no tokenizer was available) memory is estimated for rows of `sequence_len`, and
    nothing else. `card` is None for a recipe that runs on a CPU: memory and hours are
    then not estimated. Raises UserError if a number is malformed.
    """
    try:
        recipe = on_ranks(recipe, gpus)
    except UserError as error:
        return [_row("batch", f"cannot be kept on {gpus}", verdict="fail", todo=str(error))]
    verdicts = [_batch(recipe, gpus)]
    if lengths is None:
        value = "not counted: the lengths of the rows are not known"
        verdicts.append(_row("steps and tokens", value, verdict="note"))
        return verdicts + _memory_and_hours(recipe, None, None, card, gpus)
    rows = kept(recipe, lengths)
    batches = batch(recipe, rows) if len(rows) else None
    if batches is None or not batches.count:
        return [*verdicts, _too_few(recipe, len(lengths), len(rows))]
    run = schedule(recipe, batches, gpus)
    if recipe.values.get("sample_packing"):
        verdicts.append(_packed_examples(recipe, batches, gpus))
    verdicts += [_steps(run), _tokens(batches, run, len(lengths)), _padding(batches)]
    return verdicts + _memory_and_hours(recipe, batches, run, card, gpus)


def _row(
    check: str,
    value: str,
    figures: dict[str, Any] | None = None,
    *,
    verdict: Verdict = "ok",
    todo: str = "",
) -> VerdictRow:
    return VerdictRow(check, value, verdict, todo, figures or {})


def _too_few(recipe: Recipe, rows: int, usable: int) -> VerdictRow:
    return _row(
        "rows",
        f"{usable:,} of {rows:,} rows can be trained on: not one micro batch",
        {"rows": rows, "usable": usable},
        verdict="fail",
        todo=f"raise sequence_len (now {recipe.sequence_len}), or prepare more rows",
    )


def _batch(recipe: Recipe, gpus: int) -> VerdictRow:
    """The batch of an optimizer step, as the plugin will make it."""
    micro, steps = (whole(recipe, key) for key in ("micro_batch_size", ACCUMULATION))
    unit = "packs" if recipe.values.get("sample_packing") else "examples"
    value = (
        f"{micro * steps * gpus} {unit} = {micro} (micro) x {steps} (accumulation) x {gpus} (ranks)"
    )
    return _row("batch", value, {f"{unit}_per_step": micro * steps * gpus, ACCUMULATION: steps})


def _packed_examples(recipe: Recipe, batches: Batches, gpus: int) -> VerdictRow:
    """With packing, the mean examples of a step are as near `examples_per_step` as they can be."""
    wanted, packs = whole(recipe, "examples_per_step"), whole(recipe, "packs_per_step")
    unit = whole(recipe, "micro_batch_size") * gpus  # by which packs_per_step can change
    a_unit = batches.examples * gpus / batches.count

    def miss(units: int) -> float:
        return abs(units * a_unit - wanted)

    lower = max(1, math.floor(wanted / a_unit))
    nearest = min(packs // unit, lower, lower + 1, key=miss)
    found = packs / unit * a_unit
    value = f"{found:.1f} on average = {found / packs:.2f} (in a pack) x {packs} (packs)"
    figures = {"examples_per_step": found, "packs_per_step": nearest * unit}
    if nearest == packs // unit:
        return _row("examples per step", value, figures)
    value += f"; the recipe asks for {wanted}"
    todo = f"set packs_per_step to {nearest * unit}, which gives {nearest * a_unit:.1f}"
    return _row("examples per step", value, figures, verdict="fail", todo=todo)


def _steps(run: Schedule) -> VerdictRow:
    value = (
        f"{run.steps_per_epoch:,} in an epoch, {run.steps:,} in all ({run.epochs:.2f} epochs), "
        f"{run.warmup:,} of them warm-up"
    )
    return _row("steps", value, {**vars(run), "epochs": run.epochs})


def _tokens(batches: Batches, run: Schedule, rows: int) -> VerdictRow:
    dropped = rows - batches.rows
    value = f"{batches.example_tokens:,} in {batches.examples:,} examples an epoch" + (
        f"; {dropped:,} of {rows:,} rows dropped for their length" * bool(dropped)
    )
    figures = {
        "rows": rows,
        "dropped": dropped,
        "examples_per_epoch": batches.examples,
        "tokens_per_epoch": batches.example_tokens,
        "examples": round(batches.examples * run.epochs),
    }
    return _row("tokens", value, figures)


def _padding(batches: Batches) -> VerdictRow:
    value = f"{batches.padding:.1%} of the tokens that are computed"
    return _row("padding", value, {"padding": batches.padding, "padded_tokens": batches.tokens})


def _memory_and_hours(
    recipe: Recipe, batches: Batches | None, run: Schedule | None, card: Card | None, gpus: int
) -> list[VerdictRow]:
    """Memory and hours, or why they are not estimated."""
    if card is None:
        return _not_estimated("for a CPU")
    if recipe.adapter is None:
        return _not_estimated("where the whole model is trained")
    try:
        built = build(recipe)
    except UserError:  # it is the model section that says why
        return _not_estimated("for a model that cannot be built")
    memory = _memory(recipe, built, batches, card, gpus)
    if batches is None or run is None:
        return [memory, _row("hours", "not estimated: tokens not counted", verdict="note")]
    if not card.bf16_tflops:
        value = "not estimated: the card's speed is not known; name it with --gpu"
        return [memory, _row("hours", value, verdict="note")]
    return [memory, _hours(recipe, built, batches, run, card, gpus)]


def _not_estimated(what: str) -> list[VerdictRow]:
    value = f"not estimated {what}"
    return [_row(check, value, verdict="note") for check in ("GPU memory", "hours")]


def _memory(
    recipe: Recipe, built: Architecture, batches: Batches | None, card: Card, gpus: int
) -> VerdictRow:
    micro, row = whole(recipe, "micro_batch_size"), padded(recipe, recipe.sequence_len)
    need = estimate(
        recipe,
        built,
        tokens=batches.longest if batches else micro * row,
        eval_tokens=whole(recipe, "eval_batch_size", micro) * row,
        gpus=gpus,
    )
    parts = {name: size / GIB for name, size in vars(need).items()}
    total = need.total / GIB
    value = f"{total:.1f} of {card.memory_gib:g} GiB on each {card.name}, estimated: " + ", ".join(
        f"{name} {size:.1f}" for name, size in parts.items()
    )
    figures = {"total_gib": total, "card_gib": card.memory_gib, "parts_gib": parts}
    if total > card.memory_gib:
        todo = (
            "lower micro_batch_size (and eval_batch_size), "
            "shard with zero3.json, take the qlora recipe, or a larger card"
        )
        return _row("GPU memory", value, figures, verdict="fail", todo=todo)
    nearly = total > NEARLY_FULL * card.memory_gib
    return _row("GPU memory", value, figures, verdict="note" if nearly else "ok")


def _hours(
    recipe: Recipe, built: Architecture, batches: Batches, run: Schedule, card: Card, gpus: int
) -> VerdictRow:
    hours = estimate_hours(recipe, built, batches, run.epochs, card, gpus)
    value = (
        f"about {hours:.1f} on {gpus} x {card.name}, estimated from the paper's run times "
        f"({UTILISATION:.0%} of the card's bf16 throughput)"
    )
    return _row("hours", value, {"hours": hours, "utilisation": UTILISATION})
