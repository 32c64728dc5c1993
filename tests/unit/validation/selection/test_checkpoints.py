"""Every fault of a checkpoint folder is seen and named, and no pickle is ever opened."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from tools.errors import UserError
from tools.recipe import Recipe
from validation.selection.checkpoints import Checkpoint, checkpoints

WEIGHTS, CONFIG, STATE = "adapter_model.safetensors", "adapter_config.json", "trainer_state.json"
INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path: Path, write_checkpoint) -> Path:
    """A good checkpoint, the only one of its run."""
    return write_checkpoint(tmp_path / "run", 20, loss=1.5)


@pytest.fixture
def look(folder: Path, recipe: Recipe) -> Callable[..., Checkpoint]:
    """Read the run and return its checkpoint."""

    def look(**values: Any) -> Checkpoint:
        [checkpoint] = checkpoints(Recipe(recipe.path, recipe.values | values))
        return checkpoint

    return look


def edit_weights(folder: Path, part: str, value: float) -> None:
    """Set what the names of the weights say, as `lora_B`, to a value: one number, or all if 0."""
    tensors = load_file(folder / WEIGHTS)
    for key in tensors:
        if part in key:
            tensors[key] = torch.zeros_like(tensors[key]) if value == 0 else tensors[key]
            tensors[key].view(-1)[-1] = value
            if value:
                break
    save_file(tensors, folder / WEIGHTS)


def test_good_checkpoint(look, folder: Path) -> None:
    assert look() == Checkpoint(folder, 20, 2.0, 1.5, "ok", "", (CONFIG, WEIGHTS))
    assert look().name == "checkpoint-20"


def test_checkpoints_come_by_step(recipe: Recipe, write_checkpoint) -> None:
    for step in (100, 9, 20):
        write_checkpoint(recipe.output_dir, step)
    assert [found.step for found in checkpoints(recipe)] == [9, 20, 100]


def test_other_files_and_folders_are_passed_over(look, folder: Path) -> None:
    run = folder.parent
    for name in ("checkpoint-x", "tmp-checkpoint-30", "checkpoint-30-old", "best", "runs"):
        (run / name).mkdir()
    (run / "checkpoint-40").write_text("a file")
    assert look().step == 20


@pytest.mark.parametrize("name", [STATE, CONFIG, WEIGHTS])
def test_missing_file(look, folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert (look().status, look().reason) == ("incomplete", f"{name} is missing")


def test_empty_folder(look, folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    assert look() == Checkpoint(folder, 20, None, None, "incomplete", f"{STATE} is missing")


@pytest.mark.parametrize("size", [0, 5, 100, -1])
def test_truncated_weights(look, folder: Path, size: int) -> None:
    file = folder / WEIGHTS
    file.write_bytes(file.read_bytes()[:size])
    assert look().status == "corrupt"
    assert look().reason.startswith(f"{WEIGHTS} cannot be read: ")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite(look, folder: Path, value: float) -> None:
    edit_weights(folder, "lora_A", value)
    assert look().status == "corrupt"
    assert look().reason.endswith("holds NaN or Inf")
    assert "lora_A" in look().reason


def test_untrained_adapter(look, folder: Path) -> None:
    edit_weights(folder, "lora_B", 0)
    assert (look().status, look().logged_eval_loss) == ("corrupt", 1.5)
    assert look().reason == f"{WEIGHTS}: every lora_B is zero, so the adapter does nothing"


@pytest.mark.parametrize("name", [STATE, CONFIG])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"epoch": 1', "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b"[1]", "holds no JSON object"),
    ],
)
def test_broken_json(look, folder: Path, name: str, content: bytes, reason: str) -> None:
    (folder / name).write_bytes(content)
    assert (look().status, look().reason) == ("corrupt", f"{name} {reason}")


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"epoch": 1.0},
        {"log_history": []},
        {"epoch": "1", "log_history": []},
        {"epoch": float("nan"), "log_history": []},
        {"epoch": 10**400, "log_history": []},
    ],
)
def test_state_without_its_fields(look, folder: Path, state: dict) -> None:
    (folder / STATE).write_text(json.dumps(state))
    assert (look().status, look().reason) == ("corrupt", f"{STATE} holds no log_history or epoch")


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), 10**400, "1.0", None])
def test_logged_loss_that_is_no_number(look, folder: Path, loss: object) -> None:
    history = ["stray", {"step": 20, "loss": 1.0}, {"step": 20, "eval_loss": loss}]
    (folder / STATE).write_text(
        json.dumps({"epoch": 2.0, "global_step": 20, "log_history": history})
    )
    assert (look().status, look().logged_eval_loss) == ("ok", None)


def test_adapter_of_another_base(look, folder: Path, tiny_base: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | {"base_model_name_or_path": "other/base"}))
    assert look().status == "corrupt"
    assert look().reason == (
        f"{CONFIG} is for the base 'other/base', the recipe's is {str(tiny_base)!r}"
    )


@pytest.mark.parametrize("step", [19, 21, None, "20"])
def test_state_of_another_step(look, folder: Path, step: object) -> None:
    state = json.loads((folder / STATE).read_text())
    (folder / STATE).write_text(json.dumps(state | {"global_step": step}))
    assert (look().status, look().reason) == ("corrupt", f"{STATE} is of step {step!r}")


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("lora_r", 16, "r is 4, not 16"),
        ("lora_alpha", 32, "lora_alpha is 8, not 32"),
        ("lora_target_modules", ["q_proj"], "target_modules is ["),
    ],
)
def test_adapter_of_other_settings(look, key: str, value: object, reason: str) -> None:
    found = look(**{key: value})
    assert found.status == "corrupt"
    assert found.reason.startswith(f"{CONFIG}: {reason}")


def test_adapter_of_the_recipes_settings(look) -> None:
    modules = ["v_proj", "q_proj"]
    assert look(lora_r=4, lora_alpha=8, lora_target_modules=modules).status == "ok"
    assert look(lora_r=4, lora_alpha=8, lora_target_modules=modules[::-1]).status == "ok"


def header_of(length: int, content: bytes = b"{}") -> bytes:
    return length.to_bytes(8, "little") + content


HUGE = {"lora_B": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 2**62]}}
OUTSIDE = {"lora_B": {"dtype": "F32", "shape": [1], "data_offsets": [2**20, 2**20 + 4]}}
UNKNOWN = {"lora_B": {"dtype": "PICKLE", "shape": [1], "data_offsets": [0, 4]}}


@pytest.mark.parametrize(
    "content",
    [
        header_of(2**63),
        header_of(2**64 - 1),
        header_of(10**9),
        header_of(2, b"[]"),
        *(
            header_of(len(text), text + b"\0" * 4)
            for text in (json.dumps(lie).encode() for lie in (HUGE, OUTSIDE, UNKNOWN))
        ),
    ],
)
def test_header_that_lies(look, folder: Path, content: bytes) -> None:
    (folder / WEIGHTS).write_bytes(content)
    assert look().status == "corrupt"
    assert look().reason.startswith(f"{WEIGHTS} cannot be read: ")


def test_weights_that_are_no_numbers(look, folder: Path) -> None:
    save_file({"lora_B": torch.ones(2, dtype=torch.int8)}, folder / WEIGHTS)
    assert look().reason == f"{WEIGHTS}: lora_B holds no floating-point numbers"


@pytest.mark.parametrize("name", [STATE, CONFIG, WEIGHTS])
def test_file_that_links_out_of_the_run(look, folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    assert (look().status, look().reason) == ("corrupt", f"{name} links out of the run folder")


def test_folder_that_links_out_of_the_run(look, folder: Path, tmp_path: Path) -> None:
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert look().reason == "checkpoint-20 links out of the run folder"


def test_links_within_the_run_are_followed(look, folder: Path) -> None:
    (folder / WEIGHTS).rename(folder.parent / "shared.safetensors")
    (folder / WEIGHTS).symlink_to("../shared.safetensors")
    assert look().status == "ok"


def test_link_to_itself(look, folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to(WEIGHTS)
    assert look().status == "incomplete"


@pytest.fixture
def whole(folder: Path, tiny_base: Path) -> Path:
    """The checkpoint of a whole model, in shards of 20 kB."""
    for name in (CONFIG, WEIGHTS):
        (folder / name).unlink()
    model = LlamaForCausalLM.from_pretrained(tiny_base)
    model.save_pretrained(folder, max_shard_size="20KB")
    return folder


def shards(whole: Path) -> list[str]:
    return sorted(file.name for file in whole.glob("model-*.safetensors"))


def test_good_model_in_shards(look, whole: Path) -> None:
    found = look(adapter=None)
    assert (found.status, found.reason) == ("ok", "")
    assert found.files == ("config.json", INDEX, *shards(whole))
    assert len(shards(whole)) > 2


def test_good_model_in_one_file(look, whole: Path, tiny_base: Path) -> None:
    for name in (INDEX, *shards(whole)):
        (whole / name).unlink()
    (whole / "model.safetensors").write_bytes((tiny_base / "model.safetensors").read_bytes())
    assert look(adapter=None).files == ("config.json", "model.safetensors")


def test_model_without_weights(look, whole: Path) -> None:
    (whole / INDEX).unlink()
    found = look(adapter=None)
    assert (found.status, found.reason) == ("incomplete", "model.safetensors is missing")


def test_missing_shard(look, whole: Path) -> None:
    name = shards(whole)[1]
    (whole / name).unlink()
    found = look(adapter=None)
    assert (found.status, found.reason) == ("incomplete", f"{name} is missing")


def test_shard_that_lacks_a_weight(look, whole: Path) -> None:
    first, second = shards(whole)[:2]
    (whole / first).write_bytes((whole / second).read_bytes())
    found = look(adapter=None)
    assert found.status == "corrupt"
    assert found.reason.startswith(f"{first} lacks ")


def test_shard_that_is_not_finite(look, whole: Path) -> None:
    name = shards(whole)[2]
    tensors = load_file(whole / name)
    next(iter(tensors.values())).view(-1)[0] = float("nan")
    save_file(tensors, whole / name, {"format": "pt"})
    found = look(adapter=None)
    assert (found.status, found.reason[-16:]) == ("corrupt", "holds NaN or Inf")


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "pytorch_model.bin", 7])
def test_index_that_names_no_shard(look, whole: Path, name: object) -> None:
    index = json.loads((whole / INDEX).read_text())
    index["weight_map"]["lm_head.weight"] = name
    (whole / INDEX).write_text(json.dumps(index))
    found = look(adapter=None)
    assert found.status == "corrupt"
    assert found.reason == f"{INDEX} names {name!r}, which is no shard beside it"


@pytest.mark.parametrize("content", [{}, {"weight_map": []}, {"weight_map": {}}])
def test_index_without_a_map(look, whole: Path, content: dict) -> None:
    (whole / INDEX).write_text(json.dumps(content))
    assert look(adapter=None).reason == f"{INDEX} holds no weight_map"


@pytest.mark.parametrize("made", [False, True])
def test_run_without_checkpoints(recipe: Recipe, made: bool) -> None:
    if made:
        recipe.output_dir.mkdir()
    with pytest.raises(UserError, match=r"run: .*; train the recipe first"):
        checkpoints(recipe)


class Explodes:
    """Its unpickling makes a folder: the trace of whoever opened it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.trace),)


def test_pickles_are_left_alone(look, folder: Path, tmp_path: Path) -> None:
    trace = tmp_path / "opened"
    bomb = pickle.dumps(Explodes(trace))
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        (folder / name).write_bytes(bomb)
    (folder / "adapter_model.bin").write_bytes(bomb)
    assert look().status == "ok"
    (folder / WEIGHTS).unlink()
    assert (look().status, look().reason) == ("incomplete", f"{WEIGHTS} is missing")
    assert not trace.exists()
    pickle.loads(bomb)
    assert trace.exists()  # the bomb is real
