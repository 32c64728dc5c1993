"""The pictures of a run: the same bytes each time, readable on light and on dark ground."""

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from tests.unit.recorded_run import RecordedRun
from validation.curves.expected_run import expected_run
from validation.curves.trainer_state import read_run
from validation.report.pictures import (
    BINS,
    BLUE,
    GREEN,
    RED,
    Lengths,
    Picture,
    gradient_norm,
    histogram,
    learning_rate,
    losses,
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RecordedRun:
    monkeypatch.chdir(tmp_path)
    return RecordedRun(tmp_path)


def draw(run: RecordedRun) -> list[Picture]:
    recipe = run.write()
    state, expected = read_run(recipe.output_dir), expected_run(recipe)
    return [
        losses(state, chosen=44),
        learning_rate(state, expected),
        gradient_norm(state, expected),
    ]


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG 2 has it."""
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))


@pytest.mark.parametrize("colour", [BLUE, RED, GREEN])
@pytest.mark.parametrize("ground", ["#ffffff", "#121212"])
def test_lines_stand_out_on_light_and_on_dark_ground(colour: str, ground: str) -> None:
    light, dark = sorted((luminance(colour), luminance(ground)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3  # WCAG 2.1, 1.4.11, for graphics


def test_a_picture_is_one_named_element_and_the_same_each_time(run: RecordedRun) -> None:
    pictures = draw(run)
    assert draw(run) == pictures
    for picture in pictures:
        assert set(re.findall("#[0-9a-f]{6}", picture.svg)) <= {BLUE, RED, GREEN}
        assert "currentColor" in picture.svg
        root = ElementTree.fromstring(picture.svg)
        assert root.tag.endswith("svg") and root.get("aria-label") == picture.caption
    words = re.findall(r">([a-z, ]+)</text>", pictures[0].svg)
    assert words[-4:] == ["training", "validation", "base, validation", "chosen checkpoint"]


def test_tables_hold_the_numbers(run: RecordedRun) -> None:
    of_losses, rates, norms = draw(run)
    assert of_losses.rows[0] == ("0", "0", "-", "0.06079", "1.063", "base, before training")
    assert of_losses.rows[1] == ("11", "1", "0.0182", "0.01654", "1.017", "")
    assert of_losses.rows[4][-1] == "chosen"
    assert rates.rows[0] == ("2", "0.1905", "0.0004", "0.0004")
    assert rates.rows[-1] == ("52", "4.762", "2.233e-06", "2.233e-06")
    assert (len(rates.rows), rates.logs, len(norms.rows)) == (25, 26, 25)


def test_what_is_no_number_is_left_out(run: RecordedRun) -> None:
    run.at(20).update(loss=math.nan, grad_norm=math.inf, learning_rate=math.nan)
    run.evaluations[0]["eval_loss"] = math.inf
    assert all("inf" not in picture.svg.lower() for picture in draw(run))
    run.state["log_history"] = []
    assert all("<svg" in picture.svg for picture in draw(run))


def test_histogram_counts_every_row_once() -> None:
    drawn = histogram(Lengths(np.array([1, 9, 10, 480, 481]), 3, 480))
    assert drawn.rows == [("0 to 49", "3"), ("450 to 499", "2")]
    assert "median 10 tokens, longest 481; 1 are longer" in drawn.caption
    assert len(histogram(Lengths(np.arange(4096), 1, 2048)).rows) <= BINS
