"""requirements.lock pins what pyproject.toml asks for, and all that it brings, on three Pythons."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from validation.doctor import read_pins

ROOT = Path(__file__).parents[3]
LOCK = (ROOT / "requirements.lock").read_text()
LINES = [line for line in LOCK.splitlines() if not line.startswith(" ")]
PINS = read_pins(ROOT / "requirements.lock")
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = SETTINGS["project"]
EXCLUDED = set(SETTINGS["tool"]["uv"]["exclude-dependencies"])
NEEDED = [Requirement(text) for text in PROJECT["dependencies"]]
EXTRAS = {
    extra: [Requirement(text) for text in texts]
    for extra, texts in PROJECT["optional-dependencies"].items()
}
DIRECT = [*NEEDED, *chain.from_iterable(EXTRAS.values())]
PYTHONS = ["3.12", "3.13", "3.14"]


def test_direct_dependencies_have_a_pin_that_they_accept() -> None:
    for requirement in DIRECT:
        pin = PINS.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} has no pin: run `make lock`"
        assert requirement.specifier.contains(pin, prereleases=True), f"{requirement}: `make lock`"


@pytest.mark.parametrize("python", PYTHONS)
def test_each_python_has_one_pin_of_each_package(python: str) -> None:
    names = []
    for line in LINES:
        pin = Requirement(line.rstrip(" \\"))
        here = {"python_version": python, "python_full_version": f"{python}.1"}
        if pin.marker is None or pin.marker.evaluate(here):
            names.append(canonicalize_name(pin.name))
            # no local version, as +cpu: the same file serves CPU and GPU
            assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(pin.specifier))
    assert len(names) == len(set(names)) > 250
    assert {"axolotl", "torch", "deepspeed", "gigatoken", "pytest"} <= set(names)


def test_every_pin_has_hashes_and_no_index_is_named() -> None:
    assert len(re.findall(r"^\S.*\\\n    --hash=sha256:[0-9a-f]{64}", LOCK, re.M)) == len(LINES)
    assert "://" not in LOCK and "--index" not in LOCK


def brought(requirement: Requirement, seen: set[tuple[str, str]]) -> Iterator[str]:
    """Every installed package that a requirement brings, extras and markers followed."""
    name = canonicalize_name(requirement.name)
    if name in EXCLUDED:
        return
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
    # a lock resolved with a CPU build of torch lacks CUDA's
    names |= {"cuda-toolkit", "nvidia-nccl-cu13", "nvidia-cudnn-cu13", "triton"}
    assert sorted(names - PINS.keys()) == [], "run `make lock`"


def imported(files: list[Path]) -> set[str]:
    """The packages that files import, anywhere in them."""
    found = set()
    for node in (node for path in files for node in ast.walk(ast.parse(path.read_text()))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).split(".")[0])
    return found - sys.stdlib_module_names


OWN = {"cogex", "prompt_strategies", "tools", "validation"}
# modules named unlike their package
NAMED = {"mlflow": "mlflow-skinny", "pynvml": "nvidia-ml-py", "yaml": "pyyaml"}


def test_every_package_that_we_import_is_declared() -> None:
    files = [ROOT / "cogex.py"]
    for folder in OWN - {"cogex"}:
        files += (ROOT / folder).rglob("*.py")
    packages = {canonicalize_name(NAMED.get(name, name)) for name in imported(files) - OWN}
    declared = {
        canonicalize_name(requirement.name)
        for requirement in NEEDED + EXTRAS["fast"] + EXTRAS["mlflow"]
    }
    assert len(packages) > 20
    assert sorted(packages - declared) == []
