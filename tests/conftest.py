"""What holds for every test: no network, no telemetry, the same made examples in each run.

`--hypothesis-profile=long` makes fifty times as many examples, others each time.

Engine tests are marked, and those that share a run go to one process.
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

SHARED = {"demo", "runs", "spread"}  # long runs of the engine that several files look at


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "engine" in item.path.parts:
            item.add_marker("engine")
            shared = SHARED & set(getattr(item, "fixturenames", ()))
            item.add_marker(pytest.mark.xdist_group(min(shared, default=item.path.stem)))
