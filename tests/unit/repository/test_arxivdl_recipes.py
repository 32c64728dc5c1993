"""The recipes of ArXivDLInstruct: what they share, and what alone tells them apart."""

from pathlib import Path

import pytest

from tools.prepare.arxivdl import SIZES
from tools.recipe import read_recipe

RECIPES = Path(__file__).parents[3] / "recipes"
NAME = "arxivdl-llama3.1-8b-qlora"
AUGMENTED = "data/arxivdl-augmented/1000"


@pytest.mark.parametrize(
    ("variant", "folder"),
    [*((size, f"data/arxivdl/{size}") for size in SIZES), ("1000-augmented", AUGMENTED)],
)
def test_recipes_differ_in_data_and_output_alone(variant: object, folder: str) -> None:
    """Those of a size have one text, but for the size."""
    first = (RECIPES / f"{NAME}-200.yml").read_text()
    this = (RECIPES / f"{NAME}-{variant}.yml").read_text()
    if folder == AUGMENTED:  # its header says more
        first, this = (text.partition("\n\n")[2] for text in (first, this))
    expected = first.replace("data/arxivdl/200", folder).replace(f"{NAME}-200", f"{NAME}-{variant}")
    if isinstance(variant, int):
        expected = expected.replace("200 rows of", f"{variant:,} rows of")
    assert this == expected


def test_the_values_are_those_of_the_published_notebook() -> None:
    values = read_recipe(RECIPES / f"{NAME}-200.yml").values
    assert values["base_model"] == "unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit"
    assert (values["adapter"], values["load_in_4bit"]) == ("qlora", True)
    assert (values["num_epochs"], values["examples_per_step"]) == (3, 4)
    assert values["validation_rows"] == 200
    assert "train_on_inputs" not in values  # completions only
