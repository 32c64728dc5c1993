"""The header of a recipe says what a person needs."""

from pathlib import Path

import pytest

from tools.errors import UserError
from tools.recipe_header import LABELS, read_header

HEADER = """# A purpose.
#
# Needs:    data,
#           and more
# Launch:   accelerate launch -m axolotl.cli.train recipes/a.yml
# Hardware: two 48 GB GPUs, 128 GB of memory
# Time:     not measured
#
# A note
# here: no label, though it has a colon.

base_model: a/b
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "a.yml"
    path.write_text(HEADER)
    return path


def test_labels_and_joined_lines(recipe: Path) -> None:
    header = read_header(recipe)
    assert header.purpose == "A purpose."
    assert header.fields["Needs"] == "data, and more"
    assert tuple(header.fields) == LABELS


@pytest.mark.parametrize(
    ("hardware", "ranks", "card_gb"),
    [("two 48 GB GPUs", 2, 48), ("one 24 GB GPU", 1, 24), ("two CPU cores", 1, None)],
)
def test_hardware_is_counted(recipe: Path, hardware: str, ranks: int, card_gb: int | None) -> None:
    recipe.write_text(HEADER.replace("two 48 GB GPUs", hardware))
    header = read_header(recipe)
    assert (header.ranks, header.card_gb) == (ranks, card_gb)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        *((f"# {label}:", f"# {label}", f"no `# {label}:` line; add it") for label in LABELS),
        (HEADER, "\n", "no `# Needs:`, `# Launch:`, `# Hardware:`, `# Time:` lines; add them, as"),
        ("two 48", "some 48", "Hardware line must start like `two 48 GB GPUs`, with one, two"),
    ],
)
def test_unclear_header_is_refused(recipe: Path, old: str, new: str, message: str) -> None:
    recipe.write_text(HEADER.replace(old, new))
    with pytest.raises(UserError, match=message):
        read_header(recipe)
