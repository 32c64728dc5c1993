"""The recipes of the code track: the plan's values, and sisters that differ in size alone."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tools.code.bases import POSITIONS, SIZES
from tools.files import sha256
from tools.recipe import Recipe, read_recipe
from tools.training.label_smoothing import LabelSmoothingPlugin
from tools.training.resume import Launch, what_is_missing
from validation.preflight.data import check_data

RECIPES = Path(__file__).parents[3] / "recipes"
LARGER = ("52m", "88m", "105m")
# what a CPU, and a run of minutes in place of hours, make different in the tiny recipes
CPU_KEYS = {
    "base": {"base_model", "output_dir", "datasets", "test_datasets", "dataset_prepared_path",
             "sequence_len", "dataset_num_proc", "dataloader_num_workers", "examples_per_step",
             "micro_batch_size",
             "eval_batch_size", "num_epochs", "max_steps", "learning_rate", "warmup_steps",
             "weight_decay", "plugins", "tf32", "eval_steps", "save_steps"},
    "lora": {"base_model", "output_dir", "sequence_len", "dataloader_num_workers", "max_steps",
             "learning_rate", "warmup_steps", "bf16", "tf32", "lora_qkv_kernel", "lora_o_kernel",
             "lora_mlp_kernel", "eval_steps", "save_steps", "logging_steps"},
}  # fmt: skip
PLAN = {
    "base": {"label_smoothing_factor": 0.1, "max_steps": 50_000},
    "lora": {"lora_r": 8, "lora_alpha": 16, "learning_rate": 1e-4, "examples_per_step": 8,
             "max_steps": 20_000, "warmup_steps": 500,
             "eval_steps": 2000, "save_steps": 2000},
}  # fmt: skip


def values(kind: str, size: str) -> dict[str, Any]:
    return read_recipe(RECIPES / f"code-{kind}-{size}.yml").values


def differing(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    return {key for key in one | other if one.get(key) != other.get(key)}


@pytest.mark.parametrize("kind", ["base", "lora"])
@pytest.mark.parametrize("size", LARGER)
def test_a_larger_recipe_differs_in_base_and_output_alone(kind: str, size: str) -> None:
    assert differing(values(kind, "29m"), values(kind, size)) == {"base_model", "output_dir"}


@pytest.mark.parametrize("kind", ["base", "lora"])
def test_the_tiny_recipe_differs_in_what_a_cpu_needs(kind: str) -> None:
    assert differing(values(kind, "29m"), values(kind, "tiny")) == CPU_KEYS[kind]


@pytest.mark.parametrize("kind", PLAN)
def test_the_values_are_the_plans(kind: str) -> None:
    found = values(kind, "29m")
    assert {key: yaml_number(found[key]) for key in PLAN[kind]} == PLAN[kind]


def yaml_number(value: Any) -> Any:
    """YAML reads 1e-4 as text."""
    return float(value) if isinstance(value, str) else value


@pytest.mark.parametrize("size", SIZES)
def test_each_recipe_names_its_own_base(size: str) -> None:
    base, lora = values("base", size), values("lora", size)
    assert base["base_model"] == f"data/code-base/{size}"
    assert base["reinit_weights"] is True
    assert lora["base_model"] == f"{base['output_dir']}/best"  # from `cogex select`
    assert max(base["sequence_len"], lora["sequence_len"]) <= POSITIONS


def test_the_key_of_label_smoothing_reaches_the_trainer() -> None:
    # that the engine's loss is then smoothed: tests/engine/test_every_recipe.py
    from axolotl.integrations.base import PluginManager
    from axolotl.utils.config import validate_config
    from axolotl.utils.dict import DictDefault

    manager = PluginManager.get_instance()
    manager.plugins["tools.training.label_smoothing.LabelSmoothingPlugin"] = LabelSmoothingPlugin()
    written = values("base", "29m") | {
        "plugins": ["tools.training.label_smoothing.LabelSmoothingPlugin"]
    }
    checked = validate_config(
        DictDefault(written),
        capabilities={"bf16": True, "tf32": True, "n_gpu": 1, "compute_capability": "sm_89"},
        env_capabilities={"torch_version": "2.13.0"},
    )
    assert checked.label_smoothing_factor == 0.1
    assert LabelSmoothingPlugin().get_training_args(checked) == {"label_smoothing_factor": 0.1}


def whole_model(folder: Path, step: int) -> Path:
    """A checkpoint of a base in training, as the trainer leaves it."""
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{}")
    (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    save_file({"weight": torch.ones(2)}, checkpoint / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({}, checkpoint / name)
    return checkpoint


@pytest.mark.parametrize("missing", [None, "model.safetensors", "config.json", "optimizer.pt"])
def test_a_base_goes_on_from_its_whole_checkpoint(tmp_path: Path, missing: str | None) -> None:
    checkpoint = whole_model(tmp_path, 5)
    if missing:
        (checkpoint / missing).unlink()
    said = what_is_missing(checkpoint, Launch(values("base", "29m"), ranks=1, rank=0))
    assert said == (f"{missing} is missing" if missing else None)


# preflight on rows of prompt and solution


def code_recipe(folder: Path, val: list[dict[str, str]], manifest: dict[str, Any]) -> Recipe:
    """A recipe on two files of rows, with the manifest of `cogex prepare code`."""
    train = [row("a", "double", "return 2 * x"), row("b", "half", "return x / 2")]
    entries = []
    for name, rows in (("train", train), ("val", val)):
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(each) + "\n" for each in rows))
        entries.append({"path": str(path), "ds_type": "json", "type": "prompt_strategies.code"})
    hashes = {f"{name}.jsonl": sha256(folder / f"{name}.jsonl") for name in ("train", "val")}
    written = {"format": "code", "val": len(val), "sha256": hashes} | manifest
    (folder / "manifest.json").write_text(json.dumps(written))
    keys = {"datasets": entries[:1], "test_datasets": entries[1:]}
    return Recipe(folder / "recipe.yml", keys | {"sequence_len": 512, "validation_rows": 1})


def row(name: str, function: str, body: str) -> dict[str, str]:
    return {"id": name, "prompt": f"def {function}(x):\n", "solution": f"    {body}\n"}


def failures(recipe: Recipe) -> list[str]:
    found = check_data(recipe, None)
    return [f"{each.name}: {each.found}" for each in found if each.verdict == "fail"]


def test_preflight_knows_prepared_rows_of_code(tmp_path: Path) -> None:
    assert failures(code_recipe(tmp_path, [row("c", "triple", "return x * 3 + x")], {})) == []


@pytest.mark.parametrize(
    "twin",
    [row("c", "half", "return x * 0.5"), row("c", "doubled", "return 7 * x")],
    ids=["name", "body"],
)
def test_preflight_finds_a_near_duplicate_in_both_files(
    tmp_path: Path, twin: dict[str, str]
) -> None:
    [said] = failures(code_recipe(tmp_path, [twin], {}))
    assert said.startswith("tasks in both files: 1 validation rows")


def test_preflight_finds_rows_of_code_made_otherwise(tmp_path: Path) -> None:
    val = [row("c", "triple", "return x * 3 + x")]
    assert "made as cogex" in failures(code_recipe(tmp_path, val, {"format": "cogex"}))[0]
    recipe = code_recipe(tmp_path, val, {})
    (tmp_path / "val.jsonl").write_text(json.dumps(row("c", "other", "return 0")) + "\n")
    assert "changed: sha256" in failures(recipe)[0]


def test_preflight_reads_rows_that_define_no_function(tmp_path: Path) -> None:
    assert (
        failures(code_recipe(tmp_path, [{"id": "c", "prompt": "x =\n", "solution": "1"}], {})) == []
    )
