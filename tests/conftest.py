"""What holds for every test: no network, no telemetry.

Engine tests are marked, and those that share a run go to one process.
"""

import os

# before a test file imports a library that looks for kernels on the hub
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DO_NOT_TRACK", "true")

import pytest

SHARED = {"demo", "runs", "spread"}  # long runs of the engine that several files look at


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "engine" in item.path.parts:
            item.add_marker("engine")
            shared = SHARED & set(getattr(item, "fixturenames", ()))
            item.add_marker(pytest.mark.xdist_group(min(shared, default=item.path.stem)))
