"""Every recipe keeps its contract, and a recipe that breaks it is told so.

The contract: what preflight looks at (`check_recipe`), what docs/fidelity.md says, and below the
form that the recipes of this repository share.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
BREAKABLE = [RECIPES_FOLDER / f"{name}.yml" for name in (
    "cogex-tiny", "cogex-llama3.1-8b-qlora", "code-base-29m", "cogex-llama2-7b-packed",
)]  # fmt: skip
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


# breaking it


@dataclass(frozen=True)
class Breakage:
    """A change to a recipe's text (none where it does not apply), and the problem it makes."""

    name: str
    change: Callable[[str], str]
    problem: str  # a regular expression


def sub(pattern: str, new: str) -> Callable[[str], str]:
    return lambda text: re.sub(pattern, new, text, count=1, flags=re.MULTILINE)


def put(key: str, value: str) -> Callable[[str], str]:
    """Set a key of the recipe, or add it."""

    def change(text: str) -> str:
        line = f"{key}: {value}"
        if re.search(rf"^{key}:", text, re.MULTILINE):
            return re.sub(rf"^{key}:.*$", line, text, flags=re.MULTILINE)
        return f"{text}{line}\n"

    return change


def where(pattern: str, change: Callable[[str], str]) -> Callable[[str], str]:
    """Change those recipes alone in which the pattern is found."""
    return lambda text: change(text) if re.search(pattern, text, re.MULTILINE) else text


def swap(first: str, second: str) -> Callable[[str], str]:
    return lambda text: text.replace(first, "\0").replace(second, first).replace("\0", second)


PAPER = r"^output_dir: outputs/(cogex|alpaca)-"  # the recipes that docs/fidelity.md binds

BREAKAGES = [
    Breakage("misspelt key", sub("^learning_rate", "leraning_rate"),
             "keys: `leraning_rate` is not a key of Axolotl; did you mean `learning_rate`"),
    Breakage("misspelt key of a dataset", sub("    ds_type", "    ds_tpye"),
             r"keys: `datasets\.ds_tpye` is not a key of Axolotl; did you mean `ds_type`"),
    Breakage("misspelt special token", sub("^  pad_token", "  pad_tokn"),
             r"keys: `special_tokens\.pad_tokn` is not a key .* `pad_token`"),
    Breakage("key twice", lambda text: text + "sequence_len: 99\n",
             "values: `sequence_len` is written more than once"),
    Breakage("no YAML", lambda text: text + "a: [1\n", "is not valid YAML"),
    Breakage("label missing", sub(r"^# Hardware:.*\n", ""), "has no `# Hardware:` line"),
    Breakage("labels in another order", swap("# Hardware:", "# Time:    "), "labels: "),
    Breakage("launch line of another recipe",
             sub(r"^(# Launch:.*)recipes/\S+$", r"\1recipes/x.yml"),
             r"launch line: the header's Launch line names recipes/x\.yml"),
    Breakage("launch line without accelerate", sub("accelerate launch", "python"), "launch: not"),
    Breakage("accelerate file of another number", swap("accelerate/1gpu", "accelerate/2gpu"),
             r"accelerate: recipes/accelerate/.gpu\.yml starts . processes"),
    Breakage("accelerate file missing", sub("accelerate/.gpu", "accelerate/9gpu"),
             r"accelerate: recipes/accelerate/9gpu\.yml: cannot be used"),
    Breakage("sections in another order", swap("\n# model\n", "\n# data\n"), "sections: "),
    Breakage("batch that cannot be kept", put("micro_batch_size", "3"),
             r"is no multiple of `micro_batch_size: 3`; set micro_batch_size to \d"),
    Breakage("accumulation of another batch", put("gradient_accumulation_steps", "64"),
             "`gradient_accumulation_steps: 64` contradicts"),
    Breakage("no batch", sub(r"^(examples|packs)_per_step.*\n", ""),
             r"_per_step` is (missing|.absent.)"),
    Breakage("batch of another size", where(PAPER, put("examples_per_step", "64")),
             "`examples_per_step` is 64, not 32"),
    Breakage("validation rows", where(PAPER, put("validation_rows", "100")),
             "`validation_rows` is 100, not (2000|144)"),
    Breakage("rank", where(PAPER, put("lora_r", "8")), "`lora_r` is 8, not 16"),
    Breakage("modules", where(PAPER, sub(", o_proj", "")), "`lora_target_modules` is"),
    Breakage("learning rate", where(PAPER, put("learning_rate", "1e-4")),
             r"`learning_rate` is 0\.0001"),
    Breakage("what carries loss", where(PAPER, put("train_on_inputs", "true")),
             "`train_on_inputs` is True, not 'absent'"),
    Breakage("packing", where(PAPER, swap("sample_packing: true", "group_by_length: true")),
             "`sample_packing` is|`packs_per_step` is missing"),
    Breakage("plugin that is not there", sub(r"^  - tools\.(\w+)", r"  - tools.\1s"),
             "plugins: .* cannot be loaded: No module named"),
    Breakage("output folder of another name", put("output_dir", "./outputs/else"),
             "output folder: not outputs/"),
]  # fmt: skip


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


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda breakage: breakage.name)
def test_planted_breakage_is_found(
    breakage: Breakage, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy)
    changed = {path: breakage.change(path.read_text()) for path in BREAKABLE}
    broken = [path for path, text in changed.items() if text != path.read_text()]
    assert broken
    for path in broken[:2]:
        place = copy / "recipes" / path.name
        place.write_text(changed[path])
        said = problems(place)
        shutil.copy(path, place)  # the other recipes' checks read it
        assert any(re.search(breakage.problem, problem) for problem in said), (path.stem, said)


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
    expected |= {f"tiny-base{stage}" for stage in ("", "-continued", "-final")}
    assert {path.stem for path in RECIPES} == expected


def test_the_control_differs_in_base_and_output_alone() -> None:
    tiny, control = (
        read_recipe(ROOT / "recipes" / f"cogex-tiny{end}.yml").values for end in ("", "-random")
    )
    differing = {key for key in tiny | control if tiny.get(key) != control.get(key)}
    assert differing == {"base_model", "output_dir"}
