"""Judges the losses that the trainer logged: nats per trained token, means of batches.

A limit without a source is this project's choice.
"""

import math
import statistics
from collections.abc import Sequence
from functools import partial

from validation.curves.trainer_state import Evaluation, TrainerState, TrainingLog
from validation.verdict import VerdictRow

MOST_LOSS = 100.0  # nats per token; guessing among 128,000 tokens costs 12
FEWEST_LOGS = 10  # below it a curve is not judged
LEAST_FALL = 0.05  # of the training loss, first to last tenth
MOST_RISE = 1.5  # last tenth of the training loss over the lowest tenth
SPIKE = 1.5  # times the running median, and SPIKE_DEVIATIONS above it
SPIKE_DEVIATIONS = 8
SPIKE_WINDOW, SPIKE_HISTORY = 20, 5  # logs before, at most and at least
MOST_GAP = 5.0  # validation loss over training loss
MOST_OVERFIT = 0.10  # rise of the validation loss above its lowest

NORMAL = 1.4826  # times the median absolute deviation is the standard one, for normal noise


def judge_losses(state: TrainerState) -> list[VerdictRow]:
    """Judge training and validation losses; every check has its row, always in this order."""
    return [
        _losses(state),
        _training_loss(state),
        _spikes(state),
        _validation(state),
        _overfitting(state),
        _base(state),
    ]


def usable(loss: float) -> bool:
    """Whether a logged loss is a possible cross-entropy.

    0 is not: transformers logs 0 in place of NaN (`logging_nan_inf_filter`).
    """
    return 0 < loss < MOST_LOSS


def lowest_evaluation(state: TrainerState) -> Evaluation | None:
    """The evaluation with the lowest loss, the earliest of equals; None if none is usable."""
    return min(_evaluations(state), key=lambda evaluation: evaluation.loss, default=None)


def _training(state: TrainerState) -> list[TrainingLog]:
    return [log for log in state.training if usable(log.loss)]


def _evaluations(state: TrainerState) -> list[Evaluation]:
    return [evaluation for evaluation in state.evaluations if usable(evaluation.loss)]


def _losses(state: TrainerState) -> VerdictRow:
    row = partial(VerdictRow, "losses", expected=f"all above 0 and below {MOST_LOSS:g}")
    logs: list[TrainingLog | Evaluation] = [*state.training, *state.evaluations]
    if not logs:
        return row("nothing is logged yet", "note")
    bad = sorted((log for log in logs if not usable(log.loss)), key=lambda log: log.step)
    if not bad:
        return row(f"{len(logs)} of {len(logs)}")
    value = f"{bad[0].loss:g} at step {bad[0].step}; {len(bad)} of {len(logs)} in all"
    todo = (
        "lower learning_rate, look for rows without a trained token, and start again from a "
        "checkpoint before that step (a logged 0 means NaN)"
    )
    return row(value, "fail", todo)


def _tenths(state: TrainerState) -> list[float]:
    """The mean loss of each tenth of the logs, in order; empty if there are too few logs."""
    losses = [log.loss for log in _training(state)]
    if len(losses) < FEWEST_LOGS:
        return []
    size = len(losses) // 10
    starts = [*range(0, len(losses) - size, size), len(losses) - size]
    return [statistics.fmean(losses[start : start + size]) for start in starts]


def _training_loss(state: TrainerState) -> VerdictRow:
    expected = (
        f"last tenth at least {LEAST_FALL:.0%} below the first, at most {MOST_RISE} x the lowest"
    )
    row = partial(VerdictRow, "training loss", expected=expected)
    tenths = _tenths(state)
    if not tenths:
        return row(_too_few(state), "note")
    first, last, lowest = tenths[0], tenths[-1], min(tenths)
    value = f"{first:.4f} -> {last:.4f} ({last / first - 1:+.1%})"
    if last > MOST_RISE * lowest:
        todo = "training diverges: lower learning_rate, or lengthen the warm-up"
        return row(f"{value}, lowest {lowest:.4f}", "fail", todo)
    if not _fell(tenths):
        todo = (
            "it is flat from the first step on: is learning_rate high enough, and does the adapter "
            "train? `cogex inspect` shows which tokens carry loss"
        )
        return row(value, "fail", todo)
    return row(value)


def _fell(tenths: list[float]) -> bool:
    return bool(tenths) and tenths[-1] <= (1 - LEAST_FALL) * tenths[0]


