"""The image and its services as their files tell; docker/build-check.sh builds and runs it."""

import fnmatch
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.recipe_header import read_header

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text().replace("\\\n", " ")  # a step a line
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yml").read_text())
SERVICES = COMPOSE["services"]
IGNORED = (ROOT / ".dockerignore").read_text().splitlines()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SYSTEM, BUILD, LAST = DOCKERFILE.split("\nFROM ")[1:]
LEFT_OUT = (ROOT / "docker" / "left-out.txt").read_text().splitlines()


def mount(service: dict[str, Any], target: str) -> dict[str, Any]:
    [found] = [volume for volume in service["volumes"] if volume["target"] == target]
    return found


def test_train_is_the_launch_line_of_the_main_recipe() -> None:
    recipe = ROOT / "recipes" / "cogex-llama2-13b.yml"
    assert SERVICES["train"]["command"] == read_header(recipe).fields["Launch"]


def test_select_and_demo_are_the_commands_of_the_readme() -> None:
    assert SERVICES["select"]["command"] == "cogex select recipes/cogex-llama2-13b.yml"
    assert SERVICES["demo"]["command"] == "cogex demo"
    assert SERVICES["demo"]["network_mode"] == "none"


@pytest.mark.parametrize("name", ["train", "select"])
def test_gpu_services_reserve_every_gpu_and_shared_memory(name: str) -> None:
    [device] = SERVICES[name]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert SERVICES[name]["shm_size"] == "16gb"


def test_demo_asks_for_no_gpu() -> None:
    assert "deploy" not in SERVICES["demo"]


@pytest.mark.parametrize("name", SERVICES)
def test_service_writes_to_its_mounts_alone(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["tmpfs"] == ["/tmp:exec"]
    assert service["user"] == "${COGEX_USER:-1000:1000}"
    for folder in ("data", "outputs"):
        found = mount(service, f"/cogex/{folder}")
        assert (found["type"], found["source"]) == ("bind", f"../{folder}")
        assert found["bind"] == {"create_host_path": False}  # else Docker makes it, for root alone
    assert mount(service, "/cache")["source"] in COMPOSE["volumes"]
    assert len(service["volumes"]) == 3


@pytest.mark.parametrize("name", SERVICES)
def test_service_builds_this_repository(name: str) -> None:
    build = SERVICES[name]["build"]
    assert (ROOT / "docker" / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()
    for argument in build.get("args", {}):
        assert f"ARG {argument}=" in DOCKERFILE


def test_cpu_and_gpu_image_have_names_of_their_own() -> None:
    assert SERVICES["train"]["image"] == SERVICES["select"]["image"] != SERVICES["demo"]["image"]


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


def test_uv_has_a_version_and_stays_in_its_stage() -> None:
    assert re.search(r"/opt/uv/bin/pip install --no-cache-dir uv==\d+\.\d+\.\d+\n", BUILD)
    assert re.findall(r"^COPY --from=build (.*)$", LAST, re.M) == ["/opt/venv /opt/venv"]
    assert "--mount=type=bind,from=build,source=/opt/uv,target=/opt/uv" in LAST


def test_torch_is_chosen_before_anything_else_is_installed() -> None:
    assert re.search(r'^ARG TORCH=""$', BUILD, re.M)
    [chosen] = re.findall(r'if \[ -n "\$\{TORCH\}" \]; then (.* torch); +fi && +uv pip', BUILD)
    assert '--torch-backend "${TORCH}"' in chosen


def test_what_is_left_out_has_a_reason_and_is_a_locked_package() -> None:
    locked = (ROOT / "requirements.lock").read_text()
    packages = [line for line in LEFT_OUT if not line.startswith("#")]
    assert packages
    for line in packages:
        name, _, reason = line.partition("#")
        assert reason.strip(), f"{name}: why?"
        assert f"\n{name.strip()}==" in locked, f"{name} is nothing that would be installed"
    assert "docker/left-out.txt" in BUILD and "--excludes left-out.txt" in BUILD


def test_bytecode_is_made_once_where_the_files_are() -> None:
    assert "PYTHONDONTWRITEBYTECODE" not in DOCKERFILE
    assert BUILD.split("&&")[-1].strip() == "python3 -m compileall -q -j 0 ."
    own = {"cogex.py", "prompt_strategies", "tools", "validation"}
    [compiled] = re.findall(r"python -m compileall -q (.*)", LAST)
    assert set(compiled.split()) == own  # what pyproject.toml installs


def test_image_runs_as_the_user_that_it_names() -> None:
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.M) == ["1000:1000"]
    assert "useradd --uid 1000 --user-group --create-home --home-dir /cache cogex" in LAST
    assert LAST.index("pip install") < LAST.index("\nUSER ")  # root owns the source tree


def test_compiler_sandbox_and_base() -> None:
    needed = {"bubblewrap", "ca-certificates", "gcc", "libc6-dev", "python3-dev"}
    assert needed <= set(SYSTEM.split())
    base = r"^ARG BASE=debian:trixie-\d{8}-slim@sha256:[0-9a-f]{64}$"  # the same one every time
    assert re.search(base, DOCKERFILE, re.M)
    assert SYSTEM.startswith("${BASE} AS system\n")
    assert BUILD.startswith("system AS build\n") and LAST.startswith("system\n")


def test_image_sends_nothing_home_and_caches_in_the_mount() -> None:
    [settings] = re.findall(r"^ENV (PATH.*)$", LAST, re.M)
    values = dict(word.split("=", 1) for word in settings.split())
    assert values["DO_NOT_TRACK"] == "true"
    assert values["HOME"] == "/cache" and values["HF_HOME"].startswith("/cache/")
    assert values["LANG"] == "C.UTF-8"


def test_health_check_imports_engine_and_strategy() -> None:
    [command] = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", DOCKERFILE, re.M)
    assert "import axolotl.train, prompt_strategies.cogex" in command
    assert "HF_HUB_OFFLINE=1" in command


def test_labels_say_what_pyproject_says() -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\S+?)="(.*?)"', DOCKERFILE))
    assert labels["title"] == PROJECT["name"]
    assert labels["description"] == PROJECT["description"]
    assert labels["version"] == PROJECT["version"]
    assert labels["licenses"] == PROJECT["license"]


