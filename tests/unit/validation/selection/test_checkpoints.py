"""Every fault of a checkpoint folder is seen and named, and no pickle is ever opened."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from functools import partial
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

Fault = Callable[[Path], Any]


@pytest.fixture
def folder(tmp_path: Path, write_checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good checkpoint, the only one of its run; made once."""
    made = tmp_path_factory.getbasetemp() / "good" / "checkpoint-20"
    if not made.exists():
        write_checkpoint(made.parent, 20, loss=1.5)
    return shutil.copytree(made, tmp_path / "run" / "checkpoint-20")


@pytest.fixture
def look(folder: Path, recipe: Recipe) -> Callable[..., Checkpoint]:
    """Read the run and return its checkpoint."""

    def look(**values: Any) -> Checkpoint:
        [checkpoint] = checkpoints(Recipe(recipe.path, recipe.values | values))
        return checkpoint

    return look


def test_good_checkpoint_among_other_files_and_folders(look, folder: Path) -> None:
    for name in ("checkpoint-x", "tmp-checkpoint-30", "checkpoint-30-old", "best", "runs"):
        (folder.parent / name).mkdir()
    (folder.parent / "checkpoint-40").write_text("a file")
    assert look() == Checkpoint(folder, 20, 2.0, 1.5, "ok", "", (CONFIG, WEIGHTS))
    assert look().name == "checkpoint-20"


def test_checkpoints_come_by_step(recipe: Recipe, folder: Path) -> None:
    for step in (100, 9):
        shutil.copytree(folder, recipe.output_dir / f"checkpoint-{step}")
    assert [found.step for found in checkpoints(recipe)] == [9, 20, 100]


@pytest.mark.parametrize("made", [False, True])
def test_run_without_checkpoints(recipe: Recipe, made: bool) -> None:
    if made:
        recipe.output_dir.mkdir()
    with pytest.raises(UserError, match=r"run: .*; train the recipe first"):
        checkpoints(recipe)


def write(name: str, content: bytes) -> Fault:
    return lambda folder: (folder / name).write_bytes(content)


def truncate(size: int) -> Fault:
    return lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:size])


def change(name: str, **values: Any) -> Fault:
    """Set keys of a JSON file."""

    def plant(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | values))

    return plant


def spoil(part: str, value: float, folder: Path) -> None:
    """Set the weights whose names hold `part`, all to 0, or the last number of one to a value."""
    tensors = load_file(folder / WEIGHTS)
    for key in filter(lambda key: part in key, tensors):
        if value == 0:
            tensors[key].zero_()
        else:
            tensors[key].view(-1)[-1] = value
            break
    save_file(tensors, folder / WEIGHTS)


def link_out(name: str, folder: Path) -> None:
    (folder / name).rename(folder.parents[1] / name)
    (folder / name).symlink_to(folder.parents[1] / name)


def header(length: int, content: bytes = b"{}") -> Fault:
    """The start of a safetensors file: the length of its header, and that."""
    return write(WEIGHTS, length.to_bytes(8, "little") + content)


def lie(**about: Any) -> Fault:
    text = json.dumps({"lora_B": {"dtype": "F32"} | about}).encode()
    return header(len(text), text + b"\0" * 4)


UNREADABLE = f"{WEIGHTS} cannot be read: "
NO_HISTORY = f"{STATE} holds no log_history or epoch"
CORRUPT: dict[str, tuple[Fault, str]] = {
    **{f"cut at {size}": (truncate(size), UNREADABLE) for size in (0, 5, 100, -1)},
    "header of 2**64": (header(2**64 - 1), UNREADABLE),
    "header longer than the file": (header(10**9), UNREADABLE),
    "header that is a list": (header(2, b"[]"), UNREADABLE),
    "huge shape": (lie(shape=[2**40, 2**20], data_offsets=[0, 2**62]), UNREADABLE),
    "data outside": (lie(shape=[1], data_offsets=[2**20, 2**20 + 4]), UNREADABLE),
    "unknown type": (lie(dtype="PICKLE", shape=[1], data_offsets=[0, 4]), UNREADABLE),
    "NaN": (partial(spoil, "lora_A", float("nan")), "lora_A.weight holds NaN or Inf"),
    "-Inf": (partial(spoil, "lora_A", float("-inf")), "lora_A.weight holds NaN or Inf"),
    "untrained": (
        partial(spoil, "lora_B", 0),
        f"{WEIGHTS}: every lora_B is zero, so the adapter does nothing",
    ),
    "no numbers": (
        lambda folder: save_file({"lora_B": torch.ones(2).to(torch.int8)}, folder / WEIGHTS),
        f"{WEIGHTS}: lora_B holds no floating-point numbers",
    ),
    "half a state": (write(STATE, b'{"epoch": 1'), f"{STATE} is not valid JSON"),
    "a config of bytes": (write(CONFIG, b"\xff\xfe"), f"{CONFIG} is not valid JSON"),
    "a deep state": (write(STATE, b"[" * 100_000), f"{STATE} is not valid JSON"),
    "a config that is a list": (write(CONFIG, b"[1]"), f"{CONFIG} holds no JSON object"),
    "no epoch": (change(STATE, epoch=None), NO_HISTORY),
    "no history": (change(STATE, log_history=None), NO_HISTORY),
    "epoch as text": (change(STATE, epoch="1"), NO_HISTORY),
    "epoch NaN": (change(STATE, epoch=float("nan")), NO_HISTORY),
    "epoch beyond floats": (change(STATE, epoch=10**400), NO_HISTORY),
    "another step": (change(STATE, global_step=19), f"{STATE} is of step 19"),
    "step as text": (change(STATE, global_step="20"), f"{STATE} is of step '20'"),
    "another base": (
        change(CONFIG, base_model_name_or_path="other/base"),
        f"{CONFIG} is for the base 'other/base', the recipe's is ",
    ),
    **{
        f"{name} links out": (partial(link_out, name), f"{name} links out of the run folder")
        for name in (STATE, CONFIG, WEIGHTS)
    },
}


