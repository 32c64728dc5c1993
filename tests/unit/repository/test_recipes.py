"""Every recipe keeps its contract, and a recipe that breaks it is told so.

The contract: what preflight looks at (`check_recipe`), what docs/fidelity.md says, and below the
form that the recipes of this repository share.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import transformers.integrations.deepspeed
import yaml

from tests.unit.repository.test_fidelity import differences
from tools.errors import UserError
from tools.recipe import read_recipe, recipes_in
from tools.recipe_header import LABELS, read_header
from tools.training.batch import accumulation
from validation.preflight.cards import card_of
from validation.preflight.recipe import check_recipe

ROOT = Path(__file__).parents[3]
RECIPES_FOLDER = ROOT / "recipes"
RECIPES = recipes_in(RECIPES_FOLDER)
SECTIONS = ["model", "method", "data", "training", "precision and memory", "evaluation and output"]


def problems(path: Path) -> list[str]:
    """Return everything by which the recipe of that path breaks the contract."""
    try:
        recipe, header = read_recipe(path), read_header(path)
        accumulation(recipe, header.ranks)
    except UserError as error:
        return [str(error)]
    verdicts = check_recipe(recipe, header, card=card_of(header.card_gb), gpus=header.ranks)
    return [
        *(f"{each.name}: {each.found}" for each in verdicts if each.verdict == "fail"),
        *form_problems(path.read_text(), path.stem),
        *differences(path.stem, recipe.values),
    ]


def form_problems(text: str, name: str) -> Iterator[str]:
    """Yield what is wrong with header, launch line, sections and output folder."""
    header, body = text.split("\n\n", 1)
    labels = re.findall(r"^# ([A-Z]\w+): +\S", header, re.MULTILINE)
    if labels != [*LABELS]:
        yield f"labels: {labels}"
    if not re.match(r"# \w.*\.\n#\n# ", header):
        yield "purpose: the first line is no sentence that stands alone"
    launch = rf"^# Launch:   accelerate launch .*-m axolotl\.cli\.train recipes/{name}\.yml$"
    if not re.search(launch, header, re.MULTILINE):
        yield "launch: not `accelerate launch … -m axolotl.cli.train` and this file"
    sections = re.findall(r"^# ([a-z][a-z ]+)$", body, re.MULTILINE)
    if sections != [each for each in SECTIONS if each in sections] or len(sections) < 5:
        yield f"sections: {sections}"
    if f"\noutput_dir: outputs/{name}\n" not in text:
        yield f"output folder: not outputs/{name}"


BREAKAGES = [  # of cogex-llama2-7b-qlora: what is replaced, and the problem that it makes
    ("learning_rate:", "leraning_rate:", "keys: .*leraning_rate.* did you mean `learning_rate`"),
    ("    ds_type", "    ds_tpye", r"keys: `datasets\.ds_tpye` is not a key of Axolotl"),
    ("  pad_token", "  pad_tokn", r"keys: `special_tokens\.pad_tokn` is not a key"),
    ("seed: 42", "seed: 42\nseed: 43", "values: `seed` is written more than once"),
    ("# Hardware:", "# Hardwares:", "has no `# Hardware:` line"),
    ("# Needs:", "# Time:     short\n# Needs:", "labels: "),
    ("recipes/cogex-llama2-7b-qlora.yml", "recipes/x.yml", r"launch line: .* names recipes/x\.yml"),
    ("accelerate launch", "python", "launch: not"),
    ("accelerate/1gpu", "accelerate/2gpu", r"accelerate: recipes/accelerate/2gpu\.yml starts 2"),
    ("accelerate/1gpu", "accelerate/9gpu", r"accelerate/9gpu\.yml: cannot be used"),
    ("\n# model\n", "\n# data\n", "sections: "),
    ("micro_batch_size: 4", "micro_batch_size: 3", "is no multiple of `micro_batch_size: 3`"),
    ("lora_r: 16", "lora_r: 8", "`lora_r` is 8, not 16"),
    (
        "sequence_len:",
        "train_on_inputs: true\nsequence_len:",
        "`train_on_inputs` is True, not 'abs",
    ),
    ("tools.training.", "tools.trainings.", "plugins: .* cannot be loaded: No module named"),
    ("outputs/cogex", "./outputs/cogex", "output folder: not outputs/"),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the recipes."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    return folder


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_keeps_its_contract(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert problems(path) == []


@pytest.fixture(autouse=True)
def swift(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of recipes are read: YAML by libyaml, and no package's version looked up again."""
    monkeypatch.setattr(yaml, "SafeLoader", yaml.CSafeLoader)
    monkeypatch.setattr(transformers.integrations.deepspeed, "dep_version_check", lambda name: None)


