"""A task of sums, for a scripted model."""

from pathlib import Path

import pytest
import yaml

from tests.unit.tools.search.test_card import GOOD
from tools.search.data import Task, load_task


@pytest.fixture
def task(tmp_path: Path) -> Task:
    data = {"train": {"generator": "sum", "seed": 1, "rows": 450}}
    split = {"train": 50, "dev": 300, "test": 100}
    card = GOOD | {"data": data, "split": split, "metric": "numeric"}
    (tmp_path / "add.yml").write_text(yaml.safe_dump(card))
    return load_task(tmp_path / "add.yml")
