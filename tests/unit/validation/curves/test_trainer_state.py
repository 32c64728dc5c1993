"""The trainer's state: what is read of it, from which file, and that no content is a traceback."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from tests.unit.recorded_run import STATE
from tools.errors import UserError
from tools.training.training_log import StateWriter
from validation.curves.trainer_state import read_run, read_state


@pytest.fixture
def state() -> dict[str, Any]:
    return json.loads(STATE.read_text())


def write(path: Path, state: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(state if isinstance(state, str) else json.dumps(state))
    return path


def test_logs_and_evaluations_are_read_apart() -> None:
    state = read_state(STATE)
    assert [log.step for log in state.training] == list(range(2, 53, 2))
    assert [log.step for log in state.evaluations] == [0, 11, 22, 33, 44, 52]
    last = state.training[-1]
    assert (last.loss, last.learning_rate) == (0.015410840511322021, 2.2331213768468363e-06)
    assert (last.tokens, last.trained_tokens) == (329728, 212617)
    assert state.base and state.base.loss == 0.06079097464680672


def test_an_evaluation_that_a_resumed_run_repeats_is_there_once(
    state: dict[str, Any], tmp_path: Path
) -> None:
    state["log_history"].append({"step": 22, "epoch": 2.0, "eval_loss": 0.5})
    evaluations = read_state(write(tmp_path / "state.json", state)).evaluations
    assert [evaluation.step for evaluation in evaluations] == [0, 11, 22, 33, 44, 52]
    assert evaluations[2].loss == 0.5


def test_the_run_folders_own_state_goes_before_the_last_checkpoints(
    state: dict[str, Any], tmp_path: Path
) -> None:
    for step in (9, 11, 100):
        path = tmp_path / f"checkpoint-{step}" / "trainer_state.json"
        write(path, state | {"global_step": step})
    (tmp_path / "checkpoint-200").mkdir()
    assert read_run(tmp_path).global_step == 100
    write(tmp_path / "trainer_state.json", state | {"global_step": 7, "log_history": []})
    assert read_run(tmp_path).global_step == 7  # started again beside an older run


def test_a_run_has_ended_by_its_closing_entry_or_its_last_checkpoint(
    state: dict[str, Any], tmp_path: Path
) -> None:
    assert read_state(write(tmp_path / "trainer_state.json", state)).ended
    del state["log_history"][-1]  # the last evaluation may still be on its way
    assert not read_state(write(tmp_path / "trainer_state.json", state)).ended
    assert read_state(write(tmp_path / "checkpoint-52" / "trainer_state.json", state)).ended


def test_a_run_without_a_state_is_one_message(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UserError, match=r"holds no trainer_state\.json.*train the recipe"):
            read_run(folder)


@pytest.mark.parametrize(
    "text",
    [STATE.read_text()[:3000], "[" * 100_000, "\ud800", "[]"],
    ids=["half", "nested", "surrogate", "list"],
)
def test_a_file_that_is_no_state_is_one_message(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trainer_state.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UserError, match=r"trainer_state\.json"):
        read_state(path)


@pytest.mark.parametrize("key", ["global_step", "max_steps", "logging_steps", "log_history"])
@pytest.mark.parametrize("value", [None, "52", -1, 10**400])
def test_a_wrong_value_is_named_by_its_key(
    state: dict[str, Any], tmp_path: Path, key: str, value: Any
) -> None:
    with pytest.raises(UserError, match=key):
        read_state(write(tmp_path / "state.json", state | {key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("step", 2.5),
        ("epoch", float("nan")),
        ("loss", "NaN"),
        ("loss", 10**400),
        ("learning_rate", True),
        ("tokens/total", 10**30),
    ],
)
def test_a_wrong_value_of_a_log_is_named_by_entry_and_key(
    state: dict[str, Any], tmp_path: Path, key: str, value: Any
) -> None:
    state["log_history"][3][key] = value
    with pytest.raises(UserError, match=f"log_history, entry 3: {key}: "):
        read_state(write(tmp_path / "state.json", state))


# what is written while training runs


@pytest.fixture
def arguments(tmp_path: Path) -> TrainingArguments:
    return TrainingArguments(output_dir=str(tmp_path), use_cpu=True)


def logged(step: int) -> TrainerState:
    history = [{"step": step, "epoch": 0.5, "loss": 1.25, "learning_rate": 1 / 3}]
    return TrainerState(
        global_step=step, max_steps=52, logging_steps=2, train_batch_size=16, log_history=history
    )


def test_what_is_written_is_what_is_read_until_a_new_run_begins(
    arguments: TrainingArguments, tmp_path: Path
) -> None:
    StateWriter().on_log(arguments, logged(step=2), TrainerControl())
    state = read_run(tmp_path)
    assert (state.global_step, state.max_steps, state.ended) == (2, 52, False)
    assert (state.training[0].loss, state.training[0].learning_rate) == (1.25, 1 / 3)
    assert [path.name for path in tmp_path.iterdir()] == ["trainer_state.json"]
    anew = TrainerState(max_steps=52, logging_steps=2)
    StateWriter().on_train_begin(arguments, anew, TrainerControl())
    assert read_run(tmp_path).training == []


def test_only_the_first_rank_writes(arguments: TrainingArguments, tmp_path: Path) -> None:
    state = logged(step=2)
    state.is_world_process_zero = False
    StateWriter().on_log(arguments, state, TrainerControl())
    assert not list(tmp_path.iterdir())


def test_training_goes_on_where_the_state_cannot_be_written(
    arguments: TrainingArguments, tmp_path: Path
) -> None:
    arguments.output_dir = str(tmp_path / "a file")
    (tmp_path / "a file").write_text("")
    StateWriter().on_log(arguments, logged(step=2), TrainerControl())
