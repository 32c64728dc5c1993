"""A healthy run passes every check, and each planted fault fails its own and no other."""

import json
import math
import os
import signal
import threading
import time
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console
from rich.live import Live
from transformers import get_cosine_schedule_with_warmup

from tests.unit.recorded_run import RecordedRun
from tools.errors import UserError
from validation.curves.curves import _show, curves, follow, print_curves
from validation.curves.expected_run import expected_run


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


def test_the_result_is_written_beside_the_run(run: RecordedRun) -> None:
    result = curves(run.write())
    assert json.loads(Path("run/curves.json").read_text()) == result


def test_perplexity_of_the_base_and_the_lowest_evaluation_are_named(run: RecordedRun) -> None:
    run.set_evaluations(0.7, 0.5, 0.3, 0.31, 0.31, 0.31)
    result = curves(run.write())
    assert result["base"]["perplexity"] == pytest.approx(math.exp(0.7))
    assert (result["lowest"]["eval_loss"], result["lowest"]["epoch"]) == (0.3, 2.0)


def test_without_an_evaluation_before_training_the_base_is_a_note(run: RecordedRun) -> None:
    run.history.remove(run.evaluations[0])
    assert run.judge()["base before training"]["verdict"] == "note"
    assert curves(run.write())["base"] is None


# losses


@pytest.mark.parametrize("loss", [math.nan, math.inf, -0.1, 0.0, 1e300])
def test_a_loss_that_is_no_cross_entropy(run: RecordedRun, loss: float) -> None:
    run.at(30)["loss"] = loss
    assert run.failing() == {"losses"}
    assert "at step 30" in run.judge()["losses"]["found"]


def test_a_validation_loss_of_nan(run: RecordedRun) -> None:
    run.evaluations[3]["eval_loss"] = math.nan
    assert run.failing() == {"losses"}


def test_a_run_that_became_nan_as_transformers_logs_it(run: RecordedRun) -> None:
    for log in run.training[15:]:
        log["loss"], log["grad_norm"] = 0.0, math.nan
    assert run.failing() == {"losses", "gradient norm"}


def test_a_plateau_from_the_first_step_on(run: RecordedRun) -> None:
    run.change("loss", lambda log: 0.06 * (1 - 0.04 * log["step"] / 52))
    run.set_evaluations(0.06, 0.0601, 0.06, 0.0602, 0.0601, 0.0601)
    assert run.failing() == {"training loss"}
    assert "flat from the first step" in run.judge()["training loss"]["todo"]


def test_a_loss_that_falls_and_rises_again(run: RecordedRun) -> None:
    run.change("loss", lambda log: 0.06 - 0.0008 * min(log["step"], 60 - log["step"]))
    assert run.failing() == set()
    run.change("loss", lambda log: 0.06 - 0.0016 * min(log["step"], 60 - log["step"]))
    assert run.failing() == {"training loss"}
    assert "diverges" in run.judge()["training loss"]["todo"]


def test_a_spike_is_named_with_its_step(run: RecordedRun) -> None:
    run.at(40)["loss"] *= 4
    assert run.failing() == {"spikes"}
    assert "at step 40" in run.judge()["spikes"]["found"]


@pytest.mark.parametrize(("factor", "failing"), [(1.4, set()), (1.6, {"spikes"})])
def test_a_spike_is_half_above_the_median(
    run: RecordedRun, factor: float, failing: set[str]
) -> None:
    run.change("loss", lambda log: 0.03 + 0.03 * math.exp(-log["step"] / 4))
    run.at(40)["loss"] *= factor
    assert run.failing() == failing


