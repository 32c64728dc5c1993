"""One verdict: what was checked, what was found, how good that is, and what to do.

Preflight, curves, doctor and check all report a list of them, show it with `print_verdicts`, and
pass by the same rule (`passed`), which decides the exit status.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tools.errors import UserError

Verdict = Literal["ok", "note", "fail"]
COLOURS: dict[str, str] = {"ok": "green", "note": "yellow", "fail": "red"}

# what a wrong value in a recipe makes the libraries raise; OSError: a name too long
_WRONG_VALUE = (TypeError, ValueError, ArithmeticError, AttributeError, LookupError, OSError)


@dataclass(frozen=True)
class VerdictRow:
    """One row of the table.

    `note` is for what cannot be checked here, or is worth knowing and stops nothing.
    """

    name: str  # what was checked, in a few words
    found: str  # with its figure and unit
    verdict: Verdict = "ok"
    todo: str = ""  # what to do about it
    figures: dict[str, Any] = field(default_factory=dict)  # what was found, for machines
    expected: str = ""  # a threshold, or the version that was tested
    section: str = ""  # a group of rows


def passed(rows: Iterable[VerdictRow]) -> bool:
    """Whether no row failed: `cogex` then exits with 0, else with 1."""
    return all(row.verdict != "fail" for row in rows)


def as_result(rows: Sequence[VerdictRow]) -> dict[str, Any]:
    """What each result holds: `passed`, and `verdicts`, one dict for each row."""
    return {"passed": passed(rows), "verdicts": [vars(row) for row in rows]}


def in_section(
    section: str, work: Callable[[], list[VerdictRow]], name: str = ""
) -> list[VerdictRow]:
    """Return the rows that `work` makes, marked with their section.

    Where a recipe is so wrong that `work` raises, that is one failed row, called `name` or as the
    section. A list instead of a number stops Axolotl, PEFT and transformers in many ways; the
    schema's own row names the key.
    """
    try:
        rows = work()
    except UserError as error:
        rows = [VerdictRow(name or section, "cannot be checked", "fail", str(error))]
    except _WRONG_VALUE as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        todo = f"a value of the recipe has the wrong type or size; correct it ({what})"
        rows = [VerdictRow(name or section, "cannot be checked", "fail", todo)]
    return [replace(row, section=section) for row in rows]


def print_verdicts(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Print the rows of a result as a table, then what to do about them."""
    console.print(verdict_table(rows))
    for line in advice(rows):
        console.print(line)


def verdict_table(rows: Sequence[dict[str, Any]]) -> Table:
    """A table of the rows; `section` and `expected` have a column only where a row uses them."""
    columns = ["name", "found"]
    if any(row["section"] for row in rows):
        columns.insert(0, "section")
    if any(row["expected"] for row in rows):
        columns.append("expected")
    table = Table(*({"section": "", "name": "check"}.get(key, key) for key in columns), "")
    table.columns[columns.index("found")].overflow = "fold"
    before = None
    for row in rows:
        cells = [Text(row[key]) for key in columns]
        if columns[0] == "section":
            cells[0] = Text("" if row["section"] == before else row["section"])
            before = row["section"]
        table.add_row(*cells, Text(row["verdict"], style=COLOURS[row["verdict"]]))
    return table


def advice(rows: Sequence[dict[str, Any]]) -> list[Text]:
    """A sentence for each row that says what to do."""
    return [
        Text(
            f"{', '.join(filter(None, (row['section'], row['name'])))}: {row['todo']}",
            style=COLOURS[row["verdict"]],
        )
        for row in rows
        if row["todo"]
    ]
