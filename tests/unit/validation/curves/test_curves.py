"""A healthy run passes every check, and each planted fault fails its own and no other."""

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from rich.live import Live
from transformers import get_cosine_schedule_with_warmup

from tests.unit.recorded_run import RecordedRun
from tools.errors import UserError
from validation.curves.curves import _show, curves, drawn, follow, print_curves
from validation.curves.expected_run import expected_run

Plant = Callable[[RecordedRun], Any]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RecordedRun:
    monkeypatch.chdir(tmp_path)
    return RecordedRun(tmp_path)


def rates(peak: float, warmup: int, steps: int) -> list[float]:
    """The learning rates that a real scheduler gives, step by step; index 0 is step 1."""
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    scheduler = get_cosine_schedule_with_warmup(optimizer, warmup, steps)
    made = []
    for _ in range(steps):
        made.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return made


def test_a_healthy_run_passes_every_check(run: RecordedRun) -> None:
    result = curves(run.write())
    assert [check["verdict"] for check in result["verdicts"]] == ["ok"] * 13
    assert result["passed"] and result["ended"]
    assert json.loads(Path("run/curves.json").read_text()) == result


def test_perplexity_of_the_base_and_the_lowest_evaluation_are_named(run: RecordedRun) -> None:
    run.set_evaluations(0.7, 0.5, 0.3, 0.31, 0.31, 0.31)
    result = curves(run.write())
    assert result["base"]["perplexity"] == pytest.approx(math.exp(0.7))
    assert (result["lowest"]["eval_loss"], result["lowest"]["epoch"]) == (0.3, 2.0)


def remove(*steps: int) -> Plant:
    def plant(run: RecordedRun) -> None:
        for step in steps:
            run.history.remove(run.at(step))

    return plant


def set_at(step: int, key: str, value: float) -> Plant:
    return lambda run: run.at(step).update({key: value})


def scale_at(step: int, key: str, factor: float) -> Plant:
    return lambda run: run.at(step).update({key: run.at(step)[key] * factor})


def change(key: str, value: Callable[[dict[str, Any]], Any]) -> Plant:
    """Set a key of every training log."""
    return lambda run: run.change(key, value)


def evaluated(*losses: float) -> Plant:
    return lambda run: run.set_evaluations(*losses)


def scheduled(made: list[float], ahead: int = 0) -> Plant:
    return change("learning_rate", lambda log: made[log["step"] - 1 + ahead])


def replaced(old: str, new: str) -> Plant:
    """Change the recipe."""

    def plant(run: RecordedRun) -> None:
        run.recipe_text = run.recipe_text.replace(old, new)

    return plant


def both(*plants: Plant) -> Plant:
    def plant(run: RecordedRun) -> None:
        for each in plants:
            each(run)

    return plant


def as_transformers_logs_nan(run: RecordedRun) -> None:
    for log in run.training[15:]:
        log["loss"], log["grad_norm"] = 0.0, math.nan


def training_rises(run: RecordedRun) -> None:
    run.change("loss", lambda log: log["loss"] * (1 if log["step"] <= 44 else 1.25))


def rising(slope: float) -> Plant:
    """The training loss falls, and rises again."""
    return change("loss", lambda log: 0.06 - slope * min(log["step"], 60 - log["step"]))


def go_back(run: RecordedRun) -> None:
    again = run.history.index(run.at(30))
    run.history[again:again] = [run.at(26), run.at(28)]


def halve_the_batch(run: RecordedRun) -> None:
    run.stop(44)
    run.state["max_steps"] = 103  # ceil(328 x 5 / 16)
    made = rates(2e-3, 10, 103)
    for log in run.history:
        log["epoch"] = log["step"] / 21  # ceil(328 / 16) micro batches, one in each step
        log["learning_rate"] = made[log["step"] - 1]


def restart_with_another_batch(run: RecordedRun) -> None:
    for log in run.history:
        log["epoch"] -= max(log["step"] - 22, 0) / 21


def rows(count: int, more: str = "") -> Plant:
    def plant(run: RecordedRun) -> None:
        run.rows = count
        run.recipe_text += more

    return plant


OVERFITTING = evaluated(0.0608, 0.0165, 0.0150, 0.0155, 0.0170, 0.0190)
FLAT = both(
    change("loss", lambda log: 0.06 * (1 - 0.04 * log["step"] / 52)),
    evaluated(0.06, 0.0601, 0.06, 0.0602, 0.0601, 0.0601),
)
LEAK = both(
    change("loss", lambda log: log["loss"] * math.exp(-log["step"] / 10)),
    evaluated(0.0608, 0.0560, 0.0700, 0.0800, 0.0900, 0.1000),
)
PACKED_600 = rows(600, "sample_packing: true\npacks_per_step: 32\n")
UNTRAINED = both(set_at(24, "tokens/trainable", 99_000), set_at(22, "tokens/trainable", 99_000))

