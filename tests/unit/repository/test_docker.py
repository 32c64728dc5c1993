"""The image and its services as their files tell; docker/build-check.sh builds and runs it."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.recipe_header import read_header

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text().replace("\\\n", " ")  # a step a line
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yml").read_text())
SERVICES = COMPOSE["services"]
FORGE = {".ci", ".github", ".pre-commit-config.yaml", "CITATION.cff"}
IGNORED = (ROOT / ".dockerignore").read_text().splitlines()
SYSTEM, BUILD, LAST = DOCKERFILE.split("\nFROM ")[1:]
LEFT_OUT = (ROOT / "docker" / "left-out.txt").read_text().splitlines()


def test_services_are_the_commands_of_the_readme() -> None:
    main = ROOT / "recipes" / "cogex-llama2-13b.yml"
    commands = {name: service["command"] for name, service in SERVICES.items()}
    assert commands == {
        "train": read_header(main).fields["Launch"],
        "select": "cogex select recipes/cogex-llama2-13b.yml",
        "demo": "cogex demo",
    }
    images = {name: service["image"] for name, service in SERVICES.items()}
    assert images["train"] == images["select"] != images["demo"]


def test_gpu_services_reserve_every_gpu_and_the_demo_asks_for_none_and_no_network() -> None:
    for name in ("train", "select"):
        [device] = SERVICES[name]["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
        assert SERVICES[name]["shm_size"] == "16gb"
    assert "deploy" not in SERVICES["demo"]
    assert SERVICES["demo"]["network_mode"] == "none"


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_service_is_built_here_and_writes_to_its_mounts_alone(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["tmpfs"] == ["/tmp:exec"]
    assert service["user"] == "${COGEX_USER:-1000:1000}"
    volumes = {volume["target"]: volume for volume in service["volumes"]}
    assert volumes.keys() == {"/cogex/data", "/cogex/outputs", "/cache"}
    for folder in ("data", "outputs"):
        found = volumes[f"/cogex/{folder}"]
        assert (found["type"], found["source"]) == ("bind", f"../{folder}")
        assert found["bind"] == {"create_host_path": False}  # else Docker makes it, for root alone
    assert volumes["/cache"]["source"] in COMPOSE["volumes"]
    build = service["build"]
    assert (ROOT / "docker" / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()
    assert all(f"ARG {argument}=" in DOCKERFILE for argument in build.get("args", {}))


def test_every_install_takes_its_versions_from_the_lock() -> None:
    installs = re.findall(r"uv pip install [^;&\n]*", DOCKERFILE)
    assert len(installs) == 3
    for install in installs:
        assert "--constraint requirements.lock" in install or "--no-deps" in install
        assert not re.search(r"[=<>]=", install)  # no version but the lock's
    [chosen] = [install for install in installs if "--no-verify-hashes" in install]
    assert "--torch-backend" in chosen and chosen.split()[-1] == "torch"  # of another index
    wanted = "--requirement pyproject.toml --extra fast --extra mlflow"
    assert any(wanted in install for install in installs)


@pytest.mark.parametrize(
    ("stage", "pattern"),
    [
        # the same base every time, and what compiling and the sandbox need
        (DOCKERFILE, r"^ARG BASE=debian:trixie-\d{8}-slim@sha256:[0-9a-f]{64}$"),
        (SYSTEM, r"bubblewrap ca-certificates gcc libc6-dev python3-dev "),
        # PyTorch is chosen before anything else is installed
        (BUILD, r'if \[ -n "\$\{TORCH\}" \]; then .* "\$\{TORCH\}" .* torch; +fi && +uv pip'),
        (BUILD, r"--excludes left-out\.txt"),
        # the user cannot write the source tree, which root has installed by then
        (LAST, r"pip install [\s\S]*^USER 1000:1000$"),
        # the image sends nothing home, and caches in the mount
        (LAST, r"^ENV .*LANG=C\.UTF-8 +HOME=/cache .*HF_HOME=/cache/\S+ +DO_NOT_TRACK=true"),
        # configuration of pip and uv goes in as secrets
        (BUILD, r"^RUN --mount=type=secret,id=pip,target=/etc/pip\.conf .*bin/pip install"),
        (BUILD, r"^RUN --mount=type=secret,id=uv,target=/etc/uv/uv\.toml .*uv pip install"),
    ],
)
def test_dockerfile_says(stage: str, pattern: str) -> None:
    assert re.search(pattern, stage, re.M), pattern
    assert "pip.conf" not in SYSTEM + LAST and "uv.toml" not in SYSTEM + LAST


def test_what_is_left_out_has_a_reason_and_is_a_locked_package() -> None:
    locked = (ROOT / "requirements.lock").read_text()
    packages = [line for line in LEFT_OUT if not line.startswith("#")]
    assert packages
    for line in packages:
        name, _, reason = line.partition("#")
        assert reason.strip(), f"{name}: why?"
        assert f"\n{name.strip()}==" in locked, f"{name} would not be installed anyway"


def test_only_what_is_named_goes_into_the_image() -> None:
    lines = [line for line in IGNORED if not line.startswith("#")]
    named = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert lines[0] == "*" and "**/.env*" in lines and "**/__pycache__" in lines
    assert not named & {"data", "outputs", ".git", ".cache"}
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    tracked = {path.split("/")[0] for path in done.stdout.splitlines()}
    assert tracked - {name.split("/")[0] for name in named} <= FORGE


def test_no_secret_is_an_argument_or_written_down() -> None:
    assert set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.M)) == {"BASE", "TORCH"}
    for service in SERVICES.values():  # None: taken from the caller's environment
        assert service.get("environment", {}) in ({}, {"HF_TOKEN": None})


def test_a_recipe_of_ones_own_is_mounted_where_the_launch_line_looks() -> None:
    text = (ROOT / "docker" / "compose.yml").read_text()
    [(target, command)] = re.findall(r'--volume "\$PWD/mine\.yml:(\S+):ro" train (.*)', text)
    [workdir] = re.findall(r"^WORKDIR (\S+)", LAST, re.M)
    assert command == SERVICES["train"]["command"].replace("cogex-llama2-13b", "mine")
    assert target == f"{workdir}/{command.split()[-1]}"
