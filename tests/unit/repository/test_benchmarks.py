"""What runs, measures and shows the benchmarks; their figures are not tested."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import typer

from benchmarks import __main__ as suite
from benchmarks import document_attention, shares
from benchmarks.child import Took, measure
from benchmarks.scaling import summary


@pytest.mark.parametrize("part", suite.PARTS)
def test_every_part_is_a_module_that_writes_json(part) -> None:
    spec = find_spec(f"benchmarks.{part}")
    assert spec is not None and spec.origin is not None
    assert "--json" in Path(spec.origin).read_text(encoding="utf-8")


def test_part_that_fails_neither_stops_the_rest_nor_passes(monkeypatch, capfd) -> None:
    monkeypatch.setattr(suite, "PARTS", {"no_such_part": [], "nor_this": []})
    with pytest.raises(typer.Exit) as stopped:
        suite.main([], table=False)
    assert stopped.value.exit_code == 1
    shown, errors = capfd.readouterr()
    assert "No module named benchmarks.nor_this" in errors
    assert "failed: no_such_part, nor_this" in shown


def test_unknown_part_is_refused_before_anything_runs() -> None:
    with pytest.raises(typer.BadParameter, match="sleeping: the parts are tokenising"):
        suite.main(["startup", "sleeping"], table=False)


def test_table_shows_every_figure_and_how_it_was_measured() -> None:
    figures = {"ours": {"rows": 5000, "seconds": 1.234}, "exponent": None}
    found = {
        "command": "python -m benchmarks.tokenising",
        "seconds": 61.4,
        "load_before": 0.25,
        **suite.circumstances(),
        "figures": figures,
    }
    shown = suite.markdown({"tokenising": found})
    assert "| ours / rows | 5,000 |\n| ours / seconds | 1.23 |\n| exponent | None |" in shown
    assert "`python -m benchmarks.tokenising`" in shown
    assert found["date"] in shown and found["machine"] in shown
    assert f"torch {found['versions']['torch']}" in shown


@pytest.mark.parametrize("power", [1, 2])
def test_exponent_is_that_of_the_rows_whatever_start_up_takes(power) -> None:
    took = {rows: Took(9 + 1e-6 * rows**power, 9, 300 + rows / 500) for rows in (1000, 5000, 20000)}
    if power == 2:  # above the smallest run, a square is steeper than its power, but not by much
        assert 1.7 < summary(took)["exponent"] < 2.1
        return
    assert summary(took)["exponent"] == pytest.approx(1)
    assert summary(took)["rows_per_second_above_smallest"] == pytest.approx(1e6)
    assert summary(took)["mib_per_1000_rows"] == pytest.approx(2)


def test_memory_is_that_of_the_command_and_its_children() -> None:
    allocate = "bytearray(300 * 2**20)"
    alone = measure([sys.executable, "-c", "pass"])
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{allocate}'])"
    assert alone.peak_mib < 100
    assert 300 < measure([sys.executable, "-c", child]).peak_mib < 400
    assert measure([sys.executable, "-c", "pass"]).peak_mib < 100  # the one before does not count


def test_command_that_fails_is_shown_with_its_end() -> None:
    with pytest.raises(SystemExit, match=r"ended with 3:\nlast words"):
        measure([sys.executable, "-c", "print('last words'); raise SystemExit(3)"])


def test_documents_of_a_pack_attend_as_alone(tiny_model, monkeypatch) -> None:
    documents = [torch.arange(5, 5 + length) for length in (40, 1, 23)]
    pack = {
        "input_ids": torch.cat(documents)[None],
        "position_ids": torch.cat([torch.arange(len(ids)) for ids in documents])[None],
    }
    calls = []
    for registry, name in (
        (document_attention.ALL_ATTENTION_FUNCTIONS, "attend"),
        (document_attention.ALL_MASK_ATTENTION_FUNCTIONS, "mask"),
    ):
        monkeypatch.setitem(registry._global_mapping, "sdpa", registry["sdpa"])
        monkeypatch.setattr(
            document_attention, name, noting(getattr(document_attention, name), calls)
        )
    with torch.inference_mode():
        alone = torch.cat([tiny_model(input_ids=ids[None]).logits[0] for ids in documents])
        document_attention.install()
        packed = tiny_model(**pack).logits[0]
    assert set(calls) == {"attend", "mask"}
    assert (packed - alone).abs().max() < 1e-4


def noting(function, calls: list[str]):
    def noted(*arguments, **named):
        calls.append(function.__name__)
        return function(*arguments, **named)

    return noted


def test_shares_add_up() -> None:
    hidden, head = torch.ones(64, 128), torch.ones(128, 1000)
    with shares.profiler() as profiled:
        for _ in range(20):
            torch.nn.functional.cross_entropy(hidden @ head, torch.zeros(64).long())
    found = shares.shares(profiled)
    assert sum(found.values()) == pytest.approx(1)
    assert found["matrix products"] > 0 and found["loss"] > 0
    assert found["attention"] == 0