def taken(path: str) -> bool:
    """Whether a path goes into the image: the last pattern that matches it wins."""
    verdict = True
    for line in IGNORED:
        pattern = line.removeprefix("!")
        parts = path.split("/")
        heads = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
        if pattern.startswith("**/"):
            matches = any(fnmatch.fnmatchcase(part, pattern[3:]) for part in parts)
        else:
            matches = any(
                fnmatch.fnmatchcase(head, pattern) and head.count("/") == pattern.count("/")
                for head in heads
            )
        if matches and not line.startswith("#"):
            verdict = line.startswith("!")
    return verdict


FORGE = {".ci", ".github", ".pre-commit-config.yaml", "CITATION.cff"}
KEPT_OUT = (
    ".env data/data.json data/cogex/train.jsonl outputs/x/run.json .git/config .venv/bin/python "
    ".cache/token wandb/run.log tools/.env tools/__pycache__/x.pyc meta-llama/model.safetensors"
)


@pytest.mark.parametrize("path", KEPT_OUT.split())
def test_no_data_output_or_secret_goes_into_the_image(path: str) -> None:
    assert not taken(path)


def test_every_tracked_file_but_those_of_the_forge_goes_into_the_image() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    left = {path for path in done.stdout.splitlines() if not taken(path)}
    assert {path.split("/")[0] for path in left} <= FORGE


def test_no_secret_is_an_argument_or_written_down() -> None:
    assert set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.M)) == {"BASE", "TORCH"}
    for service in SERVICES.values():  # None: taken from the caller's environment
        assert service.get("environment", {}) in ({}, {"HF_TOKEN": None})


def test_configuration_of_pip_and_uv_stays_out_of_the_image() -> None:
    steps = BUILD.split("\nRUN ")
    [pip] = [step for step in steps if "bin/pip install" in step]
    [uv] = [step for step in steps if "uv pip install" in step]
    assert pip.startswith("--mount=type=secret,id=pip,target=/etc/pip.conf ")
    assert uv.startswith("--mount=type=secret,id=uv,target=/etc/uv/uv.toml ")
    assert "pip.conf" not in SYSTEM + LAST and "uv.toml" not in SYSTEM + LAST


def test_a_recipe_of_ones_own_is_mounted_where_the_launch_line_looks() -> None:
    text = (ROOT / "docker" / "compose.yml").read_text()
    [(target, command)] = re.findall(r'--volume "\$PWD/my\.yml:(\S+):ro" train (.*)', text)
    [workdir] = re.findall(r"^WORKDIR (\S+)", LAST, re.M)
    assert command == SERVICES["train"]["command"].replace("cogex-llama2-13b", "my")
    assert target == f"{workdir}/{command.split()[-1]}"


def test_build_check_names_a_missing_tool(tmp_path: Path) -> None:
    for name in ("bash", "dirname", "id"):  # all that it has when it looks for the others
        found = subprocess.run(["sh", "-c", f"command -v {name}"], capture_output=True, text=True)
        (tmp_path / name).symlink_to(found.stdout.strip())
    script = (ROOT / "docker" / "build-check.sh").read_text().replace('"$(id -u)"', "0")
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "check.sh").write_text(script)
    done = subprocess.run(
        ["bash", str(tmp_path / "docker" / "check.sh")],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    [message] = done.stderr.splitlines()
    assert "buildah is not installed: apt-get install buildah" in message