@pytest.mark.parametrize("fault", CORRUPT)
def test_corrupt_file(look, folder: Path, fault: str) -> None:
    plant, reason = CORRUPT[fault]
    plant(folder)
    found = look()
    assert found.status == "corrupt" and reason in found.reason


@pytest.mark.parametrize("name", [STATE, CONFIG, WEIGHTS])
def test_missing_file(look, folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert (look().status, look().reason) == ("incomplete", f"{name} is missing")
    (folder / name).symlink_to(name)  # to itself
    assert look().status == "incomplete"


@pytest.mark.parametrize("loss", [float("nan"), 10**400, "1.0", None])
def test_logged_loss_that_is_no_number(look, folder: Path, loss: object) -> None:
    history = ["stray", {"step": 20, "loss": 1.0}, {"step": 20, "eval_loss": loss}]
    change(STATE, log_history=history)(folder)
    assert (look().status, look().logged_eval_loss) == ("ok", None)


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


def test_folder_that_links_out_of_the_run(look, folder: Path, tmp_path: Path) -> None:
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert look().reason == "checkpoint-20 links out of the run folder"


def test_links_within_the_run_are_followed(look, folder: Path) -> None:
    (folder / WEIGHTS).rename(folder.parent / "shared.safetensors")
    (folder / WEIGHTS).symlink_to("../shared.safetensors")
    assert look().status == "ok"


# whole models


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


def test_good_models_in_shards_and_in_one_file(look, whole: Path, tiny_base: Path) -> None:
    names = shards(whole)
    assert look(adapter=None).files == ("config.json", INDEX, *names) and len(names) > 2
    for name in (INDEX, *names):
        (whole / name).unlink()
    assert look(adapter=None).reason == "model.safetensors is missing"
    shutil.copy(tiny_base / "model.safetensors", whole)
    found = look(adapter=None)
    assert (found.status, found.files) == ("ok", ("config.json", "model.safetensors"))


def test_faulty_shards(look, whole: Path) -> None:
    first, second, third = shards(whole)[:3]
    tensors = load_file(whole / third)
    next(iter(tensors.values())).view(-1)[0] = float("nan")
    save_file(tensors, whole / third, {"format": "pt"})
    assert look(adapter=None).reason.endswith("holds NaN or Inf")
    shutil.copy(whole / first, whole / second)
    assert look(adapter=None).reason.startswith(f"{second} lacks ")
    (whole / first).unlink()
    found = look(adapter=None)
    assert (found.status, found.reason) == ("incomplete", f"{first} is missing")


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "pytorch_model.bin", 7])
def test_index_that_names_no_shard(look, whole: Path, name: object) -> None:
    index = json.loads((whole / INDEX).read_text())
    change(INDEX, weight_map=index["weight_map"] | {"lm_head.weight": name})(whole)
    found = look(adapter=None)
    assert found.status == "corrupt"
    assert found.reason == f"{INDEX} names {name!r}, which is no shard beside it"


@pytest.mark.parametrize("weight_map", [None, {}])
def test_index_without_a_map(look, whole: Path, weight_map: object) -> None:
    change(INDEX, weight_map=weight_map)(whole)
    assert look(adapter=None).reason == f"{INDEX} holds no weight_map"


class Explodes:
    """Its unpickling makes a folder: the trace of whoever opened it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.trace),)


def test_pickles_are_left_alone(look, folder: Path, tmp_path: Path) -> None:
    trace = tmp_path / "opened"
    bomb = pickle.dumps(Explodes(trace))
    for name in ("optimizer.pt", "rng_state.pth", "training_args.bin", "adapter_model.bin"):
        (folder / name).write_bytes(bomb)
    assert look().status == "ok"
    (folder / WEIGHTS).unlink()
    assert (look().status, look().reason) == ("incomplete", f"{WEIGHTS} is missing")
    assert not trace.exists()
    pickle.loads(bomb)
    assert trace.exists()  # the bomb is real
