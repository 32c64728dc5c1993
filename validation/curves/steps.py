"""Compares the steps of a run with its recipe: learning rates, gradients, examples, tokens.

A limit without a source is this project's choice.
"""

import math
import statistics
from dataclasses import dataclass
from functools import partial

from validation.curves.expected_run import ExpectedRun, Schedule, cosine
from validation.curves.trainer_state import TrainerState
from validation.verdict import VerdictRow

RATE_TOLERANCE = 1e-6  # relative
EPOCH_TOLERANCE = 1e-6  # relative
MOST_DROPPED = 0.05  # of the rows: Axolotl drops those over sequence_len
PACKED_TOLERANCE = 0.25  # a pack holds more or fewer rows
LARGEST = 2**53  # above it a float holds no exact count


def judge_steps(state: TrainerState, run: ExpectedRun) -> list[VerdictRow]:
    """Compare a run with its recipe; every check has its row, always in this order."""
    return [
        _learning_rate(state, run),
        _gradient_norm(state, run),
        _logged_steps(state),
        _examples(state, run),
        _tokens(state, run),
        _epochs(state, run),
        _finished(state),
    ]


def _learning_rate(state: TrainerState, run: ExpectedRun) -> VerdictRow:
    row = partial(
        VerdictRow,
        "learning rate",
        expected=f"warm-up and cosine of the recipe within {RATE_TOLERANCE:g} at each step",
    )
    logs = [log for log in state.training if log.learning_rate is not None]
    if run.other_curve:
        return row(f"not compared: the recipe has {run.other_curve}", "note")
    if not logs:
        return row("nothing is logged yet", "note")
    steps = [log.step for log in logs]
    rates = [log.learning_rate or 0.0 for log in logs]
    schedule = run.schedule(state.max_steps)
    wrong = [i for i, step in enumerate(steps) if not _close(rates[i], schedule(step))]
    if not wrong:
        return row(f"{len(logs)} of {len(logs)} logged steps")
    first = wrong[0]
    value = (
        f"{rates[first]:.6g} at step {steps[first]}, planned {schedule(steps[first]):.6g}; "
        f"{len(wrong)} of {len(logs)} differ"
    )
    return row(value, "fail", _explain_rates(steps, rates, state, run))


def _close(rate: float, planned: float) -> bool:
    return math.isclose(rate, planned, rel_tol=RATE_TOLERANCE)


def _follow(steps: list[int], rates: list[float], schedule: Schedule) -> bool:
    return all(_close(rate, schedule(step)) for step, rate in zip(steps, rates, strict=True))


def _explain_rates(
    steps: list[int], rates: list[float], state: TrainerState, run: ExpectedRun
) -> str:
    """Say how the learning rates differ from the planned ones."""
    schedule = run.schedule(state.max_steps)
    highest = max(range(len(rates)), key=lambda i: schedule(steps[i]))
    planned = schedule(steps[highest])
    scale = rates[highest] / planned if planned else math.nan
    if len(rates) > 1 and len(set(rates)) == 1:
        cause = "it is constant"
    elif _follow(steps, rates, cosine(run.peak, 0, state.max_steps)):
        cause = "the warm-up was left out"
    elif _follow(steps, rates, lambda step: scale * schedule(step)):
        cause = f"its peak is {scale * run.peak:g}, the recipe's {run.peak:g}"
    else:
        cause = "it follows another schedule, or the run was restarted with one"
    return f"{cause}: was the run made from this recipe as it is now?"


def _gradient_norm(state: TrainerState, run: ExpectedRun) -> VerdictRow:
    row = partial(VerdictRow, "gradient norm", expected="finite at each step")
    logs = [log for log in state.training if log.grad_norm is not None]
    norms = [log.grad_norm or 0.0 for log in logs]
    if not norms:
        return row("none is logged yet", "note")
    for log, norm in zip(logs, norms, strict=True):
        if not math.isfinite(norm):
            todo = "lower learning_rate; in fp16 use bf16; look at the rows around that step"
            return row(f"{norm} at step {log.step}", "fail", todo)
    value = f"median {statistics.median(norms):.3g}, highest {max(norms):.3g}"
    if max(norms) == 0:
        return row(value, "note", "no gradient reaches the trained weights")
    if 0 < run.max_grad_norm < min(norms):
        todo = f"every step is clipped to {run.max_grad_norm:g}, which lowers the effective rate"
        return row(value, "note", todo)
    return row(value)