def _too_few(state: TrainerState) -> str:
    return f"{len(_training(state))} losses, {FEWEST_LOGS} are needed"


def _spikes(state: TrainerState) -> VerdictRow:
    expected = (
        f"at most {SPIKE} x the median of the {SPIKE_WINDOW} logs before, or within "
        f"{SPIKE_DEVIATIONS} deviations of it"
    )
    row = partial(VerdictRow, "spikes", expected=expected)
    logs = _training(state)
    if len(logs) < FEWEST_LOGS:
        return row(_too_few(state), "note")
    found, highest = [], 0.0
    for index in range(SPIKE_HISTORY, len(logs)):
        before = [log.loss for log in logs[max(0, index - SPIKE_WINDOW) : index]]
        median = statistics.median(before)
        deviation = NORMAL * statistics.median(abs(loss - median) for loss in before)
        highest = max(highest, logs[index].loss / median)
        if logs[index].loss > max(SPIKE * median, median + SPIKE_DEVIATIONS * deviation):
            found.append((logs[index], median))
    if not found:
        return row(f"highest {highest:.2f} x the median")
    log, median = found[0]
    value = f"{log.loss:.4f} at step {log.step}, median {median:.4f}; {len(found)} in all"
    todo = "look at the rows around that step; lower learning_rate or max_grad_norm if it recurs"
    return row(value, "fail", todo)


def _training_before(
    state: TrainerState, evaluations: Sequence[Evaluation], index: int
) -> float | None:
    """The mean training loss since the evaluation before this one; None if none is logged."""
    start = evaluations[index - 1].step if index else 0
    end = evaluations[index].step
    losses = [log.loss for log in _training(state) if start < log.step <= end]
    return statistics.fmean(losses) if losses else None


def _validation(state: TrainerState) -> VerdictRow:
    row = partial(
        VerdictRow,
        "validation",
        expected=f"lowest below the base's, last at most {MOST_GAP:g} x the training loss",
    )
    evaluations = _evaluations(state)
    training = _training_before(state, evaluations, len(evaluations) - 1) if evaluations else None
    if training is None:
        return row("no evaluation to compare with training yet", "note")
    last = evaluations[-1].loss
    value = f"{last:.4f}, training {training:.4f} ({last / training:.2f} x)"
    todo = (
        "training rows reveal their labels, are memorised, or differ in kind from the "
        "validation rows: compare both with `cogex inspect`"
    )
    base = state.base.loss if state.base else math.inf
    lowest = min(evaluation.loss for evaluation in evaluations if evaluation.step > 0)
    if lowest >= base and _fell(_tenths(state)):
        value += f", never below the base's {base:.4f} while training fell"
        return row(value, "fail", todo)
    if last > MOST_GAP * training:
        return row(value, "fail", todo)
    return row(value)


def _overfitting(state: TrainerState) -> VerdictRow:
    row = partial(
        VerdictRow,
        "overfitting",
        expected=f"validation at most {MOST_OVERFIT:.0%} above its lowest while training falls",
    )
    evaluations = _evaluations(state)
    if len(evaluations) < 3:
        return row(f"{len(evaluations)} evaluations, 3 are needed", "note")
    losses = [evaluation.loss for evaluation in evaluations]
    index = losses.index(min(losses))
    rise = losses[-1] / losses[index] - 1
    begins = f"epoch {evaluations[index].epoch:.2f}"
    if rise <= MOST_OVERFIT:
        return row(f"lowest at {begins}, {rise:+.1%} since")
    value = f"{rise:+.1%} since {begins}"
    then = _training_before(state, evaluations, index)
    now = _training_before(state, evaluations, len(evaluations) - 1)
    if then is not None and now is not None and now >= then:
        return row(f"{value}, and training does not fall either", "note")
    todo = (
        f"overfitting begins at {begins}: `cogex select` takes the checkpoint there; train fewer "
        "epochs, or on more rows"
    )
    return row(value, "fail", todo)


def _base(state: TrainerState) -> VerdictRow:
    row = partial(VerdictRow, "base before training", expected="evaluated at step 0")
    if state.base is None and not state.global_step:  # it is on its way
        return row("not evaluated yet", "note")
    if state.base is None or not usable(state.base.loss):
        todo = "set evals_per_epoch or eval_steps: the engine then evaluates before step 1 too"
        return row("not evaluated", "note", todo)
    return row(f"perplexity {math.exp(state.base.loss):.5g} (mean of batches)")
