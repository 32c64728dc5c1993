"""Preflight as a whole: a sound run passes, and each planted fault is named by the right check."""

import json
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
    row = json.loads(TRAIN.read_text().splitlines()[0])
    lines = VAL.read_text().splitlines()
    lines[0] = json.dumps(row | {"id": "leaked", "instruction": f"  {row['instruction'].upper()}"})
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
    entry = "    type: prompt_strategies.cogex\n"
    text = RECIPE.read_text().replace(entry, f"{entry}    roles_to_train: [output]\n", 1)
    RECIPE.write_text(text)


TOKENIZER = "tokenizer_type: AutoTokenizer"
PAD = TOKENIZER + "\nspecial_tokens:\n  pad_token: "
DEEPSPEED = "bf16: false\ndeepspeed: recipes/deepspeed/zero9.json"

# what is planted, the section that names it, what it says; faults of a list are planted together,
# for none of them hides another, and each takes a whole preflight
FAULTS: dict[str, list[tuple[Callable[[], None], str, str]]] = {
    "recipe": [
        (in_recipe("recipes/cogex-tiny.yml", "recipes/tiny.yml"), "recipe", "Launch"),
        (in_recipe("seed: 42\n", "use_comet: true\n"), "recipe", "`seed`"),
        (lambda: None, "recipe", "comet_ml"),
        (in_recipe("outputs/cogex-tiny", "outputs/cogex-tiny-random"), "recipe", "tiny-random.yml"),
        (in_recipe("save_total_limit: 100", "save_total_limit: 4"), "recipe", "save_total_limit"),
        (in_recipe("evals_per_epoch: 1", "evals_per_epoch: 2"), "recipe", "evaluates 2"),
        (in_recipe(TOKENIZER, PAD + "</s>"), "tokens", "</s>, which is EOS"),
        (in_recipe("v_proj, o_proj", "v_proj"), "model", "missing: o_proj"),
        (in_recipe("micro_batch_size: 32", "micro_batch_size: 24"), "cost", "to 16"),
        (in_recipe("learning_rate:", "leraning_rate:"), "recipe", "`learning_rate`"),
        (in_recipe("bf16: false", DEEPSPEED), "recipe", "zero9.json"),
    ],
    "data": [
        (output_in_training_alone, "strategy", "roles_to_train"),
        (edited, "data", "train.jsonl: changed: sha256"),
        (leak, "data", "leaked (as "),
        (in_recipe("validation_rows: 12", "validation_rows: 13"), "data", "12, not `validation_"),
        (in_recipe("sequence_len: 512", "sequence_len: 160"), "data", "over 160 tokens"),
        (in_recipe(TOKENIZER, PAD + "<new>"), "tokens", "adds 1 tokens"),
        (in_recipe("o_proj", "out_proj"), "model", "missing: o_proj"),
    ],
    "base missing": [(in_recipe("tiny-base", "tiny-bass"), "access", "models/tiny-bass")],
    "strategy that cannot be imported": [(broken_strategy, "strategy", "a_package_that_is_not")],
    "file missing": [(TRAIN.unlink, "data", "file data/tiny/train.jsonl: is not there")],
    "half a character": [(half_a_character, "tokens", "train.jsonl, line 1: holds half a char")],
    # values of the wrong kind are failures, and no traceback
    "bad values": [
        (in_recipe("num_epochs: 5", "num_epochs: five"), "recipe", "num_epochs"),
        (in_recipe("modules: [q_proj", "modules: [1, q_proj"), "", ""),
        (in_recipe("ratio: 0.03", "ratio: 1e999"), "", ""),
        (in_recipe("outputs/cogex-tiny\n", '"\\ud800"\n'), "", ""),
    ],
    "no list": [(in_recipe("plugins:\n  -", "plugins: 7 #"), "", "")],
}


def test_a_sound_run_passes(launch: Path) -> None:
    result = run()
    assert failures(result) == []
    assert result["passed"] and result["rows"] == 36
    assert json.loads(json.dumps(result, allow_nan=False)) == result


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_named(launch: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    monkeypatch.syspath_prepend(launch)
    for plant, _, _ in FAULTS[fault]:
        plant()
    found = failures(run())
    for _, section, message in FAULTS[fault]:
        named = [text for text in found if text.startswith(section) and message in text]
        assert named, (section, message, found)


def test_more_gpus_than_the_micro_batch_allows(launch: Path) -> None:
    assert failures(run(gpus=4)) == [
        "cost, batch: cannot be kept on 4. recipes/cogex-tiny.yml: `examples_per_step: 32` on 4 "
        "ranks is 8 for each, which is no multiple of `micro_batch_size: 32`; set "
        "micro_batch_size to 8"
    ]
