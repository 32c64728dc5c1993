"""The files of a run, spoilt: `cogex curves`, `select` and what shows them are never deceived."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from tests.unit.made_run import RUN, make_run
from tests.unit.properties.mutations import examples, mutated, no_traceback, spoilt
from tests.unit.recorded_run import RecordedRun
from tools.models import load_base
from tools.recipe import Recipe
from tools.results import Selection
from validation.compare import compare
from validation.curves.curves import curves
from validation.report.facts import read_facts
from validation.report.model_card import write_card
from validation.report.report import report
from validation.selection import select as module
from validation.selection.checkpoints import ADAPTER, ADAPTER_CONFIG, STATE, checkpoints
from validation.selection.perplexity import Score, ScoringRow
from validation.selection.score_cache import NAME as SCORES
from validation.selection.select import select

SHOWN = ("selection.json", "check.json", "generations.jsonl", "best/checkpoint.json",
         "validation_nll.jsonl")  # fmt: skip


@examples(40)
@given(data=st.data())
def test_state_called_healthy_has_finite_losses(data: st.DataObject) -> None:
    run = RecordedRun(Path())
    recipe = run.write()
    path = recipe.output_dir / STATE
    text = json.dumps(data.draw(mutated(run.state))).encode()
    path.write_bytes(data.draw(spoilt(text)) if data.draw(st.integers(0, 9)) == 0 else text)
    with no_traceback():
        result = curves(recipe)
        json.dumps(result, allow_nan=False)
        if result["passed"]:
            logs = json.loads(path.read_text())["log_history"]
            losses = [log["loss"] for log in logs if "loss" in log]
            assert losses and all(0 < loss < math.inf for loss in losses)


# ------------------------------------------------------------------------------ a made run


@pytest.fixture(scope="module")
def made(folder: Path) -> Iterator[tuple[Recipe, dict[Path, bytes]]]:
    """A run with two checkpoints, its scores made from the weights, and the bytes of its files."""
    recipe = make_run(folder)
    base = load_base("models/tiny-base")
    (RUN / SCORES).unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_base", lambda *_, **__: base)
        patch.setattr(module, "score_rows", made_nlls)
        patch.setattr(module, "score", lambda *held: Score(math.fsum(made_nlls(*held)), 1))
        select(recipe)
        yield recipe, {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()}


def made_nlls(model: Any, rows: Sequence[ScoringRow]) -> list[float]:
    """NLLs that depend on each weight of an adapter, and take no time."""
    return [nll_a_token(model.state_dict()) * row.trained_tokens for row in rows]


def nll_a_token(weights: dict[str, torch.Tensor]) -> float:
    sums = [float(weight.double().sum()) for name, weight in weights.items() if "lora" in name]
    return 1 + abs(math.fsum(sums)) / 100


def restore(whole: dict[Path, bytes]) -> None:
    """Put every file of the run back as it was."""
    for path, content in whole.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)


def spoil(data: st.DataObject, path: Path, content: bytes) -> bytes:
    """Draw other content for a file: spoilt bytes, or another value where it is JSON."""
    if path.suffix == ".safetensors" or path.name == SCORES or data.draw(st.integers(0, 2)) == 0:
        return data.draw(spoilt(content))
    return json.dumps(data.draw(mutated(json.loads(content or b"{}")))).encode()


@examples(20)
@given(data=st.data())
def test_checkpoint_that_was_cut_short_is_not_ok(
    made: tuple[Recipe, dict[Path, bytes]], data: st.DataObject
) -> None:
    recipe, whole = made
    restore(whole)
    name = data.draw(st.sampled_from([ADAPTER, ADAPTER_CONFIG, STATE]))
    path = RUN / "checkpoint-52" / name
    path.write_bytes(spoil(data, path, whole[path]))
    with no_traceback():
        found = checkpoints(recipe)
        assert {item.status for item in found} <= {"ok", "corrupt", "incomplete"}
        assert all(item.status == "ok" or item.reason for item in found)
        if name == ADAPTER and path.stat().st_size < len(whole[path]):
            assert [item.status for item in found] != ["ok", "ok"]


@examples(8)
@given(data=st.data())
def test_best_is_the_sound_checkpoint_with_the_lowest_score(
    made: tuple[Recipe, dict[Path, bytes]], data: st.DataObject
) -> None:
    recipe, whole = made
    restore(whole)
    of_a_checkpoint = data.draw(st.sampled_from([ADAPTER, ADAPTER_CONFIG, STATE]))
    path = data.draw(
        st.sampled_from(
            [
                RUN / "checkpoint-11" / of_a_checkpoint,
                RUN / "checkpoint-52" / of_a_checkpoint,
                RUN / SCORES,
                RUN / "best" / ADAPTER,
            ]
        )
    )
    path.write_bytes(spoil(data, path, whole[path]))
    with no_traceback():
        result = select(recipe)
        written = json.loads((RUN / "selection.json").read_text())
        assert Selection.model_validate(written) == result
        assert all(item.status == "ok" or item.reason for item in result.checkpoints)
        assert_lowest(result)
        write_card(read_facts(recipe))


def assert_lowest(result: Selection) -> None:
    """Score each checkpoint that is ok from its file once more."""
    scores = {}
    for item in result.checkpoints:
        if item.status == "ok":
            weights = load_file(RUN / item.name / ADAPTER)
            scores[item.name] = math.exp(nll_a_token(weights))
            assert math.isclose(item.perplexity or 0.0, scores[item.name], rel_tol=1e-12)
    if not scores:
        assert result.best is None
        return
    assert result.best == min(scores, key=scores.__getitem__)
    for name in (ADAPTER, ADAPTER_CONFIG):
        assert (RUN / "best" / name).read_bytes() == (RUN / str(result.best) / name).read_bytes()


@examples(20)
@given(data=st.data())
def test_card_and_comparison_show_no_figure_that_is_none(
    made: tuple[Recipe, dict[Path, bytes]], data: st.DataObject
) -> None:
    recipe, whole = made
    spoil_shown(data, whole)
    with no_traceback():
        json.dumps(compare([RUN, RUN]), allow_nan=False)
    with no_traceback():
        card = write_card(read_facts(recipe)).read_text(encoding="utf-8")
        figures = card.partition("## Figures")[2].partition("## Training")[0].replace("*", " ")
        assert not {"nan", "inf", "nan%", "inf%"} & set(figures.split())
        shares = [word.removesuffix("%") for word in figures.split() if word.endswith("%")]
        assert all(0 <= float(share) <= 100 for share in shares)


@examples(4)
@given(data=st.data())
def test_report_is_written_or_refused(
    made: tuple[Recipe, dict[Path, bytes]], data: st.DataObject
) -> None:
    recipe, whole = made
    spoil_shown(data, whole)
    with no_traceback():
        report(recipe)


def spoil_shown(data: st.DataObject, whole: dict[Path, bytes]) -> None:
    """Spoil one file of a whole run that the card or the report shows."""
    restore(whole)
    path = RUN / data.draw(st.sampled_from(SHOWN))
    lines = whole[path].split(b"\n") if path.suffix == ".jsonl" else [whole[path]]
    at = data.draw(st.integers(0, len(lines) - 1))
    lines[at] = spoil(data, path, lines[at])
    path.write_bytes(b"\n".join(lines))
