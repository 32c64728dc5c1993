"""The pictures of a search hold its figures, in the folder and in the report."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.unit.tools.search.test_sweep import tables
from tools.results import Searched, SweepFile
from tools.search.sweep import sweep
from validation.report.search_pictures import of_search, write_pictures

SHARE = {"right": 3, "rows": 4, "interval_95": [0.3, 0.95]}
TEST = {
    "cotacs_k1": {**SHARE, "by_row": "1110"},
    "cotacs_k3": {**SHARE, "by_row": "1101"},
    "end_to_end": {**SHARE, "by_row": "0111"},
    "zero_shot": {**SHARE, "by_row": "1011"},
}


@pytest.fixture(scope="module")
def swept() -> dict[str, Any]:
    return sweep(tables([0.2, 0.5, 0.8], rows=(60, 300, 100)), 42)


def test_length_is_drawn_for_programs_and_the_most_votes(swept: dict[str, Any]) -> None:
    searched = Searched.model_validate(
        {"task": {"name": "x", "lengths": [2, 9, 2, 9]}, "test": TEST}
    )
    [picture] = of_search(searched, None)
    assert picture.headings == ("length", "CoTACS, k = 3", "end to end")
    assert picture.rows == [("2", "1 of 2", "1 of 2"), ("9", "2 of 2", "2 of 2")]
    plain = Searched.model_validate({"task": {"name": "x"}, "test": TEST})
    assert of_search(plain, None) == []
    assert len(of_search(searched, SweepFile.model_validate(swept))) == 3


def test_sweep_is_drawn_over_both_axes_with_all_criteria_in_the_table(
    swept: dict[str, Any],
) -> None:
    plain = Searched.model_validate({"task": {"name": "x"}, "test": TEST})
    candidates, dev = of_search(plain, SweepFile.model_validate(swept))
    assert candidates.headings[1] == "candidates" and dev.headings[1] == "dev rows"
    assert len(candidates.rows) == 3 * len({item["candidates"] for item in swept["points"]})
    largest = [item for item in swept["points"] if item["candidates"] == 60]
    shares = {f"{item['accuracy']['mean']:.1%}" for item in largest if item["dev_rows"] == 300}
    assert {row[2] for row in candidates.rows if row[1] == "60"} == shares
    assert "Mean and standard deviation of 20 draws" in candidates.caption


def test_pictures_are_written_beside_what_was_found_the_same_each_time(
    tmp_path: Path, swept: dict[str, Any]
) -> None:
    result = {
        "folder": str(tmp_path), "task": {"name": "x", "lengths": [2, 9, 2, 9]},
        "test": TEST, "sweep": swept,
    }  # fmt: skip
    paths = write_pictures(result)
    assert [path.name for path in paths] == [
        "sweep-candidates.svg", "sweep-dev_rows.svg", "by-length.svg",
    ]  # fmt: skip
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write_pictures(result)] == before
    for text in before:
        assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    del result["sweep"], result["task"]["lengths"]  # type: ignore[attr-defined]
    assert write_pictures(result) == []
