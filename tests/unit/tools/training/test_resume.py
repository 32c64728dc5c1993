"""A run continues from its last whole checkpoint, and only with what it was started with."""

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

from prompt_strategies import tokenise
from prompt_strategies.base import find_strategy
from tools.training import run_record
from tools.training.plugin import CogexPlugin
from tools.training.resume import Launch, begin_or_resume, this_launch, what_is_missing

STATE, WEIGHTS = "trainer_state.json", "adapter_model.safetensors"
TORCH_FILES = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin")


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
    for name in TORCH_FILES:
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


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Callable[[Launch], str]:
    """What is said to a launch that is refused; its folder is as before."""

    def refused(launch: Launch) -> str:
        before = content(launch.run)
        with pytest.raises(SystemExit) as stop:
            begin_or_resume(launch)
        assert stop.value.code == 2
        assert content(launch.run) == before
        return capsys.readouterr().err

    return refused


# where it goes on


def test_a_run_that_starts_is_recorded(launch: Launch) -> None:
    for rate in ("3e-4", "1e-4"):  # without checkpoints a changed recipe starts anew
        assert begin_or_resume(changed(launch, learning_rate=rate)) is None
        record = json.loads((launch.run / "run.json").read_text())
        assert record["recipe"]["learning_rate"] == rate
    assert record["files"]["train.jsonl"] == hashlib.sha256(b'{"id": "train"}\n').hexdigest()
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
        for name in ("adapter_config.json", WEIGHTS, *TORCH_FILES[:3], STATE)
    },
    **{
        f"{name} cut short": (cut(name), f"{name} is cut short")
        for name in ("adapter_config.json", WEIGHTS, "optimizer.pt", STATE)
    },
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
    assert get_last_checkpoint(str(cut_off.run)) == str(cut_off.run / "checkpoint-2")


def test_half_written_checkpoints_of_one_step_each_have_a_place(cut_off: Launch) -> None:
    for _ in range(3):
        without(STATE)(cut_off.run / "checkpoint-4")
        begin_or_resume(cut_off)
        write_checkpoint(cut_off.run, 4)
    assert len(list(cut_off.run.glob("incomplete-*"))) == 3
    for step in (2, 4):  # then the run starts anew
        without("optimizer.pt")(cut_off.run / f"checkpoint-{step}")
    assert begin_or_resume(cut_off) is None


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


def test_a_key_without_effect_on_the_result_may_change(cut_off: Launch) -> None:
    other = {"logging_steps": 1, "wandb_project": "mine", "dataset_prepared_path": "elsewhere"}
    assert begin_or_resume(changed(cut_off, **other)) == cut_off.run / "checkpoint-4"


SPELLED: dict[str, Any] = {
    "learning_rate": "2e-3", "num_epochs": 1, "warmup_steps": "1_000", "bf16": False,
    "lora_target_modules": ["q_proj", "v_proj"], "peft_layers_to_transform": [0, 1],
    "lora_target_linear": "true", "weight_decay": 0, "any_file": "zero2.json",
    "special_tokens": {"pad_token": "<pad>", "bos_token": None}, "bnb_config_kwargs": {"a": [1, 2]},
    "lr_scheduler": "cosine", "revision_of_model": "1" * 40,
}  # fmt: skip
TRAIN = {"ds_type": "json", "type": "prompt_strategies.cogex"}


