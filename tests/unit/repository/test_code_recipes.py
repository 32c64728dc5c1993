"""The recipes of the code track: the plan's values, and sisters that differ in size alone."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from tools.code.bases import POSITIONS, SIZES
from tools.code.merge import decision
from tools.files import sha256
from tools.prepare.command import code, prepare
from tools.recipe import Recipe, read_recipe
from validation.preflight.data import check_data

RECIPES = Path(__file__).parents[3] / "recipes"
# what a CPU, and a run of minutes in place of hours, make different in the tiny recipes
CPU_KEYS = {
    "base": {"base_model", "output_dir", "datasets", "test_datasets", "dataset_prepared_path",
             "sequence_len", "dataset_num_proc", "dataloader_num_workers", "examples_per_step",
             "micro_batch_size", "eval_batch_size", "num_epochs", "max_steps", "learning_rate",
             "warmup_steps", "weight_decay", "tf32", "eval_steps", "save_steps"},
    "lora": {"base_model", "output_dir", "sequence_len", "dataloader_num_workers", "max_steps",
             "learning_rate", "warmup_steps", "bf16", "tf32", "lora_qkv_kernel", "lora_o_kernel",
             "lora_mlp_kernel", "eval_steps", "save_steps", "logging_steps"},
}  # fmt: skip
PLAN = {
    "base": {"label_smoothing_factor": 0.1, "max_steps": 50_000},
    "lora": {"lora_r": 8, "lora_alpha": 16, "learning_rate": 1e-4, "examples_per_step": 8,
             "max_steps": 20_000, "warmup_steps": 500, "eval_steps": 2000, "save_steps": 2000},
}  # fmt: skip


def values(kind: str, size: str) -> dict[str, Any]:
    found = read_recipe(RECIPES / f"code-{kind}-{size}.yml").values
    return found | {"learning_rate": float(found["learning_rate"])}  # YAML reads 1e-4 as text


@pytest.mark.parametrize("kind", ["base", "lora"])
def test_the_recipes_differ_in_size_alone_and_have_the_plans_values(kind: str) -> None:
    first = values(kind, "29m")
    assert {key: first[key] for key in PLAN[kind]} == PLAN[kind]
    for size in SIZES:
        other = values(kind, size)
        differing = {key for key in first | other if first.get(key) != other.get(key)}
        expected = {"29m": set(), "tiny": CPU_KEYS[kind]}
        assert differing == expected.get(size, {"base_model", "output_dir"}), size


@pytest.mark.parametrize("size", SIZES)
def test_each_recipe_names_its_own_base(size: str) -> None:
    base, lora = values("base", size), values("lora", size)
    assert (base["base_model"], base["reinit_weights"]) == (f"data/code-base/{size}", True)
    assert lora["base_model"] == f"{base['output_dir']}/best"  # from `cogex select`
    assert max(base["sequence_len"], lora["sequence_len"]) <= POSITIONS


def test_what_the_plan_says_of_the_rows_is_the_default() -> None:
    """450 rows and 50 for validation; MBPP's simple tasks of at most 30 lines; its decision."""
    commands: dict[str | None, Any] = {
        each.name: each.callback for each in prepare.registered_commands
    }

    def default(command: str, option: str) -> Any:
        return inspect.signature(commands[command]).parameters[option].default

    of_code = inspect.signature(code).parameters
    assert (of_code["train_size"].default, of_code["val_size"].default) == (450, 50)
    assert (default("mbpp", "max_lines"), default("mbpp", "difficulty")) == (30, "simple")
    assert (default("humaneval", "max_lines"), default("humaneval", "difficulty")) == (None, "any")
    for rows, says in ((500, "enough"), (499, "usable"), (400, "usable"), (399, "fewer than 400")):
        assert says in decision(rows)


# preflight on rows of prompt and solution


def failures(folder: Path, validation: dict[str, str], **manifest: Any) -> list[str]:
    """What preflight says of two training rows and one validation row."""
    train = [row("a", "double", "return 2 * x"), row("b", "half", "return x / 2")]
    entries = []
    for name, rows in (("train", train), ("val", [validation])):
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(each) + "\n" for each in rows))
        entries.append({"path": str(path), "ds_type": "json", "type": "prompt_strategies.code"})
    hashes = {f"{name}.jsonl": sha256(folder / f"{name}.jsonl") for name in ("train", "val")}
    written = {"format": "code", "val": 1, "sha256": hashes} | manifest
    (folder / "manifest.json").write_text(json.dumps(written))
    keys = {"datasets": entries[:1], "test_datasets": entries[1:], "validation_rows": 1}
    found = check_data(Recipe(folder / "recipe.yml", keys | {"sequence_len": 512}), None)
    return [f"{each.name}: {each.found}" for each in found if each.verdict == "fail"]


def row(name: str, function: str, body: str) -> dict[str, str]:
    return {"id": name, "prompt": f"def {function}(x):\n", "solution": f"    {body}\n"}


SOUND = row("c", "triple", "return x * 3 + x")


@pytest.mark.parametrize(
    ("validation", "manifest", "said"),
    [
        (SOUND, {}, ""),
        ({"id": "c", "prompt": "x =\n", "solution": "1"}, {}, ""),  # defines no function
        (row("c", "half", "return x * 0.5"), {}, "tasks in both files: 1 validation rows"),
        (row("c", "doubled", "return 7 * x"), {}, "tasks in both files: 1 validation rows"),
        (SOUND, {"format": "cogex"}, "made as cogex"),
        (SOUND, {"sha256": {"train.jsonl": "0", "val.jsonl": "0"}}, "changed: sha256"),
    ],
    ids=["sound", "no function", "name", "body", "format", "changed"],
)
def test_preflight_reads_rows_of_code(
    tmp_path: Path, validation: dict[str, str], manifest: dict[str, Any], said: str
) -> None:
    found = failures(tmp_path, validation, **manifest)
    assert said in found[0] if said else found == []
