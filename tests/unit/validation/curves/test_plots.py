"""The pictures of a run: the same bytes each time, readable on light and on dark ground."""

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.colors import to_rgb

from tests.unit.recorded_run import STATE, RecordedRun
from validation.curves.expected_run import cosine
from validation.curves.plots import (
    BLUE,
    GREEN,
    RED,
    draw_gradient_norm,
    draw_learning_rate,
    draw_losses,
    to_svg,
)
from validation.curves.trainer_state import TrainerState, read_run, read_state


@pytest.fixture(scope="module")
def state() -> TrainerState:
    return read_state(STATE)


def draw(state: TrainerState) -> list[str]:
    figures = [
        draw_losses(state, chosen=44),
        draw_learning_rate(state, cosine(2e-3, 5, 52)),
        draw_gradient_norm(state, limit=1.0),
    ]
    return [to_svg(figure, 'A <run> & its "curves"') for figure in figures]


@pytest.fixture(scope="module")
def pictures(state: TrainerState) -> list[str]:
    return draw(state)


def test_the_same_run_gives_the_same_bytes(state: TrainerState, pictures: list[str]) -> None:
    assert draw(state) == pictures


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG 2 has it."""
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))


@pytest.mark.parametrize("colour", [BLUE, RED, GREEN])
@pytest.mark.parametrize("ground", ["#ffffff", "#121212"])
def test_lines_stand_out_on_light_and_on_dark_ground(colour: str, ground: str) -> None:
    light, dark = sorted((luminance(colour), luminance(ground)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3  # WCAG 2.1, 1.4.11, for graphics


def test_a_picture_is_one_named_element_without_other_colours(pictures: list[str]) -> None:
    for svg in pictures:
        assert set(re.findall("#[0-9a-f]{6}", svg)) <= {BLUE, RED, GREEN}
        assert "currentColor" in svg
        root = ElementTree.fromstring(svg)
        assert root.tag.endswith("svg")
        assert root.get("aria-label") == 'A <run> & its "curves"'


def test_losses_show_training_validation_base_and_chosen_checkpoint(state: TrainerState) -> None:
    [axes] = draw_losses(state, chosen=44).axes
    training, validation, base, chosen = axes.get_lines()
    assert list(training.get_ydata()) == [log.loss for log in state.training]
    assert list(validation.get_xdata())[2:4] == [2.0, 3.0]
    assert set(base.get_ydata()) == {0.06079097464680672}
    assert set(chosen.get_xdata()) == {4.0}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "training", "validation", "base, validation", "chosen checkpoint"]  # fmt: skip


def test_the_planned_learning_rate_lies_under_the_logged_one(state: TrainerState) -> None:
    [axes] = draw_learning_rate(state, cosine(2e-3, 5, 52)).axes
    planned, logged = axes.get_lines()
    assert list(planned.get_ydata()) == pytest.approx(list(logged.get_ydata()), rel=1e-6)


def test_what_is_no_number_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = RecordedRun(tmp_path)
    run.at(20).update(loss=math.nan, grad_norm=math.inf, learning_rate=math.nan)
    run.evaluations[0]["eval_loss"] = math.inf
    run.write()
    state = read_run(Path("run"))
    assert len(draw_losses(state).axes[0].get_lines()[0].get_ydata()) == 25
    assert all("inf" not in svg.lower() for svg in draw(state))
    run.state["log_history"] = []
    run.write()
    assert all("<svg" in svg for svg in draw(read_run(Path("run"))))