@pytest.fixture
def spelled(launch: Launch) -> Launch:
    """A run that has begun, with values that can be spelled in several ways."""
    Path("link").symlink_to("base")
    launch = changed(launch, **SPELLED)
    begin_or_resume(launch)
    write_checkpoint(launch.run, 2)
    return launch


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("learning_rate", (0.002, "2.0e-3", "0.0020", " 2E-3 ")),
        ("num_epochs", (1.0, "1", "1.0")),
        ("warmup_steps", (1000, 1e3)),
        ("bf16", ("false", "False", "no", 0)),
        ("lora_target_linear", (True, "True", "yes")),
        ("lora_target_modules", (["v_proj", "q_proj"], ["q_proj", "v_proj", "q_proj"])),
        ("peft_layers_to_transform", ([1, 0], ["1", "0"])),
        ("lora_modules_to_save", (None, [])),
        ("special_tokens", ({"pad_token": "<pad>"},)),
        ("base_model", ("base/", "./base", "link", "run/../base", os.path.abspath)),
        ("any_file", ("./zero2.json", os.path.abspath)),
        ("datasets", ([{"path": "./train.jsonl", **TRAIN}],)),
    ],
)
def test_another_spelling_of_the_same_value_goes_on(
    spelled: Launch, key: str, values: tuple[Any, ...]
) -> None:
    for value in values:
        value = value(SPELLED.get(key, "base")) if callable(value) else value
        assert begin_or_resume(changed(spelled, **{key: value})) == spelled.run / "checkpoint-2"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("learning_rate", "2.1e-3"), ("num_epochs", 1.5), ("bf16", "auto"),
        ("lora_target_modules", ["q_proj"]), ("bnb_config_kwargs", {"a": [2, 1]}),
        ("special_tokens", {"pad_token": "<|pad|>"}), ("revision_of_model", "1" * 39 + "2"),
        ("weight_decay", "nan"), ("base_model", "other"), ("adapter", None),
        ("train_on_inputs", True),
    ],
)  # fmt: skip
def test_a_value_that_really_differs_is_refused(
    spelled: Launch, key: str, value: Any, refusal: Callable[[Launch], str]
) -> None:
    shutil.copytree("base", "other")
    before = spelled.values.get(key)
    assert f"`{key}` was {before}, is {value}" in refusal(changed(spelled, **{key: value}))


def test_a_folder_that_cannot_be_written_is_one_message(
    launch: Launch, capsys: pytest.CaptureFixture[str]
) -> None:
    launch.run.write_text("a file")
    with pytest.raises(SystemExit) as stop:
        begin_or_resume(launch)
    assert stop.value.code == 2
    assert "run/run.json: cannot be written: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "path", ["train.jsonl", "val.jsonl", "base/model.safetensors", "zero2.json"]
)
def test_another_file_is_refused_by_its_name(
    launch: Launch, path: str, refusal: Callable[[Launch], str]
) -> None:
    launch = changed(launch, deepspeed="zero2.json")
    begin_or_resume(launch)
    write_checkpoint(launch.run, 2)
    data = bytearray(Path(path).read_bytes())
    data[-5] ^= 1
    Path(path).write_bytes(data)
    assert f"{path} is not the file it was" in refusal(launch)


def test_another_number_of_ranks_is_refused(
    cut_off: Launch, refusal: Callable[[Launch], str]
) -> None:
    assert "`ranks` was 1, is 2" in refusal(replace(cut_off, ranks=2))


def test_another_layout_is_refused(
    cut_off: Launch, refusal: Callable[[Launch], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find_strategy("prompt_strategies.cogex"), "layout_version", 99)
    monkeypatch.setattr(tokenise, "VERSION", 98)
    said = refusal(cut_off)
    assert "`layout_version` was 1, is 99" in said and "`tokenise_version` was 2, is 98" in said


def test_another_commit_of_a_hub_model_is_refused(
    launch: Launch, tmp_path: Path, refusal: Callable[[Launch], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    model = tmp_path / "hub/models--owner--model"
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


@pytest.mark.parametrize("text", [None, '{"recipe": {}}'])
def test_checkpoints_of_unknown_origin_are_refused(
    cut_off: Launch, text: str | None, refusal: Callable[[Launch], str]
) -> None:
    (cut_off.run / "run.json").unlink()
    if text is not None:
        (cut_off.run / "run.json").write_text(text)
    assert "no usable run.json" in refusal(cut_off)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"auto_resume_from_checkpoints": None}, "`auto_resume_from_checkpoints: true`"),
        ({"resume_from_checkpoint": "x"}, "`resume_from_checkpoint`"),
    ],
)
def test_a_launch_neither_overwrites_checkpoints_nor_chooses_one(
    cut_off: Launch, values: dict[str, Any], said: str, refusal: Callable[[Launch], str]
) -> None:
    assert said in refusal(changed(cut_off, **values))


