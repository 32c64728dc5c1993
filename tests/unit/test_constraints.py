"""constraints.txt pins what pyproject.toml asks for, and all that it brings."""

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "constraints.txt").read_text().splitlines()
PINS = {canonicalize_name(line.partition("==")[0]): line.partition("==")[2] for line in LINES}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DIRECT = [Requirement(text) for text in sum(EXTRAS.values(), PROJECT["dependencies"])]


@pytest.mark.parametrize("requirement", DIRECT, ids=str)
def test_direct_dependency_has_a_pin_that_it_accepts(requirement: Requirement) -> None:
    pin = PINS.get(canonicalize_name(requirement.name))
    assert pin is not None, f"{requirement.name} has no pin: run `make constraints`"
    assert requirement.specifier.contains(pin, prereleases=True), "run `make constraints`"


def test_pins_are_well_formed_unique_and_sorted() -> None:
    # no local version, as +cpu: the same file serves CPU and GPU
    bad = [line for line in LINES if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line)]
    assert bad == []
    assert len(PINS) == len(LINES)
    assert sorted(LINES, key=str.lower) == LINES  # as resolve_constraints.sh sorts


def brought(requirement: Requirement, seen: set[tuple[str, str]]) -> Iterator[str]:
    """Every installed package that a requirement brings, extras and markers followed."""
    name = canonicalize_name(requirement.name)
    for extra in {"", *requirement.extras}:
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # an extra of ours that is not installed here
            return
        yield name
        for need in map(Requirement, needs):
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                yield from brought(need, seen)


def test_no_package_that_the_project_brings_is_unpinned() -> None:
    seen: set[tuple[str, str]] = set()
    names = {name for requirement in DIRECT for name in brought(requirement, seen)}
    assert len(names) > 150  # or the walk goes nowhere
    assert sorted(names - PINS.keys()) == []


def test_cuda_build_of_torch_is_pinned_too() -> None:
    wanted = {"cuda-toolkit", "nvidia-nccl-cu13", "nvidia-cudnn-cu13", "triton"}
    assert wanted <= PINS.keys(), "resolved with a CPU build of torch: see resolve_constraints.sh"
