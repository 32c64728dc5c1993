"""What holds for every test: no network, no telemetry, the same made examples in each run.

`--hypothesis-profile=long` makes fifty times as many examples, others each time.

Engine tests are marked. Tests that look at the same run go to one process.
"""

import os
from pathlib import Path
from typing import Any

# before a test file imports a library that looks for kernels on the hub
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DO_NOT_TRACK", "true")

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

settings.register_profile(
    "bounded",
    derandomize=True,
    database=None,
    deadline=None,  # the machine may be busy
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile(
    "long", settings.get_profile("bounded"), derandomize=False, max_examples=5000, print_blob=True
)
settings.load_profile("bounded")  # the option of the command line is read after this

# engine tests that look at the same runs go to one process; the longest runs begin first
GROUPS = {
    "demo": ("test_demo", "test_report", "test_search", "test_from_nothing"),
    "recipes": ("test_every_recipe", "test_packing", "test_arxivdl"),
    "ranks": ("test_lost_ranks", "test_two_ranks"),
    "small runs": ("test_resume", "test_trackers"),
}
GROUP_OF = {file: group for group, files in GROUPS.items() for file in files}
ORDER = list(GROUP_OF)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark engine tests, and put them first in the order above."""
    places = {}
    for item in items:
        places[item] = len(ORDER) + 1  # a file of the unit tier
        if "engine" in item.path.parts:
            item.add_marker("engine")
            name = item.path.stem
            places[item] = ORDER.index(name) if name in ORDER else len(ORDER)
    items.sort(key=lambda item: places[item])


class GroupScheduling(LoadScopeScheduling):
    """Sends a group of files, or a file, to one process.

    `--dist loadgroup` would do, but pytest-xdist 3.8 names a test's group in an attribute that
    pytest 9.2 no longer reads: each process then makes every run for itself.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return GROUP_OF.get(Path(file).stem, file) if "/engine/" in file else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Let xdist group tests by the run that they look at."""
    return GroupScheduling(config, log)
