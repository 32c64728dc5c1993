"""Rows of verdicts are shown as they are, with what to do, and one failure fails the whole."""

from typing import Literal

import pytest
from rich.console import Console

from tools.errors import UserError
from validation.verdict import VerdictRow, as_result, in_section, print_verdicts


def shown(*rows: VerdictRow) -> list[str]:
    console = Console(record=True, width=100)
    print_verdicts(as_result(rows)["verdicts"], console)
    return [line.strip("│ ") for line in console.export_text().splitlines()]


@pytest.mark.parametrize(("verdict", "held"), [("ok", True), ("note", True), ("fail", False)])
def test_a_failure_alone_fails_the_whole(
    verdict: Literal["ok", "note", "fail"], held: bool
) -> None:
    assert as_result([VerdictRow("a", "1"), VerdictRow("b", "2", verdict)])["passed"] is held


def test_rows_are_shown_as_they_are_with_what_to_do() -> None:
    first, second = VerdictRow("a[/x]", "[bold]1", section="data"), VerdictRow("b", "2")
    lines = shown(first, VerdictRow("b", "2", "fail", "mend [it]", section="data"))
    assert [line for line in lines if "data" in line] == [
        "data │ a[/x] │ [bold]1 │ ok", "data, b: mend [it]"]  # fmt: skip
    assert "expected" not in " ".join(lines)
    assert "b     │ 2     │ ≥ 3      │ ok" in shown(second, VerdictRow("b", "2", expected="≥ 3"))


@pytest.mark.parametrize("error", [UserError("what, where"), TypeError("what, where")])
def test_work_that_raises_is_one_failed_row_of_its_section(error: Exception) -> None:
    def work() -> list[VerdictRow]:
        raise error

    [row] = in_section("model", work)
    assert (row.section, row.name, row.verdict) == ("model", "model", "fail")
    assert "what, where" in row.todo
    with pytest.raises(KeyboardInterrupt):
        in_section("model", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
