"""A run goes on from its last whole checkpoint, and only with what it was started with."""

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import save_file
from transformers.trainer_utils import get_last_checkpoint

from prompt_strategies import layout
from tools.training import run_record
from tools.training.plugin import CogexPlugin
from tools.training.resume import Launch, begin_or_resume, finish, this_launch, what_is_missing

STATE, WEIGHTS = "trainer_state.json", "adapter_model.safetensors"


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launch:
    """A launch in a working folder with its data and base; nothing is trained yet."""
    monkeypatch.chdir(tmp_path)
    for name in ("train", "val"):
        Path(f"{name}.jsonl").write_text(f'{{"id": "{name}"}}\n')
    Path("base").mkdir()
    Path("base/config.json").write_text("{}")
    save_file({"weight": torch.ones(8)}, "base/model.safetensors")
    Path("zero2.json").write_text('{"zero_optimization": {"stage": 2}}')
    strategy = {"ds_type": "json", "type": "prompt_strategies.cogex"}
    return Launch(
        {
            "base_model": "base",
            "datasets": [{"path": "train.jsonl", **strategy}],
            "test_datasets": [{"path": "val.jsonl", **strategy}],
            "adapter": "lora",
            "learning_rate": "3e-4",
            "num_epochs": 5,
            "logging_steps": 10,
            "auto_resume_from_checkpoints": True,
            "output_dir": "run",
        }
    )


def write_checkpoint(run: Path, step: int) -> Path:
    """Write what transformers writes on one device, its last file last."""
    folder = run / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text('{"r": 16}')
    save_file({"lora_A": torch.full((64,), float(step))}, folder / WEIGHTS)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        torch.save({"state": torch.full((64,), float(step))}, folder / name)
    (folder / STATE).write_text(json.dumps({"global_step": step, "log_history": []}))
    return folder


@pytest.fixture
def cut_off(launch: Launch) -> Launch:
    """The same launch when its run has been cut off after checkpoints 2 and 4."""
    assert begin_or_resume(launch) is None
    for step in (2, 4):
        write_checkpoint(launch.run, step)
    return launch


def changed(launch: Launch, **values: Any) -> Launch:
    return replace(launch, values=launch.values | values)


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refusal(launch: Launch) -> str:
    """What is said to a launch that is refused; its folder is as before."""
    before = content(launch.run)
    with pytest.raises(SystemExit) as stop:
        begin_or_resume(launch)
    assert content(launch.run) == before
    assert isinstance(stop.value.code, str)  # Python prints it, and exits with 1
    return stop.value.code


# where it goes on


def test_a_run_that_starts_is_recorded(launch: Launch) -> None:
    assert begin_or_resume(launch) is None
    record = json.loads((launch.run / "run.json").read_text())
    assert record["files"]["train.jsonl"] == hashlib.sha256(b'{"id": "train"}\n').hexdigest()
    assert record["recipe"]["learning_rate"] == "3e-4"
    assert record["versions"]["torch"].startswith(torch.__version__.split("+")[0])


def test_a_run_goes_on_from_its_last_checkpoint(cut_off: Launch) -> None:
    write_checkpoint(cut_off.run, 10)  # after 4, as text before it
    assert begin_or_resume(cut_off) == cut_off.run / "checkpoint-10"


def cut(name: str) -> Callable[[Path], Any]:
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size // 2)


def without(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).unlink()


