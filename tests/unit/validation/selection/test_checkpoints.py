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
from huggingface_hub import constants
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
    with pytest.raises(UserError, match=r"run: .*; train it first: `accelerate launch"):
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


def lie(**about: Any) -> Fault:
    text = json.dumps({"lora_B": {"dtype": "F32"} | about}).encode()
    return write(WEIGHTS, len(text).to_bytes(8, "little") + text + b"\0" * 4)


UNREADABLE = f"{WEIGHTS} cannot be read: "
NO_HISTORY = f"{STATE} holds no log_history or epoch"
CORRUPT: dict[str, tuple[Fault, str]] = {
    **{f"cut at {size}": (truncate(size), UNREADABLE) for size in (0, 100, -1)},
    "huge shape": (lie(shape=[2**40, 2**20], data_offsets=[0, 2**62]), UNREADABLE),
    "NaN": (partial(spoil, "lora_A", float("nan")), "lora_A.weight holds NaN or Inf"),
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
    "a config that is a list": (write(CONFIG, b"[1]"), f"{CONFIG} holds no JSON object"),
    "no epoch": (change(STATE, epoch=None), NO_HISTORY),
    "epoch beyond floats": (change(STATE, epoch=10**400), NO_HISTORY),
    "another step": (change(STATE, global_step=19), f"{STATE} is of step 19"),
    "another base": (
        change(CONFIG, base_model_name_or_path="other/base"),
        f"{CONFIG} is for the base 'other/base', the recipe's is ",
    ),
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


SETTINGS = {"lora_r": 4, "lora_alpha": 8, "lora_target_modules": ["q_proj", "v_proj"]}
LINEAR = {"target_modules": [f"{name}_proj" for name in ("q", "k", "v", "o", "up", "gate", "down")]}


@pytest.mark.parametrize(
    ("asked", "held"),
    [
        ({"lora_target_modules": ["v_proj", "q_proj", "v_proj"], "lora_r": "4"}, {}),
        ({"lora_target_modules": r".*\.(q|v)_proj"}, {}),
        ({"lora_target_modules": "all-linear"}, LINEAR),
        ({"lora_target_modules": None, "lora_target_linear": True}, LINEAR),
        ({"lora_exclude_modules": ["lm_head"], "peft_layers_to_transform": [1, 0]}, {}),
        ({"lora_rank_pattern": {"v_proj": 4}, "peft_use_dora": False}, {}),
        ({"lora_rank_pattern": {"v_proj": 8}}, {"rank_pattern": {"layers.[01].*.v_proj": 8}}),
        ({}, {"layers_to_transform": [0, 1], "exclude_modules": ["k_proj"]}),
    ],
)
def test_another_spelling_of_the_recipes_settings(
    look, folder: Path, asked: dict[str, Any], held: dict[str, Any]
) -> None:
    change(CONFIG, **held)(folder)
    assert look(**SETTINGS | asked).reason == ""


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"lora_r": 16}, "r is 4, not 16; base_model"),
        ({"lora_target_modules": ["q_proj"]}, "target_modules is ["),
        ({"lora_target_modules": "all-linear"}, "], not 'all-linear'; base_model"),
        ({"lora_target_modules": "("}, "they cannot be compared: "),
        ({"lora_exclude_modules": ["v_proj"]}, "exclude_modules is None, not ['v_proj']"),
        ({"peft_layers_to_transform": [0]}, "layers_to_transform is None, not [0]"),
        ({"lora_rank_pattern": {"v_proj": 8}}, "rank_pattern is {}, not "),
        ({"lora_modules_to_save": ["lm_head"]}, "modules_to_save is None"),
    ],
)
def test_adapter_of_other_settings(look, asked: dict[str, Any], reason: str) -> None:
    found = look(**SETTINGS | asked)
    assert found.status == "corrupt"
    assert found.reason.startswith(f"{CONFIG}: ") and reason in found.reason


@pytest.fixture
def snapshot(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The base in a cache of the hub, where files are links to blobs."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    model = tmp_path / "hub/models--owner--tiny"
    snapshot = model / "snapshots/abc"
    for path in (snapshot, model / "refs", model / "blobs"):
        path.mkdir(parents=True)
    (model / "refs/main").write_text("abc")
    for file in tiny_base.iterdir():
        shutil.copy(file, model / "blobs")
        (snapshot / file.name).symlink_to(Path("../../blobs") / file.name)
    return snapshot


def test_another_spelling_of_the_base(
    look, folder: Path, tiny_base: Path, snapshot: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tiny_base.parent)
    (tmp_path / "link").symlink_to(tiny_base)
    names = [f"{tiny_base}/", tiny_base.name, f"./{tiny_base.name}//", str(tmp_path / "link"),
             f"{tiny_base}/../{tiny_base.name}", str(snapshot), "owner/tiny"]  # fmt: skip
    for name in names:
        assert look(base_model=name).reason == "", name
    change(CONFIG, base_model_name_or_path="owner/tiny")(folder)
    for name in names:
        assert look(base_model=name).reason == "", name
    assert look(base_model="owner/tiny", revision_of_model="def").status == "ok"  # the same words
    assert look(base_model=str(tiny_base), revision_of_model="def").status == "ok"


@pytest.mark.parametrize("name", ["other/base", None, ["x"], "x" * 5000, "a\0b"])
def test_another_base(look, folder: Path, name: Any) -> None:
    change(CONFIG, base_model_name_or_path=name)(folder)
    assert f"{CONFIG} is for the base {name!r}, the recipe's is " in look().reason


def test_a_base_of_other_weights_or_of_none_here(look, tiny_base: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_base, tmp_path / "copy")
    assert look(base_model=str(copy)).status == "ok"
    weights = load_file(copy / "model.safetensors")
    next(iter(weights.values())).view(-1)[0] += 1
    save_file(weights, copy / "model.safetensors")
    assert look(base_model=str(copy)).status == "corrupt"
    (copy / "model.safetensors").unlink()
    assert look(base_model=str(copy)).status == "corrupt"


def test_links_to_another_disk_are_followed(look, folder: Path, tmp_path: Path) -> None:
    for name in (STATE, CONFIG, WEIGHTS):
        (folder / name).rename(tmp_path / name)
        (folder / name).symlink_to(tmp_path / name)
    assert look().status == "ok"
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert look().status == "ok"


def test_an_adapter_of_embeddings_alone_is_no_idle_one(look, folder: Path) -> None:
    tensors = {"model.embed_tokens.lora_embedding_A": torch.ones(4, 9),
               "model.embed_tokens.lora_embedding_B": torch.ones(32, 4)}  # fmt: skip
    save_file(tensors, folder / WEIGHTS)
    assert look().status == "ok"
    tensors["model.embed_tokens.lora_embedding_A"].zero_()
    save_file(tensors, folder / WEIGHTS)
    assert "does nothing" in look().reason


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


@pytest.mark.parametrize("name", ["../other.safetensors", "pytorch_model.bin", 7])
def test_index_that_names_no_shard(look, whole: Path, name: object) -> None:
    index = json.loads((whole / INDEX).read_text())
    change(INDEX, weight_map=index["weight_map"] | {"lm_head.weight": name})(whole)
    found = look(adapter=None)
    assert found.status == "corrupt"
    assert found.reason == f"{INDEX} names {name!r}, which is no shard beside it"
    change(INDEX, weight_map={})(whole)
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
