"""The header of a recipe is read as its contract."""

from pathlib import Path

import pytest

from tools.errors import UserError
from tools.recipe_header import read_header
from tools.training.batch import disagreement

HEADER = """# A purpose.
#
# Needs:    data,
#           and more
# Launch:   accelerate launch -m axolotl.cli.train recipes/a.yml
# Hardware: two 48 GB GPUs, 128 GB of memory
# Time:     not measured
# Batch:    32 examples in each optimizer step = 4 (micro) x 2 (accumulation) x 4 (GPUs);
#           on 1 GPU set something
#
# A note: no label, though it has a colon.

base_model: a/b
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "a.yml"
    path.write_text(HEADER)
    return path


def test_numbers_and_joined_lines(recipe: Path) -> None:
    header = read_header(recipe)
    assert (header.batch_size, header.micro, header.accumulation, header.ranks) == (32, 4, 2, 4)
    assert header.card_gb == 48 and header.validation_rows == 2000
    assert header.purpose == "A purpose."
    assert header.fields["Needs"] == "data, and more"
    assert list(header.fields) == ["Needs", "Launch", "Hardware", "Time", "Batch"]


def test_packs_and_rows(recipe: Path) -> None:
    recipe.write_text(
        HEADER.replace("32 examples", "about 32 examples")
        .replace("4 (micro)", "1 (micro: packs of up to 2048 tokens)")
        .replace("# Batch", "# Rows:     1,240 for validation\n# Batch")
        .replace("two 48 GB GPUs", "two CPU cores")
    )
    header = read_header(recipe)
    assert (header.batch_size, header.micro, header.validation_rows) == (32, 1, 1240)
    assert header.card_gb is None


@pytest.mark.parametrize("label", ["Needs", "Launch", "Hardware", "Time", "Batch"])
def test_missing_label_is_named(recipe: Path, label: str) -> None:
    recipe.write_text(HEADER.replace(f"# {label}:", f"# {label}"))
    with pytest.raises(UserError, match=f"no `# {label}:` line"):
        read_header(recipe)


UNCLEAR = ["32", "32 examples in each step", "32 examples in each optimizer step = x (micro)"]


@pytest.mark.parametrize("batch", UNCLEAR)
def test_unclear_batch_is_refused(recipe: Path, batch: str) -> None:
    text = HEADER.replace(HEADER[HEADER.index("32 examples") : HEADER.index(";\n")], batch)
    recipe.write_text(text)
    with pytest.raises(UserError, match="Batch line must read"):
        read_header(recipe)


def test_unclear_rows_are_refused(recipe: Path) -> None:
    recipe.write_text(HEADER.replace("# Batch", "# Rows:     some\n# Batch"))
    with pytest.raises(UserError, match="Rows line must read"):
        read_header(recipe)


@pytest.mark.parametrize(
    ("micro", "accumulation", "ranks", "advice"),
    [
        (4, 2, 4, None),
        (4, 8, 1, None),
        (4, 2, 8, "set gradient_accumulation_steps to 1"),
        (4, 2, 2, "set gradient_accumulation_steps to 4"),
        (4, 2, 3, "no whole gradient_accumulation_steps"),
    ],
)
def test_batch_is_held_to_the_header(
    recipe: Path, micro: int, accumulation: int, ranks: int, advice: str | None
) -> None:
    problem = disagreement(read_header(recipe), micro, accumulation, ranks)
    assert (problem is None) if advice is None else (advice in str(problem))
