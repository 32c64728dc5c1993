"""The recipes of ArXivDLInstruct: what they share, and what alone tells them apart."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.prepare.arxivdl import SIZES

RECIPES = Path(__file__).parents[3] / "recipes"
NAME = "arxivdl-llama3.1-8b-qlora-{}"


def flat(values: Any, at: str = "") -> dict[str, Any]:
    """The values of nested mappings and lists, by path."""
    if isinstance(values, dict):
        pairs = values.items()
    elif isinstance(values, list):
        pairs = enumerate(values)
    else:
        return {at: values}
    found: dict[str, Any] = {}
    for key, value in pairs:
        found |= flat(value, f"{at}.{key}")
    return found


def read(variant: object) -> dict[str, Any]:
    return flat(yaml.safe_load((RECIPES / f"{NAME.format(variant)}.yml").read_text()))


DATA = {
    ".datasets.0.path": "{}/train.jsonl",
    ".test_datasets.0.path": "{}/val.jsonl",
    ".dataset_prepared_path": "{}/prepared",
}


@pytest.mark.parametrize(
    ("variant", "folder"),
    [*((size, f"data/arxivdl/{size}") for size in SIZES),
     ("1000-augmented", "data/arxivdl-augmented/1000")],
)  # fmt: skip
def test_recipes_differ_in_data_and_output_alone(variant: object, folder: str) -> None:
    own = {key: path.format(folder) for key, path in DATA.items()}
    own[".output_dir"] = f"outputs/{NAME.format(variant)}"
    first, this = read(200), read(variant)
    assert {key: this[key] for key in own} == own
    assert {key: value for key, value in this.items() if key not in own} == {
        key: value for key, value in first.items() if key not in own
    }


@pytest.mark.parametrize("size", SIZES)
def test_the_headers_say_the_same_but_for_the_size(size: int) -> None:
    first, this = (
        (RECIPES / f"{NAME.format(each)}.yml").read_text().split("\n\n")[0] for each in (200, size)
    )
    assert (
        this.replace(f"{size:,} rows of", "200 rows of")
        .replace(f"data/arxivdl/{size}", "data/arxivdl/200")
        .replace(NAME.format(size), NAME.format(200))
        == first
    )


def test_the_values_are_those_of_the_issue() -> None:
    recipe = read(200)
    assert recipe[".base_model"] == "unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit"
    assert (recipe[".adapter"], recipe[".load_in_4bit"]) == ("qlora", True)
    assert recipe[".num_epochs"] == 3
    assert ".train_on_inputs" not in recipe  # completions only
    assert (recipe[".examples_per_step"], recipe[".validation_rows"]) == (4, 200)
