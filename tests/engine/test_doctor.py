"""The engine as it is installed here can be imported, and says what it has."""

import json
from pathlib import Path

from tests.engine.forked import start, wait


def test_the_engine_and_its_attention_are_there(engine: Path, tmp_path: Path) -> None:
    assert wait(start(tmp_path, "log", "module", "validation.engine_probe")) == [0]
    lines = (tmp_path / "log").read_text().splitlines()
    said = dict(pair for line in lines if line.startswith("{") for pair in json.loads(line).items())
    assert said["engine"] == {} and said["attention"]["sdpa"] is True
    assert said["bitsandbytes"] == {"native": True}
    assert said["torch"]["gpus"] == []  # hidden from the tests
