"""`--run DIR`: a recipe's verbs work on another run of it, as its launch line set it."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cogex import app
from tests.unit.made_run import RUN, make_run


def test_another_run_has_its_own_folder_and_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path)
    shutil.copytree(RUN, "seed-7")
    shutil.rmtree("seed-7/best")
    shutil.rmtree(RUN)
    record = {"recipe": {"seed": 7}, "files": {}, "facts": {}, "versions": {}}
    Path("seed-7/run.json").write_text(json.dumps(record))
    runner = CliRunner()
    for command in (["select"], ["curves"], ["report"], ["export", "--adapter-only"]):
        ran = runner.invoke(app, [command[0], "recipe.yml", "--run", "seed-7", *command[1:]])
        assert ran.exit_code == 0, (command, ran.output, ran.exception)
    assert Path("seed-7/best/adapter_config.json").is_file()
    assert Path("seed-7/report.html").is_file() and Path("seed-7/export-adapter").is_dir()
    assert not RUN.exists()
    ran = runner.invoke(app, ["select", "recipe.yml", "--run", "none"])
    assert "none: holds no run.json" in str(ran.exception)