def test_noise_is_no_spike(run: RecordedRun) -> None:
    run.change("loss", lambda log: log["loss"] * (0.4, 1.0, 1.8)[log["step"] // 2 % 3])
    assert "spikes" not in run.failing()


def test_overfitting_is_named_with_the_epoch_where_it_begins(run: RecordedRun) -> None:
    run.set_evaluations(0.0608, 0.0165, 0.0150, 0.0155, 0.0170, 0.0190)
    assert run.failing() == {"overfitting"}
    check = run.judge()["overfitting"]
    assert "begins at epoch 2.00" in check["todo"] and "+26.7%" in check["found"]


def test_a_validation_loss_that_comes_down_again_is_no_overfitting(run: RecordedRun) -> None:
    run.set_evaluations(0.0608, 0.0165, 0.0150, 0.0190, 0.0170, 0.0160)
    assert run.failing() == set()


def test_validation_that_rises_with_training_is_no_overfitting(run: RecordedRun) -> None:
    run.set_evaluations(0.0608, 0.0165, 0.0150, 0.0155, 0.0170, 0.0190)
    run.change("loss", lambda log: log["loss"] * (1 if log["step"] <= 44 else 1.25))
    assert run.judge()["overfitting"]["verdict"] == "note"


def test_a_label_leak_is_told_apart_from_overfitting(run: RecordedRun) -> None:
    run.change("loss", lambda log: log["loss"] * math.exp(-log["step"] / 10))
    run.set_evaluations(0.0608, 0.0560, 0.0700, 0.0800, 0.0900, 0.1000)
    assert run.failing() == {"overfitting", "validation"}
    assert "give their labels away" in run.judge()["validation"]["todo"]
    assert "begins at epoch 1.00" in run.judge()["overfitting"]["todo"]


def test_validation_that_never_falls_while_training_does(run: RecordedRun) -> None:
    run.set_evaluations(0.0608, 0.0609, 0.0610, 0.0610, 0.0609, 0.0610)
    assert run.failing() == {"validation"}


# learning rate and gradient norm


def test_a_constant_learning_rate(run: RecordedRun) -> None:
    run.change("learning_rate", lambda log: 2e-3)
    assert run.failing() == {"learning rate"}
    assert "it is constant" in run.judge()["learning rate"]["todo"]


def test_a_warm_up_that_was_left_out(run: RecordedRun) -> None:
    made = rates(2e-3, 0, 52)
    run.change("learning_rate", lambda log: made[log["step"] - 1])
    assert run.failing() == {"learning rate"}
    assert "warm-up was left out" in run.judge()["learning rate"]["todo"]


def test_a_wrong_peak(run: RecordedRun) -> None:
    made = rates(1e-3, 5, 52)
    run.change("learning_rate", lambda log: made[log["step"] - 1])
    assert run.failing() == {"learning rate"}
    assert "peak is 0.001, the recipe's 0.002" in run.judge()["learning rate"]["todo"]


def test_a_schedule_that_is_one_step_ahead(run: RecordedRun) -> None:
    made = [*rates(2e-3, 5, 52), 0.0]
    run.change("learning_rate", lambda log: made[log["step"]])
    assert run.failing() == {"learning rate"}
    assert "another schedule" in run.judge()["learning rate"]["todo"]


@pytest.mark.parametrize(("factor", "failing"), [(1 + 9e-7, set()), (1 + 2e-6, {"learning rate"})])
def test_each_learning_rate_is_held_to_one_millionth(
    run: RecordedRun, factor: float, failing: set[str]
) -> None:
    run.at(48)["learning_rate"] *= factor
    assert run.failing() == failing


def test_another_scheduler_of_the_recipe_is_not_compared(run: RecordedRun) -> None:
    run.recipe_text = run.recipe_text.replace("cosine", "linear")
    check = run.judge()["learning rate"]
    assert check["verdict"] == "note" and "lr_scheduler: linear" in check["found"]


@pytest.mark.parametrize("norm", [math.inf, math.nan])
def test_a_gradient_norm_that_is_not_finite(run: RecordedRun, norm: float) -> None:
    run.at(20)["grad_norm"] = norm
    assert run.failing() == {"gradient norm"}


@pytest.mark.parametrize(("norm", "todo"), [(3.0, "clipped to 1"), (0.0, "no gradient reaches")])
def test_a_gradient_that_is_always_clipped_or_zero_is_a_note(
    run: RecordedRun, norm: float, todo: str
) -> None:
    run.change("grad_norm", lambda log: norm)
    check = run.judge()["gradient norm"]
    assert check["verdict"] == "note" and todo in check["todo"]


# steps, examples, tokens


def test_a_restarted_run_with_a_gap(run: RecordedRun) -> None:
    for step in (24, 26, 28):
        run.history.remove(run.at(step))
    assert run.failing() == {"logged steps"}
    assert "nothing between step 22 and 30" in run.judge()["logged steps"]["found"]


def test_a_log_that_goes_back(run: RecordedRun) -> None:
    again = run.history.index(run.at(30))
    run.history[again:again] = [run.at(26), run.at(28)]
    assert run.failing() == {"logged steps"}
    assert "step 26 comes after step 28" in run.judge()["logged steps"]["found"]


def test_a_log_that_ends_before_the_run(run: RecordedRun) -> None:
    for step in (46, 48, 50, 52):
        run.history.remove(run.at(step))
    assert run.failing() == {"logged steps"}


def test_a_step_beyond_the_run(run: RecordedRun) -> None:
    run.state["global_step"] = 44
    assert run.failing() == {"logged steps"}


def test_a_batch_of_half_the_size(run: RecordedRun) -> None:
    run.stop(44)
    run.state["max_steps"] = 103  # ceil(328 x 5 / 16)
    made = rates(2e-3, 10, 103)
    for log in run.history:
        log["epoch"] = log["step"] / 21  # ceil(328 / 16) micro batches, one in each step
        log["learning_rate"] = made[log["step"] - 1]
    assert run.failing() == {"examples per step"}
    assert "about 15.6" in run.judge()["examples per step"]["found"]


def test_micro_batches_of_another_size(run: RecordedRun) -> None:
    run.state["train_batch_size"] = 8
    assert run.failing() == {"examples per step"}


def test_a_restart_with_another_batch_is_named_with_its_step(run: RecordedRun) -> None:
    for log in run.history:
        log["epoch"] -= max(log["step"] - 22, 0) / 21
    assert run.failing() == {"examples per step"}
    assert "up to step 24" in run.judge()["examples per step"]["found"]


@pytest.mark.parametrize(("rows", "failing"), [(340, set()), (400, {"examples per step"})])
def test_a_few_rows_may_have_been_dropped_for_their_length(
    run: RecordedRun, rows: int, failing: set[str]
) -> None:
    run.rows = rows
    assert run.failing() == failing


def test_packed_rows_are_counted_on_average(run: RecordedRun) -> None:
    run.recipe_text += "sample_packing: true\n"
    assert "30.0 on average" in run.judge()["examples per step"]["found"]
    run.rows = 600
    assert run.failing() == {"examples per step"}


def test_more_tokens_than_the_recipe_can_have(run: RecordedRun) -> None:
    run.change("tokens/total", lambda log: log["tokens/total"] * 3)
    assert run.failing() == {"tokens per step"}


def test_steps_without_a_trained_token(run: RecordedRun) -> None:
    run.at(24)["tokens/trainable"] = run.at(22)["tokens/trainable"]
    assert run.failing() == {"tokens per step"}


def test_other_epochs_than_the_recipe_says(run: RecordedRun) -> None:
    run.recipe_text = run.recipe_text.replace("num_epochs: 5", "num_epochs: 3")
    assert run.failing() == {"epochs"}


def test_a_run_under_way_is_a_note_that_says_how_far_it_is(run: RecordedRun) -> None:
    run.stop(26)
    result = curves(run.write())
    assert result["passed"] and not result["ended"]
    assert {c["name"] for c in result["verdicts"] if c["verdict"] != "ok"} == {"finished"}
    assert result["verdicts"][-1]["found"] == "step 26 of 52 (50%)"


def test_nothing_is_called_ok_before_anything_is_logged(run: RecordedRun) -> None:
    run.state.update(global_step=0, log_history=[])
    assert {check["verdict"] for check in run.judge().values()} == {"note"}


# what people see


def test_every_check_and_what_to_do_is_printed(run: RecordedRun) -> None:
    run.at(40)["loss"] = math.nan
    result = curves(run.write())
    console = Console(file=StringIO(), width=200)
    print_curves(result, console)
    printed = console.file.getvalue()
    for check in result["verdicts"]:
        assert check["name"] in printed and check["found"] in printed
    assert "a logged 0 stands for NaN" in printed
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


def test_nothing_is_to_do_while_the_base_is_evaluated(run: RecordedRun) -> None:
    """The state is written at the start, minutes before a large model's first evaluation."""
    run.state |= {"log_history": [], "global_step": 0}
    base = run.judge()["base before training"]
    assert (base["found"], base["verdict"], base["todo"]) == ("not evaluated yet", "note", "")


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
