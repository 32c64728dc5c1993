"""A run killed at three moments, and launched again by the same command, ends as if undisturbed."""

import hashlib
import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engine.forked import two_at_once
from tests.engine.small_run import Launched, Run, make_runs
from tests.engine.test_trackers import left_by_trackers
from tools.results import Sample, read_results
from tools.training import run_record
from validation.curves.curves import curves

# the moment of the kill: the checkpoints that are there after it, and the last whole one
KILLS = {
    "evaluation 4": ((2,), 2),  # within an epoch
    "checkpoint 6": ((2, 4, 6), 4),  # from an epoch's end
    "end 8": ((2, 4, 6, 8), 8),
}
EVERY_CHECKPOINT = [f"checkpoint-{step}" for step in (2, 4, 6, 8)]
SPEEDS = ("runtime", "per_sec", "memory")  # the machine's, not the run's


@dataclass(frozen=True)
class Killed:
    """A run that was killed and launched again."""

    run: Run
    first: Launched
    left: list[str]  # checkpoint folders after the kill
    had_model: bool
    second: Launched


def files(run: Run) -> dict[str, str]:
    """The hash of each file of a run folder but Axolotl's own log, which it always opens."""
    return {
        str(path.relative_to(run.output)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in run.output.rglob("*")
        if path.is_file() and path.name != "debug.log"
    }


def kill_and_go_on(run: Run, moment: str) -> Killed:
    first = run.launch(fault=moment)
    left, had_model = run.checkpoints, (run.output / "adapter_model.safetensors").exists()
    return Killed(run, first, left, had_model, run.launch())


def run_whole(run: Run) -> tuple[Run, list[Launched], dict[str, str]]:
    """A run that nobody disturbs, its files, and two launches after its end.

    It writes no samples and the others do, which must change no weight.
    """
    run.change({"samples_per_save": None})
    first = run.launch()
    kept = files(run)
    return run, [first, run.launch(), run.launch("--learning_rate", "1e-3")], kept


@pytest.fixture(scope="module")
def stories(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    runs = make_runs(tmp_path_factory.mktemp("resume"), ["whole", *KILLS])
    return two_at_once(
        {"whole": lambda: run_whole(runs["whole"])}
        | {kill: lambda kill=kill: kill_and_go_on(runs[kill], kill) for kill in KILLS}
    )


@pytest.fixture(scope="module")
def whole(stories: dict[str, Any]) -> Run:
    run, [first, _, _], _ = stories["whole"]
    assert first.code == 0, first.printed[-3000:]
    return run


@pytest.fixture(params=KILLS)
def moment(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def killed(stories: dict[str, Any], moment: str) -> Killed:
    return stories[moment]


def test_the_same_command_goes_on_after_a_kill(killed: Killed, moment: str) -> None:
    assert killed.first.code == -signal.SIGKILL, killed.first.printed[-3000:]
    kept, last = KILLS[moment]
    assert killed.left == [f"checkpoint-{step}" for step in kept]
    assert not killed.had_model
    assert killed.second.code == 0, killed.second.printed[-3000:]
    assert f"outputs: continues from checkpoint-{last}" in killed.second.printed


def test_the_half_written_checkpoint_was_set_aside(stories: dict[str, Any]) -> None:
    story = stories["checkpoint 6"]
    assert story.run.checkpoints == [*EVERY_CHECKPOINT, "incomplete-checkpoint-6"]
    assert "checkpoint-6 is half-written (trainer_state.json is missing)" in story.second.printed


def test_the_bytes_are_those_of_the_undisturbed_run(whole: Run, killed: Killed) -> None:
    parts = ("adapter_model.safetensors", "optimizer.pt", "rng_state.pth")
    names = [f"{folder}/{part}" for folder in EVERY_CHECKPOINT for part in parts]
    for name in ("adapter_model.safetensors", *names):
        ours, theirs = killed.run.output / name, whole.output / name
        assert ours.read_bytes() == theirs.read_bytes(), name


def test_every_log_is_that_of_the_undisturbed_run(whole: Run, killed: Killed) -> None:
    assert logged(killed.run) == logged(whole)


def test_each_checkpoint_has_its_samples_once(whole: Run, killed: Killed) -> None:
    samples = read_results(Sample, killed.run.output / "samples.jsonl", "")
    assert [item.step for item in samples] == [2, 2, 4, 4, 6, 6, 8, 8]
    assert len({item.id for item in samples}) == 2 and all(item.text for item in samples)
    assert not (whole.output / "samples.jsonl").exists()


def test_each_launch_is_recorded(killed: Killed, moment: str) -> None:
    record = run_record.read(killed.run.output)
    assert record and record.finished
    first, second = record.launches
    assert (first.step, second.step) == (0, KILLS[moment][1])
    assert first.ended is None and second.ended and first.started < second.ended
    assert second.memory_gib and 0.3 < second.memory_gib < 30 and "cores" in second.machine


def logged(run: Run) -> list[dict[str, Any]]:
    """What the trainer logged, without the machine's speed.

    A run that goes on evaluates its checkpoint again; what is the same twice is there once.
    """
    state = json.loads((run.output / "trainer_state.json").read_text())
    logs: list[dict[str, Any]] = []
    for entry in state["log_history"]:
        log = {key: entry[key] for key in entry if not any(part in key for part in SPEEDS)}
        if ("loss" in log or "eval_loss" in log) and log not in logs:
            logs.append(log)
    assert len(logs) == 8 + 5  # each step, and the evaluations after 0, 2, 4, 6 and 8
    return logs


def test_unasked_no_tracker_records_and_nothing_is_sent(whole: Run) -> None:
    assert left_by_trackers(whole.folder) == set()
    assert (whole.folder / "spoken-to").read_text() == ""


def test_curves_finds_no_gap(killed: Killed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(killed.run.folder)
    result = curves(killed.run.recipe)
    assert [row for row in result["verdicts"] if row["verdict"] == "fail"] == []
    assert result["passed"]


def test_a_finished_run_is_left_as_it_is_and_another_rate_is_refused(
    stories: dict[str, Any],
) -> None:
    run, [_, again, changed], kept = stories["whole"]
    assert again.code == 0
    assert "outputs: this run is finished, nothing is left to do" in again.printed
    assert files(run) == kept
    assert changed.code == 2
    assert "the run was started differently: `learning_rate` was 2e-3, is 0.001" in changed.printed
    assert "tools/training/resume.py" not in changed.printed  # no traceback of ours


def test_preprocess_is_not_disturbed(whole: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from axolotl.utils.dict import DictDefault

    from tools.training.plugin import CogexPlugin

    monkeypatch.chdir(whole.folder)
    changed = {"learning_rate": "1e-3", "axolotl_config_path": "recipe.yml"}
    values = yaml.safe_load(Path("recipe.yml").read_text()) | changed
    plugin = CogexPlugin()
    plugin.register(DictDefault(values))
    assert plugin.load_datasets(DictDefault(values), preprocess=True) is None
    with pytest.raises(SystemExit):
        plugin.load_datasets(DictDefault(values))
