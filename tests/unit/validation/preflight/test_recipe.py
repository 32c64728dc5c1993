"""What preflight says of a recipe: each verdict, where the shipped recipes alone do not show it."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoConfig

from tools.recipe import Recipe, read_recipe, recipes_in
from tools.recipe_header import read_header
from validation.preflight.cards import CARDS
from validation.preflight.keys import empty_keys, repeated_keys
from validation.preflight.launch_files import accelerate_problems, deepspeed_problems
from validation.preflight.recipe import check_recipe
from validation.verdict import VerdictRow

ROOT = Path(__file__).parents[4]
SEVEN_B = ROOT / "recipes" / "cogex-llama2-7b.yml"
HEADER = read_header(SEVEN_B)
WHOLE = read_recipe(SEVEN_B).values
PLUGINS = WHOLE["plugins"]


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def look(
    values: dict[str, Any], card: str | None = "a6000", ranks: int = 2
) -> dict[str, VerdictRow]:
    """The verdicts by name, for two GPUs."""
    planned = CARDS[card] if card else None
    header = replace(HEADER, ranks=ranks)
    verdicts = check_recipe(Recipe(SEVEN_B, values), header, card=planned, gpus=2)
    assert all(row.section == "recipe" for row in verdicts)
    return {row.name: row for row in verdicts}


def test_every_failure_says_what_to_do() -> None:
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
    failed = [row for row in look(broken, card=None, ranks=3).values() if row.verdict == "fail"]
    assert len(failed) >= 12
    assert all(row.todo and row.found for row in failed)


def test_nothing_is_said_beside_the_verdicts(caplog: pytest.LogCaptureFixture) -> None:
    level = logging.root.manager.disable
    look(WHOLE | {"sample_packing": True})  # Axolotl would warn
    assert caplog.records == []
    assert logging.root.manager.disable == level


def test_empty_and_repeated_keys_are_found_at_any_depth() -> None:
    nested = {"a": None, "b": [{"c": "", "d": 0}, {"e": {"f": []}}], "g": False}
    assert list(empty_keys(nested)) == ["a", "b.0.c", "b.1.e.f"]
    text = "a: 1\nb:\n  - c: 1\n    c: 2\n  - c: 3\nd: {e: 1, e: 2}\na: 2\n"
    assert list(repeated_keys(text)) == ["a", "c", "e"]


def test_keys_of_a_plugin_are_known_with_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from axolotl.integrations.base import PluginManager

    monkeypatch.setattr(PluginManager.get_instance(), "plugins", {})  # it keeps all it has met
    values = WHOLE | {"liger_rope": True}
    assert "`liger_rope` is not a key" in look(values)["keys"].found
    values["plugins"] = [*PLUGINS, "axolotl.integrations.liger.LigerPlugin"]
    assert look(values)["keys"].verdict == "ok"


# what is changed, none of which hides another; of each check its verdict, and part of its finding

CHANGES: list[tuple[dict[str, Any], list[tuple[str, str, str]]]] = [
    ({}, [
        ("keys", "ok", "known to Axolotl"), ("sizes", "ok", ""),
        ("launch line", "ok", "recipes/cogex-llama2-7b.yml"),
        ("LoRA kernels", "ok", "on, as Axolotl chooses"),
    ]),
    ({"bnb_config_kwargs": {"any": 1}, "model_type": "LlamaForCausalLM", "lora_o_kernel": False,
      "evals_per_epoch": 2, "saves_per_epoch": 2, "lora_r": "many", "sample_packing": True}, [
        ("keys", "ok", ""), ("LoRA kernels", "ok", "off"), ("evaluation", "ok", "2 an epoch"),
        ("schema", "fail", "`lora_r: many`: Input should be a valid integer"),
        ("sizes", "fail", "`lora_r` is 'many'"), ("attention", "note", "the loss may be 0.0"),
    ]),
    ({"num_epochs": 1}, [("evaluation", "fail", "Axolotl never evaluates where")]),
    ({"zzzzzz": 1, "lora_rr": 16, "fsdp_config": {"reshard_afer_forward": True},
      "learning_rate": 0, "evals_per_epoch": 2, "attn_implementation": "flash_attention_3",
      "plugins": ["axolotl.integrations.liger.LigerPlugin"], "logging_steps": None, "seed": None,
      "lora_target_modules": None, "output_dir": "outputs/cogex-tiny"}, [
        ("keys", "fail", "`zzzzzz` is not a key of Axolotl;"),
        ("keys", "fail", "`lora_rr` is not a key of Axolotl; did you mean `lora_r`?"),
        ("keys", "fail", "`reshard_after_forward`"),
        ("sizes", "fail", "`learning_rate` is 0"),
        ("evaluation", "fail", "evaluates 2 an epoch, saves 1 an epoch"),
        ("attention", "fail", "flash_attention_3 needs the package flash_attn_interface"),
        ("plugins", "fail", "CogexPlugin` is not there"),
        ("values", "fail", "`logging_steps` has no value"),
        ("seed", "fail", "`seed` is not set"),
        ("adapter", "fail", "`lora_target_modules` is not set"),
        ("output folder", "fail", "folder of cogex-tiny.yml"),
        ("DeepSpeed", "fail", "exclude each other"),
    ]),
    ({"adapter": "qlora", "saves_per_epoch": None, "save_strategy": "epoch",
      "deepspeed": "recipes/deepspeed/zero3.json"}, [
        ("schema", "fail", "Require cfg.load_in_4bit to be True for qlora"),
        ("evaluation", "ok", "1 an epoch"), ("LoRA kernels", "fail", "past the hooks"),
    ]),
    ({"datasets": "train.jsonl", "saves_per_epoch": None, "save_steps": 50,
      "learning_rate": float("inf"), "deepspeed": "recipes/zero9.json"}, [
        ("schema", "fail", "dictionary update sequence"),
        ("evaluation", "fail", "saves every 50 steps"),
        ("sizes", "fail", "`learning_rate` is inf"),
        ("DeepSpeed", "fail", "zero9.json: there is no such file"),
    ]),
    ({"examples_per_step": "32", "evals_per_epoch": None, "saves_per_epoch": None}, [
        ("schema", "fail", "`examples_per_step: 32`"), ("evaluation", "fail", "untold"),
    ]),
    ({"fp8": True, "learning_rate": True}, [
        ("schema", "fail", "fp8 is not supported on this GPU"),
        ("sizes", "fail", "`learning_rate` is True"),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), CHANGES)
def test_changes_are_judged(given: dict[str, Any], expected: list[tuple[str, str, str]]) -> None:
    said = look(WHOLE | given)
    for check, verdict, found in expected:
        assert said[check].verdict == verdict and found in said[check].found, said[check]
        assert "\n" not in said[check].found


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("phi3", "they do not fit the Phi3Attention of a phi3"),
        ("mamba", "they know no attention of a mamba"),
        *((kind, "") for kind in ("qwen3", "mixtral")),
    ],
)
def test_kernels_must_fit_the_bases_attention(kind: str, problem: str, tmp_path: Path) -> None:
    AutoConfig.for_model(kind, pad_token_id=0).save_pretrained(tmp_path)
    given = WHOLE | {"base_model": str(tmp_path)}
    said = look(given)["LoRA kernels"]
    assert (said.verdict, said.found) == (
        ("fail", problem) if problem else ("ok", "on, as Axolotl chooses")
    )
    assert look(given | {"lora_qkv_kernel": False})["LoRA kernels"].verdict == "ok"


def test_a_key_that_the_schema_needs_is_named_alone() -> None:
    without = {key: value for key, value in WHOLE.items() if key != "learning_rate"}
    assert look(without)["schema"].found == "the key `learning_rate` is missing"


def test_verdicts_are_for_the_card_planned() -> None:
    hopper = look(WHOLE | {"fp8": True, "sample_packing": True}, "h100")
    assert "not supported on this GPU" not in hopper["schema"].found
    assert hopper["attention"].verdict == "ok"
    wants_gpu = {"lora_o_kernel": True, "attn_implementation": "flash_attention_2"}
    on_cpu = look(WHOLE | wants_gpu, None)
    assert on_cpu["LoRA kernels"].found == "they need a GPU"
    assert on_cpu["precision"].found == "`tf32` needs a GPU"
    assert "flash_attention_2 needs a GPU" in on_cpu["attention"].found


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_precision_is_said_to_be_untried() -> None:
    said = look(WHOLE)["precision"]
    expected = "bf16, tf32: cannot be tried here, this machine has no GPU"
    assert (said.verdict, said.found) == ("note", expected)


def test_a_launch_line_is_read_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert look(WHOLE)["launch line"].verdict == "fail"


@pytest.mark.parametrize(
    ("given", "made", "verdict"),
    [
        ({"save_steps": 10, "save_total_limit": 9}, "10 are made, the last 9 kept", "fail"),
        ({"save_steps": 19}, "6 are made, the last 4 kept", "fail"),
        ({"save_steps": 0.2}, "5 are made, the last 4 kept", "fail"),
        ({"save_steps": 10, "max_steps": 41}, "5 are made, the last 4 kept", "fail"),
        ({"saves_per_epoch": 3}, "6 are made, the last 4 kept", "fail"),
        ({"save_strategy": "epoch"}, "all 2 are kept", "ok"),
        ({"save_steps": "ten"}, "the last 4 are kept; how many come is not known yet", "note"),
        ({"save_steps": 10, "datasets": [{"path": "nowhere.jsonl"}]}, "the last 4", "note"),
    ],
)
def test_checkpoints_are_counted(
    tmp_path: Path, given: dict[str, Any], made: str, verdict: str
) -> None:
    rows = tmp_path / "train.jsonl"
    rows.write_text("{}\n" * 1600)  # two epochs of 50 steps
    values = {"num_epochs": 2, "examples_per_step": 32, "datasets": [{"path": str(rows)}]}
    found = look(values | given)
    assert found["checkpoints"].found.startswith(made)
    assert found["checkpoints"].verdict == verdict
    assert found["output folder"].found == "`output_dir` is not set"


def test_the_same_folder_in_other_words_is_found(tmp_path: Path) -> None:
    for name, folder in (("one", "outputs/x"), ("two", "./outputs/x/"), ("three", "outputs/xy")):
        (tmp_path / f"{name}.yml").write_text(f"output_dir: {folder}\n")
    verdicts = check_recipe(read_recipe(tmp_path / "one.yml"), HEADER, card=None, gpus=1)
    said = next(row for row in verdicts if row.name == "output folder")
    assert said.found == "outputs/x is also the folder of two.yml"


# launch files


def test_recipes_are_found_without_launch_files() -> None:
    found = recipes_in(ROOT / "recipes")
    assert SEVEN_B in found
    assert not {path.parent.name for path in found} & {"deepspeed", "accelerate"}
    files = [*(ROOT / "recipes").glob("deepspeed/*"), *(ROOT / "recipes").glob("accelerate/*")]
    # each of them is looked at below
    assert {path.stem for path in files} == {"zero2", "zero3", "1gpu", "2gpu", "2node"}


@pytest.mark.parametrize("stage", [2, 3])
def test_deepspeed_file_is_accepted(stage: int) -> None:
    path = ROOT / "recipes" / "deepspeed" / f"zero{stage}.json"
    assert "auto" in path.read_text()  # what DeepSpeed itself does not take
    assert list(deepspeed_problems(path, WHOLE)) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("}", "", "is not JSON"),
        ('"stage"', '"stag"', "`stag: 2`: Extra inputs"),
    ],
)
def test_faulty_deepspeed_file(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "faulty.json"
    path.write_text((ROOT / "recipes/deepspeed/zero2.json").read_text().replace(old, new))
    assert message in "; ".join(deepspeed_problems(path, WHOLE))


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
