"""docs/fidelity.md says what the recipes hold, and they hold it."""

import re
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from tools.recipe import read_recipe, recipes_in

ROOT = Path(__file__).parents[3]
RECIPES = recipes_in(ROOT / "recipes")
ABSENT = "absent"
# whose values are their own, as the document says
OTHERS = {"cogex-smollm2-135m", "emulator-smollm2-135m"}


@dataclass(frozen=True)
class Row:
    """One row of the table; `keys` is empty where no recipe holds the value."""

    what: str
    value: Any
    keys: tuple[str, ...]
    binds: tuple[str, ...]
    leaves_out: tuple[str, ...]
    test: str

    def binds_recipe(self, name: str) -> bool:
        bound, left_out = (
            any(fnmatch(name, pattern) for pattern in patterns)
            for patterns in (self.binds, self.leaves_out)
        )
        return bound and not left_out and name not in OTHERS


def read_table() -> list[Row]:
    lines = (ROOT / "docs" / "fidelity.md").read_text().splitlines()
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("| ")][1:]
    return [_row([cell.strip().replace("\\|", "|") for cell in row]) for row in cells]


def _row(cells: list[str]) -> Row:
    what, value, _, key, binds, test = cells
    inside, _, outside = binds.partition(", not ")
    written = _code(value)
    return Row(
        what=what,
        value=_number(yaml.safe_load(written[0])) if written else None,
        keys=tuple(_code(key)),
        binds=tuple(_code(inside)),
        leaves_out=tuple(_code(outside)),
        test=test.strip("`"),
    )


def _code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def _number(value: Any) -> Any:
    """YAML reads 3e-4 as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


TABLE = read_table()


def held(key: str, values: dict[str, Any]) -> Any:
    """What a recipe has under a key of the table, such as `datasets.0.type`."""
    found: Any = values
    for part in key.split("."):
        try:
            found = found[int(part) if isinstance(found, list) else part]
        except (KeyError, IndexError):
            return ABSENT
    return _number(found)


def differences(name: str, values: dict[str, Any]) -> list[str]:
    """Where the recipe of that name departs from the table."""
    return [
        f"`{key}` is {given!r}, not {row.value!r} ({row.what})"
        for row in TABLE
        if row.binds_recipe(name)
        for key in row.keys
        if (given := held(key, values)) != row.value or type(given) is not type(row.value)
    ]


def test_the_table_is_read() -> None:
    by_what = {row.what: row for row in TABLE}
    assert len(TABLE) > 60
    assert by_what["pad token, Llama-3.1"].value == "<|finetune_right_pad_id|>"
    rate = [row.value for row in TABLE if row.what == "learning rate"]
    assert rate == [0.0003, 0.002]
    assert not by_what["base in bf16"].binds_recipe("cogex-llama2-7b-qlora")


def test_each_row_binds_a_recipe_and_names_a_test() -> None:
    for row in TABLE:
        if row.keys:
            assert [path.stem for path in RECIPES if row.binds_recipe(path.stem)], row.what
        if row.test != "table":
            file, name = row.test.split("::")
            text = (ROOT / "tests" / "unit" / file).read_text()
            assert re.search(rf"^def {name}\(", text, re.MULTILINE), row.test
            if row.value and not row.keys:  # no recipe holds the value, so the test does
                assert f"{row.value:_}" in text, row.what


def test_no_key_is_left_out_of_the_document() -> None:
    text = (ROOT / "docs" / "fidelity.md").read_text()
    named = re.search(r"No result depends on these keys.*?\n\n", text, re.DOTALL)
    assert named
    for path in RECIPES:
        if path.stem.startswith(("cogex-", "alpaca-")) and path.stem not in OTHERS:
            bound = (row for row in TABLE if row.binds_recipe(path.stem))
            listed = {key.split(".")[0] for row in bound for key in row.keys}
            left = set(read_recipe(path).values) - listed - set(_code(named[0]))
            assert left == set(), path.stem