# what is planted, and the checks that fail with what they tell
FAULTS: list[tuple[Plant, dict[str, str]]] = [
    (set_at(30, "loss", math.nan), {"losses": "at step 30"}),
    *((set_at(30, "loss", loss), {"losses": ""}) for loss in (0.0, 1e300)),
    (lambda run: run.evaluations[3].update(eval_loss=math.nan), {"losses": ""}),
    (as_transformers_logs_nan, {"losses": "", "gradient norm": ""}),
    (FLAT, {"training loss": "flat from the first step"}),
    (rising(0.0016), {"training loss": "diverges"}),
    (scale_at(40, "loss", 4), {"spikes": "at step 40"}),
    (OVERFITTING, {"overfitting": "+26.7% since epoch 2.00 overfitting begins at epoch 2.00"}),
    (LEAK, {"validation": "reveal their labels", "overfitting": "begins at epoch 1.00"}),
    (evaluated(0.0608, 0.0609, 0.0610, 0.0610, 0.0609, 0.0610), {"validation": ""}),
    (scheduled(rates(1e-3, 5, 52)), {"learning rate": "0.0002 at step 2, planned 0.0004"}),
    (scheduled([*rates(2e-3, 5, 52), 0.0], ahead=1), {"learning rate": ""}),
    (scale_at(48, "learning_rate", 1 + 2e-6), {"learning rate": ""}),
    (set_at(20, "grad_norm", math.inf), {"gradient norm": ""}),
    (remove(24, 26, 28), {"logged steps": "nothing between step 22 and 30"}),
    (go_back, {"logged steps": "step 26 comes after step 28"}),
    (remove(46, 48, 50, 52), {"logged steps": ""}),
    (lambda run: run.state.update(global_step=44), {"logged steps": ""}),
    (halve_the_batch, {"examples per step": "epoch 0.10 at step 2", "epochs": ""}),
    (lambda run: run.state.update(train_batch_size=8), {"examples per step": ""}),
    (restart_with_another_batch, {"examples per step": "at step 24"}),
    (rows(400), {"examples per step": "with 400 rows", "epochs": "planned are 58 to 63"}),
    (PACKED_600, {"examples per step": "packs_per_step", "epochs": ""}),
    (change("tokens/total", lambda log: log["tokens/total"] * 3), {"tokens per step": ""}),
    (UNTRAINED, {"tokens per step": "up to step 24"}),
    (replaced("num_epochs: 5", "num_epochs: 3"), {"epochs": ""}),
]
# what is planted and fails nothing, and the notes with what they tell
HARMLESS: list[tuple[Plant, dict[str, str]]] = [
    (rising(0.0008), {}),
    (evaluated(0.0608, 0.0165, 0.0150, 0.0190, 0.0170, 0.0160), {}),
    (both(OVERFITTING, training_rises), {"overfitting": "training does not fall either"}),
    (lambda run: run.history.remove(run.evaluations[0]), {"base before training": "not evaluated"}),
    (scale_at(48, "learning_rate", 1 + 9e-7), {}),
    (replaced("cosine", "linear"), {"learning rate": "lr_scheduler: linear"}),
    (change("grad_norm", lambda log: 3.0), {"gradient norm": "clipped to 1"}),
    (change("grad_norm", lambda log: 0.0), {"gradient norm": "no gradient reaches"}),
    (rows(340), {}),
]


@pytest.mark.parametrize(
    ("plant", "verdict", "told"),
    [(plant, "fail", told) for plant, told in FAULTS]
    + [(plant, "note", told) for plant, told in HARMLESS],
)
def test_planted_fault_fails_its_own_check_and_no_other(
    run: RecordedRun, plant: Plant, verdict: str, told: dict[str, str]
) -> None:
    plant(run)
    judged = run.judge()
    failing = {name for name, row in judged.items() if row["verdict"] == "fail"}
    assert failing == (set(told) if verdict == "fail" else set())
    for name, text in told.items():
        assert judged[name]["verdict"] == verdict
        assert text in f"{judged[name]['found']} {judged[name]['todo']}"