def test_other_versions_are_said_and_let_through(
    cut_off: Launch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = run_record.read(cut_off.run)
    assert record
    record.versions["torch"] = "1.0"
    run_record.write(cut_off.run, record)
    assert begin_or_resume(cut_off) == cut_off.run / "checkpoint-4"
    assert "torch 1.0 -> " in capsys.readouterr().err


# a finished run: tests/engine/test_resume.py launches one again


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


def test_the_launcher_says_which_process_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert this_launch({}) == Launch({}, ranks=1, rank=0, local_rank=0)
    for name, value in (("WORLD_SIZE", "4"), ("RANK", "3"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert this_launch({}) == Launch({}, ranks=4, rank=3, local_rank=1)


# a checkpoint of each kind


def as_zero2(folder: Path) -> None:
    """Turn a checkpoint into what transformers writes with DeepSpeed on two ranks."""
    (folder / "optimizer.pt").unlink()
    shards = folder / "global_step4"
    shards.mkdir()
    names = [f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt" for rank in range(2)]
    for path in (shards / "mp_rank_00_model_states.pt", *(shards / name for name in names),
                 folder / "rng_state_0.pth", folder / "rng_state_1.pth"):  # fmt: skip
        torch.save({"state": torch.ones(64)}, path)
    (folder / "latest").write_text("global_step4")


def as_zero3(folder: Path) -> None:
    """ZeRO-3 shards the weights too."""
    as_zero2(folder)
    whole = folder / "global_step4/mp_rank_00_model_states.pt"
    for rank in range(2):
        shutil.copy(whole, whole.with_name(f"zero_pp_rank_{rank}_{whole.name}"))
    whole.unlink()


def as_fsdp(folder: Path) -> None:
    (folder / "optimizer.pt").rename(folder / "optimizer.bin")
    shutil.copy(folder / "optimizer.bin", folder / "pytorch_model_fsdp.bin")


def as_whole_model(folder: Path) -> None:
    (folder / "adapter_config.json").rename(folder / "config.json")
    (folder / WEIGHTS).rename(folder / "model.safetensors")


KINDS: dict[str, tuple[Callable[[Path], None], int, dict[str, Any]]] = {
    "ZeRO-2": (as_zero2, 2, {"deepspeed": "zero2.json"}),
    "ZeRO-3": (as_zero3, 2, {"deepspeed": "zero3.json"}),
    "FSDP": (as_fsdp, 1, {"fsdp_config": {"state_dict_type": "FULL_STATE_DICT"}}),
    "whole model": (as_whole_model, 1, {"adapter": None}),
}
SHARD = "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"


@pytest.mark.parametrize(
    ("kind", "damage", "missing"),
    [
        *((kind, None, None) for kind in KINDS),
        ("ZeRO-2", without("latest"), "latest is missing"),
        ("ZeRO-2", without(f"global_step4/{SHARD}"), "global_step4 holds 1 optimizer shards of 2"),
        ("ZeRO-2", cut(f"global_step4/{SHARD}"), f"{SHARD} is cut short or damaged"),
        ("ZeRO-3", without("global_step4/zero_pp_rank_1_mp_rank_00_model_states.pt"),
         "global_step4 holds 1 model shards of 2"),
        ("FSDP", without("pytorch_model_fsdp.bin"), "pytorch_model_fsdp.bin is missing"),
        ("whole model", without("model.safetensors"), "model.safetensors is missing"),
        ("whole model", without("config.json"), "config.json is missing"),
    ],
)  # fmt: skip
def test_a_checkpoint_of_each_kind_is_whole_or_says_what_it_lacks(
    launch: Launch, kind: str, damage: Callable[[Path], Any] | None, missing: str | None
) -> None:
    make, ranks, values = KINDS[kind]
    folder = write_checkpoint(launch.run, 4)
    make(folder)
    if damage:
        damage(folder)
    assert what_is_missing(folder, replace(changed(launch, **values), ranks=ranks)) == missing
