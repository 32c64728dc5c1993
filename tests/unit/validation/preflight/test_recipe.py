"""What preflight says of a recipe: each verdict, where the shipped recipes alone do not show it."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tools.recipe import Recipe, read_recipe
from tools.recipe_header import Header, read_header
from validation.preflight.cards import CARDS
from validation.preflight.keys import empty_keys, repeated_keys
from validation.preflight.launch_files import accelerate_problems, deepspeed_problems, fill_auto
from validation.preflight.recipe import check_recipe, recipes_in
from validation.verdict import VerdictRow

ROOT = Path(__file__).parents[4]
SEVEN_B = ROOT / "recipes" / "cogex-llama2-7b.yml"
LAUNCH_FILES = [*(ROOT / "recipes").glob("deepspeed/*"), *(ROOT / "recipes").glob("accelerate/*")]


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture
def values() -> dict[str, Any]:
    return read_recipe(SEVEN_B).values


@pytest.fixture
def header() -> Header:
    return read_header(SEVEN_B)


def look(
    values: dict[str, Any], header: Header, card: str | None = "a6000"
) -> dict[str, VerdictRow]:
    """The verdicts by name, for two GPUs."""
    planned = CARDS[card] if card else None
    verdicts = check_recipe(Recipe(SEVEN_B, values), header, card=planned, gpus=2)
    assert all(row.section == "recipe" for row in verdicts)
    return {row.name: row for row in verdicts}


def test_every_failure_says_what_to_do(header: Header) -> None:
    broken = {
        "adapter": "lora",
        "output_dir": "outputs/cogex-tiny",
        "special_tokens": {"pad_token": "</s>"},
        "deepspeed": "nowhere.json",
        "datasets": 3,
        "save_total_limit": 0,
        "attn_implementation": "flash_attention_2",
        "tf32": True,
        "lora_alhpa": None,
    }
    verdicts = look(broken, replace(header, ranks=3), card=None).values()
    failed = [row for row in verdicts if row.verdict == "fail"]
    assert len(failed) >= 14
    assert all(row.todo and row.found for row in failed)


def test_nothing_is_said_beside_the_findings(
    values: dict[str, Any], header: Header, caplog: pytest.LogCaptureFixture
) -> None:
    level = logging.root.manager.disable
    look(values | {"sample_packing": True}, header)  # Axolotl would warn
    assert caplog.records == []
    assert logging.root.manager.disable == level


# keys


def test_a_key_like_no_other_gets_no_hint(values: dict[str, Any], header: Header) -> None:
    said = look(values | {"zzzzzz": 1}, header)["keys"]
    assert (said.verdict, said.value) == ("fail", "`zzzzzz` is no key of Axolotl")


def test_every_unknown_key_is_named(values: dict[str, Any], header: Header) -> None:
    said = look(values | {"lora_rr": 16, "sead": 42}, header)["keys"].found
    assert "`lora_rr` is no key of Axolotl; did you mean `lora_r`?" in said
    assert "`sead` is no key of Axolotl; did you mean `seed`?" in said


def test_keys_of_a_plugin_are_known_with_it_alone(
    values: dict[str, Any], header: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    from axolotl.integrations.base import PluginManager

    monkeypatch.setattr(PluginManager.get_instance(), "plugins", {})  # it keeps all it has met
    values |= {"liger_rope": True}
    assert "`liger_rope` is no key" in look(values, header)["keys"].found
    plugins = [*values["plugins"], "axolotl.integrations.liger.LigerPlugin"]
    assert look(values | {"plugins": plugins}, header)["keys"].verdict == "ok"


def test_free_mappings_may_hold_any_key(values: dict[str, Any], header: Header) -> None:
    free = {"bnb_config_kwargs": {"any": 1}, "model_type": "LlamaForCausalLM"}  # and an alias
    assert look(values | free, header)["keys"].verdict == "ok"


def test_empty_keys_are_found_at_any_depth() -> None:
    nested = {"a": None, "b": [{"c": "", "d": 0}, {"e": {"f": []}}], "g": False}
    assert list(empty_keys(nested)) == ["a", "b.0.c", "b.1.e.f"]


def test_repeated_keys_are_found_at_any_depth() -> None:
    text = "a: 1\nb:\n  - c: 1\n    c: 2\n  - c: 3\nd: {e: 1, e: 2}\na: 2\n"
    assert list(repeated_keys(text)) == ["a", "c", "e"]


# schema


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lora_r": "many"}, "`lora_r: many`: Input should be a valid integer"),
        ({"warmup_steps": 10}, "warmup_steps and warmup_ratio are mutually exclusive"),
        ({"adapter": "qlora"}, "Require cfg.load_in_4bit to be True for qlora"),
        ({"datasets": [{"path": 3}]}, "`path: 3`: Input should be a valid string"),
        ({"datasets": "train.jsonl"}, "dictionary update sequence"),
    ],
)
def test_the_schemas_first_complaint_is_readable(
    values: dict[str, Any], header: Header, given: dict[str, Any], message: str
) -> None:
    said = look(values | given, header)["schema"]
    assert said.verdict == "fail"
    assert message in said.value
    assert "\n" not in said.value


@pytest.mark.parametrize("key", ["num_epochs", "lora_r", "learning_rate", "logging_steps"])
@pytest.mark.parametrize("value", [0, -16, False, True, float("nan"), float("inf"), "many", None])
def test_what_must_be_above_zero_is(
    values: dict[str, Any], header: Header, key: str, value: Any
) -> None:
    assert look(values, header)["sizes"].verdict == "ok"
    said = look(values | {key: value}, header)["sizes"]
    assert said.verdict == "fail" and f"`{key}` is {value!r}" in said.value


def test_the_schema_sees_the_card_planned(values: dict[str, Any], header: Header) -> None:
    values["fp8"] = True
    assert "fp8 is not supported on this GPU" in look(values, header, "a6000")["schema"].found
    assert "not supported on this GPU" not in look(values, header, "h100")["schema"].found


# header


def test_a_launch_line_is_read_from_the_working_folder(
    values: dict[str, Any], header: Header, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert look(values, header)["launch line"].verdict == "ok"
    monkeypatch.chdir(tmp_path)
    assert look(values, header)["launch line"].verdict == "fail"


# the run


@pytest.mark.parametrize(
    ("given", "made", "verdict"),
    [
        ({"save_steps": 10, "save_total_limit": 10}, "all 10 are kept", "ok"),
        ({"save_steps": 10, "save_total_limit": 9}, "10 are made, the last 9 kept", "fail"),
        ({"save_steps": 30}, "all 4 are kept", "ok"),
        ({"save_steps": 19}, "6 are made, the last 4 kept", "fail"),
        ({"save_steps": 0.2}, "5 are made, the last 4 kept", "fail"),
        ({"save_steps": 10, "max_steps": 40}, "all 4 are kept", "ok"),
        ({"save_steps": 10, "max_steps": 41}, "5 are made, the last 4 kept", "fail"),
        ({"saves_per_epoch": 3}, "6 are made, the last 4 kept", "fail"),
        ({"save_strategy": "epoch"}, "all 2 are kept", "ok"),
        ({"save_steps": "ten"}, "the last 4 are kept; how many come is not known yet", "note"),
    ],
)
def test_checkpoints_are_counted(
    header: Header, tmp_path: Path, given: dict[str, Any], made: str, verdict: str
) -> None:
    rows = tmp_path / "train.jsonl"
    rows.write_text("{}\n" * 1600)  # two epochs of 50 steps
    values = {"num_epochs": 2, "output_dir": "outputs/x", "datasets": [{"path": str(rows)}]}
    values["examples_per_step"] = 32
    said = look(values | given, header)["checkpoints"]
    assert (said.value, said.verdict) == (made, verdict)


def test_checkpoints_by_step_need_the_rows(values: dict[str, Any], header: Header) -> None:
    values |= {"save_steps": 10, "datasets": [{"path": "nowhere.jsonl"}]}
    assert look(values, header)["checkpoints"].verdict == "note"


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ({"evals_per_epoch": 2, "saves_per_epoch": 2}, "ok"),
        ({"evals_per_epoch": 1, "save_strategy": "epoch"}, "ok"),
        ({"eval_steps": 50, "save_steps": 50}, "ok"),
        ({"eval_steps": 50, "save_steps": 100}, "fail"),
        ({"evals_per_epoch": 1, "save_steps": 50}, "fail"),
        ({}, "fail"),
    ],
)
def test_evaluations_and_checkpoints_agree(
    header: Header, given: dict[str, Any], verdict: str
) -> None:
    assert look({"output_dir": "outputs/x"} | given, header)["evaluation"].verdict == verdict


def test_the_same_folder_in_other_words_is_found(
    values: dict[str, Any], header: Header, tmp_path: Path
) -> None:
    for name, folder in (("one", "outputs/x"), ("two", "./outputs/x/"), ("three", "outputs/xy")):
        (tmp_path / f"{name}.yml").write_text(f"output_dir: {folder}\n")
    recipe = read_recipe(tmp_path / "one.yml")
    verdicts = check_recipe(recipe, header, card=None, gpus=1)
    said = next(row for row in verdicts if row.name == "output folder")
    assert said.value == "outputs/x is also the folder of two.yml"


def test_a_recipe_without_data_and_output_is_still_looked_at(header: Header) -> None:
    found = look({"seed": 42, "save_steps": 10}, header)
    assert found["output folder"].found == "`output_dir` is not set"
    assert found["checkpoints"].verdict == "note"
    assert found["seed"].verdict == "ok"


def test_pad_named_as_the_recipes_own_eos(values: dict[str, Any], header: Header) -> None:
    values["special_tokens"] = {"eos_token": "<end>", "pad_token": "<end>"}
    assert look(values, header)["pad token"].verdict == "fail"


# where it runs


def test_packing_with_sdpa_is_noted_before_hopper(values: dict[str, Any], header: Header) -> None:
    values["sample_packing"] = True
    assert look(values, header, "rtx4090")["attention"].verdict == "note"
    assert look(values, header, "h100")["attention"].verdict == "ok"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_precision_is_said_to_be_untried(
    values: dict[str, Any], header: Header
) -> None:
    said = look(values, header)["precision"]
    expected = "bf16, tf32: cannot be tried here, this machine has no GPU"
    assert (said.verdict, said.value) == ("note", expected)


def test_one_kernel_named_switches_axolotls_choice_off(
    values: dict[str, Any], header: Header
) -> None:
    assert look(values, header)["LoRA kernels"].found == "on, as Axolotl chooses"
    assert look(values | {"lora_o_kernel": False}, header)["LoRA kernels"].found == "off"
    assert look(values | {"lora_o_kernel": True}, header, None)["LoRA kernels"].verdict == "fail"


# launch files


def test_recipes_are_found_without_launch_files() -> None:
    found = recipes_in(ROOT / "recipes")
    assert SEVEN_B in found
    assert not {path.parent.name for path in found} & {"deepspeed", "accelerate"}


def test_auto_is_filled_with_the_recipes_values(values: dict[str, Any]) -> None:
    config = json.loads((ROOT / "recipes" / "deepspeed" / "zero2.json").read_text())
    filled = fill_auto(config, values)
    assert filled["train_micro_batch_size_per_gpu"] == 4
    assert filled["gradient_clipping"] == 1.0
    assert filled["bf16"] == {"enabled": True}


@pytest.mark.parametrize("stage", [2, 3])
def test_deepspeed_file_is_accepted(stage: int, values: dict[str, Any]) -> None:
    path = ROOT / "recipes" / "deepspeed" / f"zero{stage}.json"
    config = json.loads(path.read_text())
    assert config["zero_optimization"]["stage"] == stage
    assert '"auto"' not in json.dumps(fill_auto(config, values))
    assert list(deepspeed_problems(path, values)) == []


def test_deepspeed_and_fsdp_exclude_each_other(values: dict[str, Any]) -> None:
    values["fsdp_config"] = {"offload_params": False}
    path = ROOT / "recipes" / "deepspeed" / "zero2.json"
    assert list(deepspeed_problems(path, values)) == [
        "`deepspeed` and `fsdp_config` exclude each other"
    ]


@pytest.mark.parametrize(("name", "ranks"), [("1gpu", 1), ("2gpu", 2), ("2node", 4)])
def test_accelerate_file_is_accepted(name: str, ranks: int) -> None:
    path = ROOT / "recipes" / "accelerate" / f"{name}.yml"
    assert list(accelerate_problems(path, ranks)) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_processes": 3}, "starts 3 processes, the header has 2 GPUs"),
        ({"distributed_type": "DEEPSPEED"}, "distributed_type DEEPSPEED brings its own settings"),
        ({"distributed_type": "MULTI_CPU_"}, "cannot be used: 'MULTI_CPU_' is not a valid"),
        ({"num_proceses": 2}, "cannot be used: The config file .* had unknown keys"),
    ],
)
def test_faulty_accelerate_file(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    whole = yaml.safe_load((ROOT / "recipes" / "accelerate" / "2gpu.yml").read_text())
    path = tmp_path / "faulty.yml"
    path.write_text(yaml.safe_dump(whole | changed))
    with pytest.raises(AssertionError, match=message):
        assert "; ".join(accelerate_problems(path, 2)) == ""


def test_every_launch_file_is_looked_at_here() -> None:
    names = {path.name for path in LAUNCH_FILES}
    assert names == {"zero2.json", "zero3.json", "1gpu.yml", "2gpu.yml", "2node.yml"}
