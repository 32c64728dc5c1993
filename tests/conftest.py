"""What holds for every test: no network, no telemetry, the same made examples in each run.

`--hypothesis-profile=long` makes fifty times as many examples, others each time.

Engine tests are marked. Tests that look at the same run go to one process.
"""

import os

# before a test file imports a library that looks for kernels on the hub
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DO_NOT_TRACK", "true")

import pytest
from hypothesis import HealthCheck, settings

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
    "demo": ("test_demo", "test_report", "test_search"),
    "recipes": ("test_every_recipe", "test_packing", "test_arxivdl"),
    "ranks": ("test_lost_ranks", "test_two_ranks"),
    "small runs": ("test_resume", "test_trackers"),
}
ENGINE = [(group, file) for group, files in GROUPS.items() for file in files]


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark engine tests, put them first in the order above, and name each test's process."""
    places = {}
    for item in items:
        group, place = str(item.path), len(ENGINE) + 1  # a file of the unit tier
        if "engine" in item.path.parts:
            item.add_marker("engine")
            names = [file for _, file in ENGINE]
            place = names.index(item.path.stem) if item.path.stem in names else len(ENGINE)
            group = ENGINE[place][0] if place < len(ENGINE) else group
        item.add_marker(pytest.mark.xdist_group(group))
        places[item] = place
    items.sort(key=lambda item: places[item])
