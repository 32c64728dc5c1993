"""What runs, measures and shows the benchmarks; their figures are not tested."""

import json
import sys
from importlib.metadata import version

import pytest
import typer
from rich.console import Console

from benchmarks import __main__ as suite
from benchmarks.child import Took, measure
from benchmarks.scaling import summary


def test_part_that_fails_neither_stops_the_rest_nor_passes(monkeypatch, capfd) -> None:
    monkeypatch.setattr(suite, "PARTS", {"no_such_part": [], "nor_this": []})
    with pytest.raises(typer.Exit) as stopped:
        suite.main([])
    assert stopped.value.exit_code == 1
    shown, errors = capfd.readouterr()
    assert "No module named benchmarks.nor_this" in errors
    assert "failed: no_such_part, nor_this" in shown


def test_figures_are_kept_with_how_they_were_measured(tmp_path, monkeypatch) -> None:
    part = "import json, sys; open(sys.argv[2], 'w').write(json.dumps({'figures': {'rows': 5}}))"
    (tmp_path / "benchmarks_part.py").write_text(part)
    monkeypatch.setattr(suite, "KEPT", tmp_path)
    monkeypatch.setattr(suite, "MODULE", "benchmarks_{}")
    monkeypatch.setitem(suite.ENVIRONMENT, "PYTHONPATH", str(tmp_path))
    assert suite.run("part", [], Console())
    kept = json.loads((tmp_path / "part.json").read_text())
    assert kept["figures"] == {"rows": 5}
    assert {"command", "date", "machine", "load_before", "seconds"} <= kept.keys()
    assert kept["versions"]["torch"] == version("torch")


def test_exponent_is_that_of_the_rows_whatever_start_up_takes() -> None:
    found = summary(
        {rows: Took(9 + 1e-6 * rows, 9, 300 + rows / 500) for rows in (1000, 5000, 20000)}
    )
    assert found["exponent"] == pytest.approx(1)
    assert found["rows_per_second_above_smallest"] == pytest.approx(1e6)
    assert found["mib_per_1000_rows"] == pytest.approx(2)


def test_memory_is_that_of_the_command_and_its_children() -> None:
    allocate = "bytearray(300 * 2**20)"
    alone = measure([sys.executable, "-c", "pass"])
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{allocate}'])"
    assert alone.peak_mib < 100
    assert 300 < measure([sys.executable, "-c", child]).peak_mib < 400
    assert measure([sys.executable, "-c", "pass"]).peak_mib < 100  # the one before does not count
