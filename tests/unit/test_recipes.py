"""Every recipe keeps its contract: header, order of sections, keys that the engine knows."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yml"))
LABELS = ("Needs", "Launch", "Hardware", "Time", "Batch")
SECTIONS = ["model", "method", "data", "training", "precision and memory", "evaluation and output"]
PAPER = {  # section 3.1 of the paper, and what this project chose where the paper is silent
    "adapter": "lora",
    "lora_r": 16,
    "lora_alpha": 32,
    "lora_dropout": 0.05,
    "lora_target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"],
    "num_epochs": 5,
    "learning_rate": 3e-4,
    "lr_scheduler": "cosine",
    "warmup_ratio": 0.03,
    "optimizer": "adamw_torch",
    "weight_decay": 0.0,
}


@pytest.fixture(params=RECIPES, ids=lambda path: path.name)
def recipe(request: pytest.FixtureRequest) -> Path:
    return request.param


def values(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def header(path: Path) -> str:
    lines = path.read_text().splitlines()
    return "\n".join(lines[: lines.index("")])


def effective_batch_size(path: Path, ranks: int) -> int:
    recipe = values(path)
    return recipe["micro_batch_size"] * recipe["gradient_accumulation_steps"] * ranks


def test_there_are_recipes() -> None:
    assert {"cogex-tiny.yml", "cogex-llama2-7b.yml"} <= {path.name for path in RECIPES}


def test_header_has_every_label_in_order(recipe: Path) -> None:
    found = re.findall(r"^# (\w+): +\S", header(recipe), re.MULTILINE)
    assert [label for label in found if label != "Rows"] == list(LABELS)


def test_launch_line_names_its_own_file(recipe: Path) -> None:
    launch = re.search(r"^# Launch: +(.*)$", header(recipe), re.MULTILINE)
    assert launch and launch[1].startswith("accelerate launch ")
    assert launch[1].endswith(f"-m axolotl.cli.train recipes/{recipe.name}")


def test_sections_stand_in_one_order(recipe: Path) -> None:
    found = re.findall(r"^# ([a-z][a-z ]+)$", recipe.read_text().split("\n\n", 1)[1], re.MULTILINE)
    assert found == [section for section in SECTIONS if section in found]
    assert {"model", "data", "training"} <= set(found)


def test_seed_is_set_and_no_key_is_empty(recipe: Path) -> None:
    assert values(recipe)["seed"] == 42
    assert not [key for key, value in values(recipe).items() if value in (None, "", [], {})]


def test_the_seed_reaches_the_adapter(recipe: Path) -> None:
    plugins = values(recipe).get("plugins", [])
    assert ("tools.seeded_start.SeededStart" in plugins) == ("adapter" in values(recipe))


def test_no_key_stands_twice(recipe: Path) -> None:
    keys = re.findall(r"^(\w+):", recipe.read_text(), re.MULTILINE)
    assert len(keys) == len(set(keys))


def test_every_checkpoint_is_kept(recipe: Path) -> None:
    # Axolotl keeps four unless told otherwise, and an epoch's best may be the fifth last
    assert values(recipe)["save_total_limit"] >= 100


def test_output_folders_differ() -> None:
    folders = [values(path)["output_dir"] for path in RECIPES]
    assert len(folders) == len(set(folders))


def test_output_folder_has_the_recipe_name(recipe: Path) -> None:
    assert values(recipe)["output_dir"] == f"outputs/{recipe.stem}"


def test_named_files_exist(recipe: Path) -> None:
    named = values(recipe).get("deepspeed")
    assert named is None or (ROOT / named).is_file()


def _unknown(given: dict[str, Any], known: set[str]) -> set[str]:
    return set(given) - known


def test_engine_knows_every_key(recipe: Path) -> None:
    # the schema ignores a misspelt key without a word
    from axolotl.utils.schemas.config import AxolotlInputConfig
    from axolotl.utils.schemas.datasets import SFTDataset

    assert not _unknown(values(recipe), set(AxolotlInputConfig.model_fields))
    for entry in values(recipe)["datasets"] + values(recipe)["test_datasets"]:
        assert not _unknown(entry, set(SFTDataset.model_fields))


def test_engine_accepts_the_recipe(recipe: Path) -> None:
    from axolotl.utils.config import validate_config
    from axolotl.utils.dict import DictDefault

    gpu = {"bf16": True, "fp8": False, "tf32": True, "n_gpu": 2, "n_node": 1,
           "compute_capability": "sm_86"}  # fmt: skip
    checked = validate_config(
        DictDefault(values(recipe)), capabilities=gpu, env_capabilities={"torch_version": "2.13.0"}
    )
    assert checked["learning_rate"] == float(values(recipe)["learning_rate"])


@pytest.mark.parametrize("name", ["cogex-llama2-7b", "cogex-llama2-13b"])
def test_paper_values(name: str) -> None:
    recipe = values(ROOT / "recipes" / f"{name}.yml")
    recipe["learning_rate"] = float(recipe["learning_rate"])  # YAML reads 3e-4 as text
    assert {key: recipe[key] for key in PAPER} == PAPER


@pytest.mark.parametrize(
    ("name", "ranks"),
    [("cogex-llama2-7b", 2), ("cogex-llama2-13b", 2), ("cogex-tiny", 1), ("cogex-tiny-random", 1)],
)
def test_32_examples_in_each_optimizer_step(name: str, ranks: int) -> None:
    assert effective_batch_size(ROOT / "recipes" / f"{name}.yml", ranks) == 32


def test_the_control_differs_in_base_and_output_alone() -> None:
    tiny, control = (values(ROOT / "recipes" / f"cogex-tiny{end}.yml") for end in ("", "-random"))
    differing = {key for key in tiny | control if tiny.get(key) != control.get(key)}
    assert differing == {"base_model", "output_dir"}