def test_noise_is_no_spike(run: RecordedRun) -> None:
    run.change("loss", lambda log: log["loss"] * (0.4, 1.0, 1.8)[log["step"] // 2 % 3])
    assert "spikes" not in run.failing()


@pytest.mark.parametrize(("factor", "failing"), [(1.4, set()), (1.6, {"spikes"})])
def test_a_spike_is_half_above_the_median(
    run: RecordedRun, factor: float, failing: set[str]
) -> None:
    run.change("loss", lambda log: 0.03 + 0.03 * math.exp(-log["step"] / 4))
    run.at(40)["loss"] *= factor
    assert run.failing() == failing


def test_packed_rows_are_counted_on_average(run: RecordedRun) -> None:
    run.recipe_text += "sample_packing: true\npacks_per_step: 32\n"
    row = run.judge()["examples per step"]
    assert (row["verdict"], row["found"]) == ("ok", "30.0 on average")


def test_a_run_under_way_is_a_note_that_says_how_far_it_is(run: RecordedRun) -> None:
    run.stop(26)
    result = curves(run.write())
    assert result["passed"] and not result["ended"]
    assert {c["name"] for c in result["verdicts"] if c["verdict"] != "ok"} == {"finished"}
    assert result["verdicts"][-1]["found"] == "step 26 of 52 (50%)"


def test_nothing_is_called_ok_before_anything_is_logged(run: RecordedRun) -> None:
    """The state is written at the start, minutes before a large model's first evaluation."""
    run.state.update(global_step=0, log_history=[])
    judged = run.judge()
    assert {row["verdict"] for row in judged.values()} == {"note"}
    base = judged["base before training"]
    assert (base["found"], base["todo"]) == ("not evaluated yet", "")


# what people see


def test_every_check_and_what_to_do_is_printed(run: RecordedRun) -> None:
    run.at(40)["loss"] = math.nan
    result = curves(run.write())
    console = Console(file=StringIO(), width=200)
    print_curves(result, console)
    printed = console.file.getvalue()
    for check in result["verdicts"]:
        assert check["name"] in printed and check["found"] in printed
    assert "a logged 0 means NaN" in printed
    assert "The base before training: validation loss 0.06079, perplexity 1.06268" in printed


def test_a_missing_header_is_one_message(run: RecordedRun) -> None:
    run.recipe_text = run.recipe_text.replace("# Hardware:", "# Size:")
    with pytest.raises(UserError, match="no `# Hardware:` line"):
        curves(run.write())


def test_following_ends_with_the_run(run: RecordedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("validation.curves.curves.POLL_SECONDS", 0.02)
    recipe = run.write()
    state = Path("run/trainer_state.json")
    whole = state.read_text()
    run.stop(26)
    under_way = run.write() and state.read_text()
    state.unlink()

    def train() -> None:  # nothing yet, half-written, under way, at its end
        for text in (whole[:700], under_way, whole):
            state.write_text(text)
            threading.Event().wait(0.2)

    trainer = threading.Thread(target=train)
    trainer.start()
    result = follow(recipe, Console(file=StringIO()))
    trainer.join()
    assert result["ended"] and result["passed"] and result["step"] == 52


def test_low_terminal_shows_what_to_do_and_the_age_of_the_last_log(run: RecordedRun) -> None:
    """Where the table does not fit its end is cut off, so that step and faults come before it."""
    run.stop(26)
    run.at(20)["grad_norm"] = math.inf
    recipe = run.write()
    then = time.time() - 90
    os.utime("run/trainer_state.json", (then, then))
    console = Console(file=StringIO(), width=80, height=24, force_terminal=True)
    with Live(console=console, auto_refresh=False) as live:
        assert not _show(live, recipe, expected_run(recipe))
        shown = console.render_lines(live.get_renderable(), console.options.update(height=None))
    low = "\n".join("".join(part.text for part in line) for line in shown[:12])
    assert "step 26 of 52" in low and "The last log came 0:01:3" in low
    assert "gradient norm: " in low


def test_ctrl_c_ends_following_with_the_verdicts_so_far(run: RecordedRun) -> None:
    run.stop(26)
    run.at(20)["grad_norm"] = math.inf
    recipe = run.write()
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a job behind `&`
    timer.start()
    try:
        result = follow(recipe, Console(file=StringIO()))
    finally:
        signal.signal(signal.SIGINT, before)
    assert (result["step"], result["passed"]) == (26, False)


def test_losses_are_drawn_from_the_first_to_the_last() -> None:
    assert drawn([2.0, 1.5, 1.0]) == "2.000 █▅▁ 1.000"
    assert drawn([float(value) for value in range(480)]).split()[1][:9] == "▁▁▁▁▁▂▂▂▂"
    assert drawn([1.0, 1.0]) == "1.000 ▁▁ 1.000"
    assert drawn([1.0]) == ""
