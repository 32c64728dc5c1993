"""Compares the steps of a run with its recipe: learning rates, gradients, examples, tokens.

A limit without a source is this project's choice.
"""

import math
import statistics
from functools import partial

from validation.curves.expected_run import ExpectedRun
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
    logged = [
        (log.step, log.learning_rate) for log in state.training if log.learning_rate is not None
    ]
    if run.other_curve:
        return row(f"not compared: the recipe has {run.other_curve}", "note")
    if not logged:
        return row("nothing is logged yet", "note")
    planned = run.schedule(state.max_steps)
    wrong = [
        (step, rate)
        for step, rate in logged
        if not math.isclose(rate, planned(step), rel_tol=RATE_TOLERANCE)
    ]
    if not wrong:
        return row(f"{len(logged)} of {len(logged)} logged steps")
    step, rate = wrong[0]
    value = (
        f"{rate:.6g} at step {step}, planned {planned(step):.6g}; "
        f"{len(wrong)} of {len(logged)} differ"
    )
    todo = "was the run made from this recipe as it is now, with its peak, warm-up and steps?"
    return row(value, "fail", todo)


def _gradient_norm(state: TrainerState, run: ExpectedRun) -> VerdictRow:
    row = partial(VerdictRow, "gradient norm", expected="finite at each step")
    logged = [(log.step, log.grad_norm) for log in state.training if log.grad_norm is not None]
    if not logged:
        return row("none is logged yet", "note")
    for step, norm in logged:
        if not math.isfinite(norm):
            todo = "lower learning_rate; in fp16 use bf16; look at the rows around that step"
            return row(f"{norm} at step {step}", "fail", todo)
    norms = [norm for _, norm in logged]
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


def _batches(run: ExpectedRun, rows: int) -> tuple[int, int]:
    """The fewest and the most micro batches of a rank in an epoch."""
    fewest, most = (
        max(1, math.ceil(count * run.accumulation / run.examples))
        for count in (rows * (1 - MOST_DROPPED), rows)
    )
    return fewest, most


def _epoch_at(step: int, batches: int, accumulation: int) -> float:
    """The trainer's own count (`Trainer._run_epoch`): the last step of an epoch may be short."""
    whole, before = divmod(max(step - 1, 0), -(-batches // accumulation))
    return whole + min((before + 1) * accumulation, batches) / batches


def _examples(state: TrainerState, run: ExpectedRun) -> VerdictRow:
    row = partial(VerdictRow, "examples per step", expected=f"{run.examples}")
    todo = (
        "the run was made or continued with another batch, or from other rows: compare it with the "
        "recipe"
    )
    if state.train_batch_size not in (None, run.micro):
        value = f"micro batches of {state.train_batch_size}, the recipe's are of {run.micro}"
        return row(value, "fail", todo)
    if run.rows is None:
        return row(f"not known: {run.recipe.training['path']} is not here", "note")
    if not state.training:
        return row("nothing is logged yet", "note")
    if run.packed:
        last = state.training[-1]
        average = run.rows * last.epoch / max(last.step, 1)
        row = partial(
            VerdictRow,
            "examples per step",
            f"{average:.1f} on average",
            expected=f"about {run.examples} (packed; within {PACKED_TOLERANCE:.0%})",
        )
        if abs(average / run.examples - 1) <= PACKED_TOLERANCE:
            return row()
        return row("fail", "set packs_per_step as `cogex preflight` says")
    fewest, most = _batches(run, run.rows)
    for log in state.training:
        low, high = (_epoch_at(log.step, batches, run.accumulation) for batches in (most, fewest))
        if not low * (1 - EPOCH_TOLERANCE) <= log.epoch <= high * (1 + EPOCH_TOLERANCE):
            value = (
                f"epoch {log.epoch:.2f} at step {log.step}, with {run.rows:,} rows it is "
                f"{low:.2f} to {high:.2f}"
            )
            return row(value, "fail", todo)
    steps = -(-most // run.accumulation)
    return row(f"{run.examples}: {run.rows:,} rows in {steps:,} steps an epoch")


def _tokens(state: TrainerState, run: ExpectedRun) -> VerdictRow:
    row = partial(
        VerdictRow,
        "tokens per step",
        expected=f"at most {run.most_tokens:,}, some of them trained",
    )
    logged = [
        (log.step, log.tokens, log.trained_tokens)
        for log in state.training
        if log.tokens is not None and log.trained_tokens is not None
    ]
    if not logged or not logged[-1][0]:
        return row("not logged", "note")
    before = (0, 0, 0)
    for step, tokens, trained in logged:
        steps = step - before[0]
        if steps > 0 and tokens - before[1] > steps * run.most_tokens:
            value = f"{(tokens - before[1]) / steps:,.0f} at step {step}"
            return row(value, "fail", "the batch or sequence_len was larger than the recipe's")
        if steps > 0 and trained == before[2]:
            todo = "no label carries loss there: look at the rows with `cogex inspect`"
            return row(f"none trained up to step {step}", "fail", todo)
        before = (step, tokens, trained)
    step, tokens, trained = before
    return row(f"{tokens / step:,.0f} on average, {trained / step:,.0f} of them trained")


def _epochs(state: TrainerState, run: ExpectedRun) -> VerdictRow:
    limit = f", at most {run.most_steps:,} steps" if run.most_steps else ""
    row = partial(VerdictRow, "epochs", expected=f"{run.epochs:g}{limit}")
    if run.rows is None or not state.training:
        return row(f"not known: {state.max_steps:,} steps", "note")
    least, largest = _batches(run, run.rows)
    slack = PACKED_TOLERANCE if run.packed else 0
    # Axolotl plans ceil(rows x epochs / examples) steps, so the last epoch may end a little early
    share = min(run.epochs / run.accumulation, LARGEST)
    fewest = math.floor(((least - 1) * share + 1) * (1 - slack))
    most = math.ceil(largest * share * (1 + slack))
    if run.most_steps:
        fewest, most = min(fewest, run.most_steps), min(most, run.most_steps)
    epochs = _epoch_at(state.max_steps, largest, run.accumulation)
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