def flip_a_bit(folder: Path) -> None:
    data = bytearray((folder / "optimizer.pt").read_bytes())
    data[data.index(torch.tensor(4.0).numpy().tobytes() * 4)] ^= 1
    (folder / "optimizer.pt").write_bytes(data)


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    **{
        f"no {name}": (without(name), f"{name} is missing")
        for name in ("adapter_config.json", WEIGHTS, "optimizer.pt", "scheduler.pt",
                     "rng_state.pth", STATE)
    },
    **{
        f"{name} cut short": (cut(name), f"{name} is cut short")
        for name in ("adapter_config.json", WEIGHTS, "optimizer.pt", "scheduler.pt",
                     "rng_state.pth", "training_args.bin", STATE)
    },
    "empty weights": (lambda folder: (folder / WEIGHTS).write_bytes(b""), f"{WEIGHTS} is cut"),
    "a bit of the optimizer": (flip_a_bit, "optimizer.pt is cut short or damaged"),
    "another step": (lambda folder: (folder / STATE).write_text('{"global_step": 2}'),
                     f"{STATE} is not of step 4"),
    "empty folder": (lambda folder: [file.unlink() for file in folder.iterdir()],
                     f"{STATE} is missing"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_before_a_half_written_checkpoint_the_one_before_it_is_used(
    name: str, cut_off: Launch, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, reason = DAMAGES[name]
    damage(cut_off.run / "checkpoint-4")
    left = content(cut_off.run / "checkpoint-4")
    assert begin_or_resume(cut_off) == cut_off.run / "checkpoint-2"
    assert content(cut_off.run / "incomplete-checkpoint-4") == left  # nothing is deleted
    assert f"checkpoint-4 is half-written ({reason}" in capsys.readouterr().err


def test_what_is_set_aside_is_no_checkpoint_to_others(cut_off: Launch) -> None:
    without(STATE)(cut_off.run / "checkpoint-4")
    begin_or_resume(cut_off)
    assert get_last_checkpoint(str(cut_off.run)) == str(cut_off.run / "checkpoint-2")
    assert [path.name for path in cut_off.run.glob("checkpoint-*")] == ["checkpoint-2"]


def test_a_second_half_written_checkpoint_of_a_step_has_its_own_place(cut_off: Launch) -> None:
    for _ in range(3):
        without(STATE)(cut_off.run / "checkpoint-4")
        begin_or_resume(cut_off)
        write_checkpoint(cut_off.run, 4)
    kept = {path.name for path in cut_off.run.glob("incomplete-*")}
    assert len(kept) == 3


def test_a_run_whose_only_checkpoint_is_half_written_starts_anew(cut_off: Launch) -> None:
    for step in (2, 4):
        without("optimizer.pt")(cut_off.run / f"checkpoint-{step}")
    assert begin_or_resume(cut_off) is None
    assert len(list(cut_off.run.glob("incomplete-checkpoint-*"))) == 2


def test_no_pickle_is_opened(cut_off: Launch, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "opened",)

    torch.save(Bomb(), cut_off.run / "checkpoint-4" / "optimizer.pt")
    assert begin_or_resume(cut_off) == cut_off.run / "checkpoint-4"
    assert not (tmp_path / "opened").exists()
    with pytest.raises(pickle.UnpicklingError):  # nor by the trainer, who loads it like this
        torch.load(cut_off.run / "checkpoint-4" / "optimizer.pt", weights_only=True)


# with what it may go on


@pytest.mark.parametrize(
    ("key", "value"),
    [("learning_rate", "1e-4"), ("num_epochs", 6), ("adapter", None), ("train_on_inputs", True),
     ("seed", 1), ("saves_per_epoch", 2)],
)  # fmt: skip
def test_another_value_is_refused_by_its_name(cut_off: Launch, key: str, value: Any) -> None:
    before = cut_off.values.get(key)
    assert f"`{key}` was {before}, is {value}" in refusal(changed(cut_off, **{key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [("logging_steps", 1), ("wandb_project", "mine"), ("hub_model_id", "me/it"),
     ("dataloader_num_workers", 4), ("dataset_prepared_path", "elsewhere")],
)  # fmt: skip
def test_a_key_without_effect_on_the_result_may_change(
    cut_off: Launch, key: str, value: Any
) -> None:
    assert begin_or_resume(changed(cut_off, **{key: value})) == cut_off.run / "checkpoint-4"


@pytest.mark.parametrize("path", ["train.jsonl", "val.jsonl", "base/model.safetensors"])
def test_another_file_is_refused_by_its_name(cut_off: Launch, path: str) -> None:
    data = bytearray(Path(path).read_bytes())
    data[-5] ^= 1
    Path(path).write_bytes(data)
    assert f"{path} is not the file it was" in refusal(cut_off)


def test_another_deepspeed_file_is_refused_by_its_name(launch: Launch) -> None:
    launch = changed(launch, deepspeed="zero2.json")
    begin_or_resume(launch)
    write_checkpoint(launch.run, 2)
    Path("zero2.json").write_text('{"zero_optimization": {"stage": 3}}')
    assert "zero2.json is not the file it was" in refusal(launch)


def test_another_number_of_ranks_is_refused(cut_off: Launch) -> None:
    assert "`ranks` was 1, is 2" in refusal(replace(cut_off, ranks=2))


def test_another_layout_is_refused(cut_off: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "LAYOUT_VERSION", 99)
    assert "`layout_version` was 1, is 99" in refusal(cut_off)


def test_another_commit_of_a_hub_model_is_refused(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(hub))
    model = hub / "models--owner--model"
    (model / "refs").mkdir(parents=True)
    for commit in ("abc", "def"):
        (model / "snapshots" / commit).mkdir(parents=True)
        (model / "snapshots" / commit / "config.json").write_text("{}")
    launch = changed(launch, base_model="owner/model")
    (model / "refs/main").write_text("abc")
    begin_or_resume(launch)
    write_checkpoint(launch.run, 2)
    (model / "refs/main").write_text("def")
    assert "`base_model's commit` was abc, is def" in refusal(launch)


@pytest.mark.parametrize("text", [None, "", "[]", '{"recipe": {}}'])
def test_checkpoints_of_unknown_origin_are_refused(cut_off: Launch, text: str | None) -> None:
    (cut_off.run / "run.json").unlink()
    if text is not None:
        (cut_off.run / "run.json").write_text(text)
    assert "no usable run.json" in refusal(cut_off)


def test_without_checkpoints_a_changed_recipe_starts_and_is_recorded(launch: Launch) -> None:
    begin_or_resume(launch)
    assert begin_or_resume(changed(launch, learning_rate="1e-4")) is None
    record = run_record.read(launch.run)
    assert record and record.recipe["learning_rate"] == "1e-4"


def test_a_new_run_does_not_write_among_checkpoints(cut_off: Launch) -> None:
    text = refusal(changed(cut_off, auto_resume_from_checkpoints=None))
    assert "`auto_resume_from_checkpoints: true`" in text


def test_a_checkpoint_named_by_hand_is_refused(launch: Launch) -> None:
    launch.run.mkdir()
    assert "`resume_from_checkpoint`" in refusal(changed(launch, resume_from_checkpoint="x"))


def test_other_versions_are_said_and_let_through(
    cut_off: Launch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = run_record.read(cut_off.run)
    assert record
    record.versions["torch"] = "1.0"
    run_record.write(cut_off.run, record)
    assert begin_or_resume(cut_off) == cut_off.run / "checkpoint-4"
    assert "torch 1.0 -> " in capsys.readouterr().err


# a finished run


def test_a_finished_run_is_left_alone(cut_off: Launch, capsys: pytest.CaptureFixture[str]) -> None:
    finish(cut_off)
    before = content(cut_off.run)
    with pytest.raises(SystemExit) as stop:
        begin_or_resume(cut_off)
    assert stop.value.code == 0
    assert content(cut_off.run) == before
    assert "run: this run is finished" in capsys.readouterr().err


def test_a_run_that_an_error_ends_is_not_finished(cut_off: Launch) -> None:
    plugin = CogexPlugin()
    plugin.launch = cut_off
    with pytest.raises(RuntimeError, match="out of memory"):
        try:  # as in axolotl/cli/train.py
            raise RuntimeError("out of memory")
        finally:
            plugin.post_train_unload({})
    assert "finished" not in (cut_off.run / "run.json").read_text()
    plugin.post_train_unload({})
    record = run_record.read(cut_off.run)
    assert record and record.finished


def test_a_finished_run_is_not_that_of_another_recipe(cut_off: Launch) -> None:
    finish(cut_off)
    assert "`num_epochs` was 5, is 9" in refusal(changed(cut_off, num_epochs=9))


# several processes


def test_another_rank_writes_nothing_and_comes_to_the_same_answer(
    launch: Launch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = replace(launch, ranks=2), replace(launch, ranks=2, rank=1)
    assert begin_or_resume(second) is None
    assert not launch.run.exists()
    begin_or_resume(first)
    for step in (2, 4):
        folder = write_checkpoint(launch.run, step)
        for rank in range(2):
            shutil.copy(folder / "rng_state.pth", folder / f"rng_state_{rank}.pth")
    without("rng_state_1.pth")(launch.run / "checkpoint-4")
    before = content(launch.run)
    assert begin_or_resume(second) == launch.run / "checkpoint-2"
    assert content(launch.run) == before
    assert capsys.readouterr().err == ""
    assert begin_or_resume(first) == launch.run / "checkpoint-2"  # rank 0 sets checkpoint-4 aside
    assert begin_or_resume(second) == launch.run / "checkpoint-2"


def test_the_launcher_says_which_process_this_is(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    assert this_launch({}) == Launch({}, ranks=1, rank=0)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    assert this_launch({}) == Launch({}, ranks=4, rank=3)


def write_zero2(folder: Path, ranks: int) -> None:
    """Turn a checkpoint into what transformers writes with DeepSpeed."""
    (folder / "optimizer.pt").unlink()
    shards = folder / "global_step4"
    shards.mkdir()
    names = [f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt" for rank in range(ranks)]
    for name in ("mp_rank_00_model_states.pt", *names):
        torch.save({"state": torch.ones(64)}, shards / name)
    for rank in range(ranks):
        torch.save({"state": torch.ones(64)}, folder / f"rng_state_{rank}.pth")
    (folder / "latest").write_text("global_step4")


ZERO2_DAMAGES: dict[str, tuple[Callable[[Path], Any], str | None]] = {
    "none": (lambda folder: None, None),
    "no latest": (without("latest"), "latest is missing"),
    "no shard of rank 1": (
        without("global_step4/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"),
        "global_step4 holds 1 optimizer shards of 2",
    ),
    "shard cut short": (
        cut("global_step4/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"),
        "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt is cut short or damaged",
    ),
}


@pytest.mark.parametrize("name", ZERO2_DAMAGES)
def test_a_checkpoint_of_zero2_has_a_shard_of_each_rank(name: str, launch: Launch) -> None:
    damage, missing = ZERO2_DAMAGES[name]
    folder = write_checkpoint(launch.run, 4)
    write_zero2(folder, ranks=2)
    damage(folder)
    assert what_is_missing(folder, replace(changed(launch, deepspeed="zero2.json"), ranks=2)) == (
        missing
    )


def test_a_checkpoint_of_zero3_has_the_weights_of_each_rank(launch: Launch) -> None:
    zero3 = replace(changed(launch, deepspeed="zero3.json"), ranks=2)
    folder = write_checkpoint(launch.run, 4)
    write_zero2(folder, ranks=2)
    whole = folder / "global_step4/mp_rank_00_model_states.pt"
    shards = [whole.with_name(f"zero_pp_rank_{rank}_{whole.name}") for rank in range(2)]
    shutil.copy(whole, shards[0])
    whole.rename(shards[1])
    assert what_is_missing(folder, zero3) is None
    shards[1].unlink()
    assert what_is_missing(folder, zero3) == "global_step4 holds 1 model shards of 2"


def test_a_checkpoint_of_fsdp_has_its_model_and_optimizer(launch: Launch) -> None:
    folder = write_checkpoint(launch.run, 4)
    (folder / "optimizer.pt").rename(folder / "optimizer.bin")
    fsdp = changed(launch, fsdp_config={"state_dict_type": "FULL_STATE_DICT"})
    assert what_is_missing(folder, fsdp) == "pytorch_model_fsdp.bin is missing"
    shutil.copy(folder / "optimizer.bin", folder / "pytorch_model_fsdp.bin")
    assert what_is_missing(folder, fsdp) is None