@pytest.mark.parametrize(("old", "new", "problem"), BREAKAGES)
def test_planted_breakage_is_found(
    old: str, new: str, problem: str, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy)
    text = (RECIPES_FOLDER / "cogex-llama2-7b-qlora.yml").read_text()
    assert old in text
    place = copy / "recipes/cogex-llama2-7b-qlora.yml"
    place.write_text(text.replace(old, new))
    said = problems(place)
    assert any(re.search(problem, each) for each in said), said


def test_every_recipe_of_the_project_is_here() -> None:
    models = ["llama2-7b", "llama2-13b", "llama3.1-8b", "qwen3-4b", "smollm3-3b"]
    expected = {f"cogex-{model}{end}" for model in models for end in ("", "-qlora")}
    expected |= {"cogex-codellama-7b", "cogex-codellama-13b", "alpaca-llama2-7b"}
    expected |= {"alpaca-llama2-13b", "cogex-llama2-7b-packed", "cogex-llama2-7b-plan"}
    expected |= {"cogex-llama2-13b-fsdp2", "cogex-tiny", "cogex-tiny-random"}
    sizes = ["tiny", "29m", "52m", "88m", "105m"]
    expected |= {f"code-{kind}-{size}" for kind in ("base", "lora") for size in sizes}
    names = ["200", "500", "1000", "1000-augmented", "5000", "10000"]
    expected |= {f"arxivdl-llama3.1-8b-qlora-{name}" for name in names}
    expected |= {"cogex-smollm2-135m", "code-lora-smollm2-135m", "emulator-smollm2-135m"}
    expected |= {f"code-lora-smollm2-135m-level{level}" for level in (1, 2, 3)}
    expected |= {f"tiny-base{stage}" for stage in ("", "-continued", "-final")}
    assert {path.stem for path in RECIPES} == expected


SIZE = {"base_model", "output_dir", "micro_batch_size", "eval_batch_size"}
DATA = {"datasets", "test_datasets", "validation_rows", "dataset_prepared_path", "output_dir"}
IN_4_BITS = SIZE - {"base_model"} | {"adapter", "load_in_4bit", "deepspeed"}


@pytest.mark.parametrize(
    ("first", "second", "keys"),
    [
        ("cogex-tiny", "cogex-tiny-random", {"base_model", "output_dir"}),
        ("cogex-llama2-7b", "cogex-llama2-13b", SIZE),
        ("cogex-llama2-7b", "cogex-codellama-7b", SIZE | {"tokenizer_type"}),
        ("cogex-llama2-7b-qlora", "cogex-llama2-13b-qlora", SIZE),
        ("cogex-codellama-7b", "cogex-codellama-13b", SIZE),
        ("alpaca-llama2-7b", "alpaca-llama2-13b", SIZE),
        ("cogex-llama3.1-8b", "cogex-llama3.1-8b-qlora", IN_4_BITS),
        ("cogex-qwen3-4b", "cogex-qwen3-4b-qlora", IN_4_BITS),
        ("cogex-smollm3-3b", "cogex-smollm3-3b-qlora", IN_4_BITS),
        ("code-lora-smollm2-135m", "code-lora-smollm2-135m-level1", DATA),
        (
            "code-lora-smollm2-135m-level1",
            "code-lora-smollm2-135m-level2",
            DATA | {"lora_model_dir"},
        ),
        (
            "code-lora-smollm2-135m-level2",
            "code-lora-smollm2-135m-level3",
            DATA | {"lora_model_dir"},
        ),
    ],
)
def test_sisters_differ_in_what_their_names_say(first: str, second: str, keys: set[str]) -> None:
    """The engine tier trains one of two."""
    one, other = (read_recipe(RECIPES_FOLDER / f"{name}.yml").values for name in (first, second))
    assert {key for key in one | other if one.get(key) != other.get(key)} <= keys
