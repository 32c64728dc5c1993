"""Preflight as a whole: a sound run passes, and each planted fault is named by the right check."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.files import sha256
from tools.prepare.cogex import prepare_cogex
from tools.recipe import read_recipe
from tools.tiny.corpus import write_cogex_rows
from validation.preflight.run import preflight

ROOT = Path(__file__).parents[4]
RECIPE = Path("recipes/cogex-tiny.yml")
TRAIN, VAL = Path("data/tiny/train.jsonl"), Path("data/tiny/val.jsonl")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder from which cogex-tiny could be launched: 36 rows, 12 of them for validation."""
    folder = tmp_path_factory.mktemp("sound")
    write_cogex_rows(folder / "data.json", 36, 42)
    prepare_cogex(folder / "data.json", folder / "data/tiny", val_size=12)
    (folder / "recipes").mkdir()
    for path in (ROOT / "recipes").glob("*-tiny*.yml"):
        text = path.read_text().replace("validation_rows: 144", "validation_rows: 12")
        (folder / "recipes" / path.name).write_text(text)
    return folder


@pytest.fixture
def launch(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to break, as working folder."""
    shutil.copytree(sound, tmp_path, dirs_exist_ok=True)
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(**options: Any) -> dict[str, Any]:
    return preflight(read_recipe(RECIPE), **options)


def failures(result: dict[str, Any]) -> list[str]:
    return [
        f"{item['section']}, {item['name']}: {item['found']}. {item['todo']}"
        for item in result["verdicts"]
        if item["verdict"] == "fail"
    ]


def in_recipe(old: str, new: str) -> Callable[[], None]:
    def plant() -> None:
        text = RECIPE.read_text()
        assert old in text
        RECIPE.write_text(text.replace(old, new))

    return plant


def leak() -> None:
    """A training row stands in validation too, and the manifest knows the file as it is."""
    rows = [json.loads(line) for line in TRAIN.read_text().splitlines()]
    lines = VAL.read_text().splitlines()
    lines[0] = json.dumps(rows[0] | {"id": "leaked", "instruction": rows[0]["instruction"].upper()})
    VAL.write_text("\n".join(lines) + "\n")
    trust(VAL)


def trust(path: Path) -> None:
    manifest = json.loads(path.with_name("manifest.json").read_text())
    manifest["sha256"][path.name] = sha256(path)
    path.with_name("manifest.json").write_text(json.dumps(manifest))


def edited() -> None:
    TRAIN.write_text(TRAIN.read_text().replace("def ", "def  ", 1))


def half_a_character() -> None:
    """A lone surrogate, which JSON can write and a tokenizer cannot read."""
    TRAIN.write_text(TRAIN.read_text().replace('"instruction": "', r'"instruction": "\ud83d', 1))
    trust(TRAIN)


def broken_strategy() -> None:
    folder = Path("broken_strategies")
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "cogex.py").write_text("import a_package_that_is_not_there\n")
    in_recipe("type: prompt_strategies.cogex", "type: broken_strategies.cogex")()


def output_in_training_alone() -> None:
    text = RECIPE.read_text()
    entry = "    type: prompt_strategies.cogex\n"
    RECIPE.write_text(text.replace(entry, entry + "    roles_to_train: [output]\n", 1))


TOKENIZER = "tokenizer_type: AutoTokenizer"
PAD = TOKENIZER + "\nspecial_tokens:\n  pad_token: "
FAULTS: dict[str, tuple[Callable[[], None], str, str]] = {
    # what is planted: (how, the section that names it, what it says)
    "misspelt key": (
        in_recipe("learning_rate:", "leraning_rate:"),
        "recipe",
        "`learning_rate`",
    ),
    "another file's launch line": (
        in_recipe("recipes/cogex-tiny.yml", "recipes/tiny.yml"),
        "recipe",
        "Launch",
    ),
    "tracker that is not installed": (
        in_recipe("seed: 42\n", "seed: 42\nuse_comet: true\n"),
        "recipe",
        "comet_ml",
    ),
    "no seed": (in_recipe("seed: 42\n", ""), "recipe", "`seed`"),
    "shared output folder": (
        in_recipe("outputs/cogex-tiny", "outputs/cogex-tiny-random"),
        "recipe",
        "cogex-tiny-random.yml",
    ),
    "checkpoints thrown away": (
        in_recipe("save_total_limit: 100", "save_total_limit: 4"),
        "recipe",
        "save_total_limit",
    ),
    "evaluates more often than it saves": (
        in_recipe("evals_per_epoch: 1", "evals_per_epoch: 2"),
        "recipe",
        "evaluates 2",
    ),
    "bad value": (in_recipe("num_epochs: 5", "num_epochs: five"), "recipe", "num_epochs"),
    "EOS as pad": (in_recipe(TOKENIZER, PAD + "</s>"), "tokens", "EOS"),
    "a token is added": (in_recipe(TOKENIZER, PAD + "<new>"), "tokens", "adds 1 tokens"),
    "batch of 64": (
        in_recipe("micro_batch_size: 32", "micro_batch_size: 24"),
        "cost",
        "set micro_batch_size to 16",
    ),
    "a projection left out": (in_recipe("v_proj, o_proj", "v_proj"), "model", "o_proj"),
    "no such module": (in_recipe("o_proj", "out_proj"), "model", "missing: o_proj"),
    "DeepSpeed file missing": (
        in_recipe("bf16: false", "bf16: false\ndeepspeed: recipes/deepspeed/zero9.json"),
        "recipe",
        "zero9.json",
    ),
    "base model missing": (in_recipe("tiny-base", "tiny-bass"), "access", "models/tiny-bass"),
    "strategy that cannot be imported": (
        broken_strategy,
        "strategy",
        "a_package_that_is_not_there",
    ),
    "splits trained on differently": (output_in_training_alone, "strategy", "roles_to_train"),
    "training file missing": (TRAIN.unlink, "data", "train.jsonl"),
    "half a character": (half_a_character, "tokens", "train.jsonl, line 1: holds half a character"),
    "file edited after prepare": (edited, "data", "manifest"),
    "task in both splits": (leak, "data", "leaked"),
    "fewer validation rows than declared": (
        in_recipe("validation_rows: 12", "validation_rows: 13"),
        "data",
        "13",
    ),
    "rows cut off": (in_recipe("sequence_len: 512", "sequence_len: 160"), "data", "160"),
}


def test_a_sound_run_passes(launch: Path) -> None:
    result = run()
    assert failures(result) == []
    assert result["passed"] and result["rows"] == 36


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_named(launch: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    plant, section, message = FAULTS[fault]
    monkeypatch.syspath_prepend(launch)
    plant()
    result = run()
    assert not result["passed"]
    named = [text for text in failures(result) if text.startswith(section) and message in text]
    assert named, failures(result)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lora_target_modules", "[1]"),
        ("plugins", "7"),
        ("special_tokens", "[]"),
        ("learning_rate", "[]"),
        ("warmup_ratio", "1e999"),
        ("save_total_limit", "x"),
        ("output_dir", r'"\ud800"'),
    ],
)
def test_value_of_the_wrong_kind_is_a_failure_and_no_traceback(
    launch: Path, key: str, value: str
) -> None:
    lines = [line for line in RECIPE.read_text().splitlines(True) if not line.startswith(f"{key}:")]
    RECIPE.write_text("".join(lines) + f"{key}: {value}\n")
    if key == "plugins":  # its list goes too
        RECIPE.write_text(re.sub(r"^  - tools\..*\n", "", RECIPE.read_text(), flags=re.MULTILINE))
    assert failures(run())


def test_more_gpus_than_the_micro_batch_allows(launch: Path) -> None:
    assert failures(run(gpus=4)) == [
        "cost, batch: cannot be kept on 4. recipes/cogex-tiny.yml: `examples_per_step: 32` on 4 "
        "ranks is 8 for each, which is no multiple of `micro_batch_size: 32`; set "
        "micro_batch_size to 8"
    ]