def _logged_steps(state: TrainerState) -> VerdictRow:
    every, previous, faults = state.logging_steps, 0, []
    for step in [log.step for log in state.training]:
        if step <= previous:
            faults.append(f"step {step} comes after step {previous}")
        elif step > _next_log(previous, every):
            faults.append(f"nothing between step {previous} and {step}")
        previous = step
    if previous > state.global_step:
        faults.append(f"step {previous} is logged, the run is at {state.global_step}")
    elif state.global_step >= _next_log(previous, every):
        faults.append(f"nothing between step {previous} and {state.global_step}")
    row = partial(VerdictRow, "logged steps", expected=f"one every {every}, in order")
    if not faults and not state.training:
        return row("nothing is logged yet", "note")
    if not faults:
        return row(f"{len(state.training)} logs up to step {previous}")
    value = faults[0] + (f"; {len(faults)} such places" if len(faults) > 1 else "")
    todo = "the run was restarted and part of its log is missing: the verdicts cover the rest"
    return row(value, "fail", todo)


def _next_log(step: int, every: int) -> int:
    return (step // every + 1) * every


@dataclass(frozen=True)
class _Pace:
    """How fast a run goes through its rows, from the epochs that it logged."""

    batches: int  # micro batches of a rank in one epoch
    odd_step: int | None  # the first that is not at that pace


def _pace(state: TrainerState, run: ExpectedRun) -> _Pace | None:
    start = next((log for log in state.training if log.step and log.epoch > 0), None)
    if start is None:
        return None
    middle = min(run.accumulation * start.step / start.epoch, LARGEST)
    span = min(run.accumulation, 64)  # where an epoch had passed, its last step may be shorter
    candidates = [round(middle), *range(int(middle) - span, int(middle) + span + 1)]
    if run.rows is not None:
        candidates.insert(0, _planned_batches(run, run.rows))
    paces = [_fit(state, max(count, 1), run.accumulation) for count in candidates]
    return max(paces, key=lambda pace: math.inf if pace.odd_step is None else pace.odd_step)


def _fit(state: TrainerState, batches: int, accumulation: int) -> _Pace:
    for log in state.training:
        epoch = _epoch_at(log.step, batches, accumulation)
        if not math.isclose(log.epoch, epoch, rel_tol=EPOCH_TOLERANCE):
            return _Pace(batches, log.step)
    return _Pace(batches, None)


def _epoch_at(step: int, batches: int, accumulation: int) -> float:
    """The trainer's own count (`Trainer._run_epoch`): the last step of an epoch may be short."""
    whole, before = divmod(max(step - 1, 0), -(-batches // accumulation))
    return whole + min((before + 1) * accumulation, batches) / batches


def _planned_batches(run: ExpectedRun, rows: float) -> int:
    return math.ceil(rows * run.accumulation / run.examples)


def _examples(state: TrainerState, run: ExpectedRun) -> VerdictRow:
    row = partial(VerdictRow, "examples per step", expected=f"{run.examples}")
    todo = "the run was made with another batch, or from other rows: compare it with the recipe"
    if state.train_batch_size not in (None, run.micro):
        value = f"micro batches of {state.train_batch_size}, the recipe's are of {run.micro}"
        return row(value, "fail", todo)
    if run.rows is None:
        value = f"not known: {run.recipe.training['path']} is not here"
        return row(value, "note")
    pace = _pace(state, run)
    if pace is None:
        return row("nothing is logged yet", "note")
    if run.packed:
        return _packed_examples(state, run, run.rows)
    fewest = _planned_batches(run, run.rows * (1 - MOST_DROPPED))
    most = _planned_batches(run, run.rows)
    steps = -(-pace.batches // run.accumulation)
    value = f"{run.rows:,} rows in {steps:,} steps an epoch"
    if pace.odd_step is not None:
        todo = "the run was restarted with another batch or other rows: train it again"
        return row(f"{value} up to step {pace.odd_step}", "fail", todo)
    if not fewest <= pace.batches <= most:
        average = run.rows * run.accumulation / pace.batches
        return row(f"about {average:.1f}: {value}", "fail", todo)
    return row(f"{run.examples}: {value}")


def _packed_examples(state: TrainerState, run: ExpectedRun, rows: int) -> VerdictRow:
    last = state.training[-1]
    average = rows * last.epoch / max(last.step, 1)
    expected = f"about {run.examples} (packed; within {PACKED_TOLERANCE:.0%})"
    held = abs(average / run.examples - 1) <= PACKED_TOLERANCE
    todo = "" if held else "set packs_per_step as `cogex preflight` says"
    value = f"{average:.1f} on average"
    row = partial(VerdictRow, "examples per step", expected=expected)
    return row(value, "ok" if held else "fail", todo)


def _tokens(state: TrainerState, run: ExpectedRun) -> VerdictRow:
    row = partial(
        VerdictRow,
        "tokens per step",
        expected=f"at most {run.most_tokens:,}, some of them trained",
    )
    logs = [log for log in state.training if None not in (log.tokens, log.trained_tokens)]
    if not logs or not logs[-1].step:
        return row("not logged", "note")
    previous = (0, 0, 0)
    for log in logs:
        step, tokens, trained = log.step, log.tokens or 0, log.trained_tokens or 0
        steps = step - previous[0]
        if steps > 0 and tokens - previous[1] > steps * run.most_tokens:
            value = f"{(tokens - previous[1]) / steps:,.0f} at step {step}"
            todo = "the batch or sequence_len was larger than the recipe's"
            return row(value, "fail", todo)
        if steps > 0 and trained == previous[2]:
            todo = "no label carries loss there: look at the rows with `cogex inspect`"
            return row(f"none trained up to step {step}", "fail", todo)
        previous = (step, tokens, trained)
    step, tokens, trained = previous
    value = f"{tokens / step:,.0f} on average, {trained / step:,.0f} of them trained"
    return row(value)


def _epochs(state: TrainerState, run: ExpectedRun) -> VerdictRow:
    limit = f", at most {run.most_steps:,} steps" if run.most_steps else ""
    row = partial(VerdictRow, "epochs", expected=f"{run.epochs:g}{limit}")
    pace = _pace(state, run)
    if pace is None or pace.odd_step is not None:
        return row(f"not known: {state.max_steps:,} steps", "note")
    # Axolotl plans ceil(rows x epochs / examples) steps, so the last epoch may end a little early
    share = min(run.epochs / run.accumulation, LARGEST)
    steps = math.floor((pace.batches - 1) * share) + 1, math.ceil(pace.batches * share)
    if run.packed:
        steps = math.floor(steps[0] * (1 - PACKED_TOLERANCE)), steps[1]
    fewest, most = (min(count, run.most_steps or count) for count in steps)
    epochs = _epoch_at(state.max_steps, pace.batches, run.accumulation)
    value = f"{epochs:.2f} in {state.max_steps:,} steps"
    if fewest <= state.max_steps <= most:
        return row(value)
    todo = f"planned are {fewest:,} to {most:,} steps: was num_epochs or the data changed?"
    return row(value, "fail", todo)


def _finished(state: TrainerState) -> VerdictRow:
    done, steps = state.global_step, state.max_steps
    value = f"step {done:,} of {steps:,} ({done / steps:.0%})"
    row = partial(VerdictRow, "finished", value, expected=f"step {steps:,}")
    return row() if done >= steps else row("note", "training is under way, or was stopped there")
