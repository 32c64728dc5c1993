"""cogex doctor: the facts of this machine, and planted ones, each line judged."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from typer.testing import CliRunner

from cogex import app
from validation import doctor
from validation.doctor import Facts, Place, collect, judge
from validation.verdict import VerdictRow

TOKEN = "hf_secretsecretsecret"
GPU = {"cuda": "13.0", "nccl": "2.29.7", "gpus": [["NVIDIA A100", 80_000_000_000, [8, 0]]]}


@pytest.fixture(scope="module")
def here() -> Facts:
    """What is found on this machine, the engine really imported."""
    return collect()


def judged(facts: Facts) -> dict[str, VerdictRow]:
    lines = judge(facts)
    assert len({line.name for line in lines}) == len(lines)
    return {line.name: line for line in lines}


def with_probe(facts: Facts, **said: dict[str, Any]) -> Facts:
    return replace(facts, probe=facts.probe | said)


def with_installed(facts: Facts, **versions: str) -> Facts:
    return replace(facts, installed=facts.installed | versions)


def test_this_machine_can_run(here: Facts) -> None:
    lines = judged(here)
    assert [line for line in lines.values() if line.verdict == "fail"] == []
    assert lines["axolotl"].found == lines["axolotl"].expected == metadata.version("axolotl")
    assert here.probe["engine"] == {} and here.probe["attention"]["sdpa"] is True
    assert here.probe["kernels"]["bitsandbytes"] is True


def test_requirements_are_axolotls_own_and_ours(here: Facts) -> None:
    assert "2.13.0" in here.required["torch"]  # axolotl: <2.15.0,>=2.13.0
    assert "0.19.8" in here.required["deepspeed"]  # ours
    assert "transformers" not in here.required  # pinned exactly: another is noted, not failed


@pytest.mark.parametrize(
    ("package", "version", "verdict"),
    [
        ("torch", "2.14.1+cpu", "ok"),  # another build of the tested version
        ("torch", "2.13.0", "note"),  # Axolotl takes it
        ("torch", "2.15.0", "fail"),  # Axolotl refuses it
        ("deepspeed", "0.18.2", "fail"),  # trains with wrong gradients
        ("transformers", "5.20.0", "note"),
    ],
)
def test_version_is_judged_by_pin_and_requirement(
    here: Facts, package: str, version: str, verdict: str
) -> None:
    line = judged(with_installed(here, **{package: version}))[package]
    assert line.verdict == verdict and line.found.startswith(version)
    assert ("uv pip install --constraint" in line.todo) == (verdict != "ok")


def test_missing_package_fails(here: Facts) -> None:
    rest = {name: version for name, version in here.installed.items() if name != "peft"}
    line = judged(replace(here, installed=rest))["peft"]
    assert (line.verdict, line.found) == ("fail", "not installed")


def test_other_packages_that_differ_are_counted_and_named(here: Facts) -> None:
    here = with_installed(here, **here.pins)
    before = judged(here)["other packages"]
    assert before.verdict == "ok"
    count = int(before.found.split()[0])
    line = judged(with_installed(here, numpy="1.0"))["other packages"]
    assert line.verdict == "note"
    assert line.found.startswith(f"{count - 1} of {count} as pinned; numpy 1.0 (tested: ")


def test_without_a_lock_file_nothing_is_compared(here: Facts, tmp_path: Path) -> None:
    pins = doctor.read_pins(tmp_path / doctor.LOCK)
    lines = judged(replace(here, pins=pins))
    assert lines["other packages"].verdict == lines["torch"].verdict == "note"


@pytest.mark.parametrize(
    ("python", "system", "verdict"),
    [
        ((3, 12, 0), "Linux x86_64", "ok"),
        ((3, 14, 9), "Linux x86_64", "ok"),
        ((3, 13, 9), "Linux aarch64", "note"),
        ((3, 11, 9), "Linux x86_64", "fail"),
        ((3, 15, 0), "Linux x86_64", "fail"),
        ((3, 12, 9), "Darwin arm64", "fail"),
    ],
)
def test_python(here: Facts, python: tuple[int, int, int], system: str, verdict: str) -> None:
    assert judged(replace(here, python=python, system=system))["Python"].verdict == verdict


def test_engine_that_cannot_be_imported_fails_with_its_reason(here: Facts) -> None:
    line = judged(with_probe(here, engine={"error": "ImportError: no x"}))["engine"]
    assert (line.verdict, line.found) == ("fail", "ImportError: no x")


def test_no_gpu_is_noted(here: Facts) -> None:
    none = {"cuda": "13.0", "nccl": "2.29.7", "gpus": []}
    lines = judged(replace(with_probe(here, torch=none), driver=None))
    assert lines["GPU"].verdict == "note" and "the demo runs" in lines["GPU"].found


def test_gpu_is_named_with_driver_cuda_and_nccl(here: Facts) -> None:
    lines = judged(replace(with_probe(here, torch=GPU), driver="580.65"))
    assert lines["GPU"].found == "NVIDIA A100, 80 GB"
    assert lines["NVIDIA driver"].found == "580.65"
    assert lines["CUDA of torch"].found == "13.0" and lines["NCCL"].found == "2.29.7"
    for what in ("GPU", "NVIDIA driver", "CUDA of torch", "NCCL"):
        assert lines[what].verdict == "ok"
    assert here.pins["nvidia-nccl-cu13"] in lines["NCCL"].expected


@pytest.mark.parametrize(("cuda", "todo"), [(None, "CUDA build"), ("13.0", "driver may be too")])
def test_gpu_that_torch_cannot_use_fails(here: Facts, cuda: str | None, todo: str) -> None:
    blind = {"cuda": cuda, "nccl": None, "gpus": []}
    line = judged(replace(with_probe(here, torch=blind), driver="580.65"))["GPU"]
    assert line.verdict == "fail" and todo in line.todo


def test_gpu_without_bf16_fails(here: Facts) -> None:
    old = GPU | {"gpus": [*GPU["gpus"], ["Tesla T4", 16_000_000_000, [7, 5]]]}
    line = judged(with_probe(here, torch=old))["GPU"]
    assert line.verdict == "fail" and "Tesla T4 has no bf16" in line.found


@pytest.mark.parametrize("lacking", [{"compiler": None}, {"python_header": False}])
def test_triton_needs_its_compiler_on_a_gpu_alone(here: Facts, lacking: dict[str, Any]) -> None:
    bare = replace(with_probe(here, torch=GPU | {"gpus": []}), **lacking)
    assert judged(bare)["C compiler for Triton"].verdict == "note"
    with_gpu = with_probe(bare, torch=GPU)
    assert judged(with_gpu)["C compiler for Triton"].verdict == "fail"


def test_attention_without_sdpa_fails(here: Facts) -> None:
    lines = judged(with_probe(here, attention={"sdpa": False, "flex": True, "flash-attn": False}))
    assert lines["attention"].verdict == "fail"


def test_bitsandbytes_without_native_code_is_noted(here: Facts) -> None:
    kernels = here.probe["kernels"] | {"bitsandbytes": False}
    line = judged(with_probe(here, kernels=kernels))["bitsandbytes' code"]
    assert line.verdict == "note" and "QLoRA" in line.todo


@pytest.mark.parametrize(
    ("free", "writable", "verdict"),
    [(6e9, True, "ok"), (4e9, True, "note"), (0, True, "fail"), (6e9, False, "fail")],
)
def test_runs_need_room_and_leave_to_write(
    here: Facts, free: float, writable: bool, verdict: str
) -> None:
    place = Place("outputs", int(free), writable)
    assert judged(replace(here, outputs=place))["disk for runs"].verdict == verdict


@pytest.mark.parametrize(("free", "writable"), [(29e9, True), (31e9, False)])
def test_cache_that_is_short_or_closed_is_noted(here: Facts, free: float, writable: bool) -> None:
    cache = Place("hub", int(free), writable)
    assert judged(replace(here, cache=cache))["disk for the hub's cache"].verdict == "note"


def test_a_place_that_is_not_there_yet_is_its_nearest_folder(tmp_path: Path) -> None:
    place = doctor._place(tmp_path / "a" / "b")
    assert place.writable and place.free > 0


def test_little_memory_is_noted(here: Facts) -> None:
    lines = judged(replace(here, memory=2 * 10**9, shared_memory=64 * 2**20))
    assert lines["memory"].verdict == lines["/dev/shm"].verdict == "note"
    assert lines["/dev/shm"].found == "0.07 GB"


def test_why_there_is_no_sandbox_is_said(here: Facts) -> None:
    line = judged(replace(here, sandbox="bwrap is not installed"))["bubblewrap"]
    assert (line.verdict, line.found) == ("note", "bwrap is not installed")
    assert judged(replace(here, sandbox=None))["bubblewrap"].verdict == "ok"


@pytest.mark.parametrize(
    ("hub", "token", "verdict", "found"),
    [
        ("reached", True, "ok", "reached; a token is there"),
        ("reached", False, "note", "no token"),
        ("not reached", True, "note", "not reached"),
        (None, True, "note", "not asked"),
    ],
)
def test_hub(here: Facts, hub: str | None, token: bool, verdict: str, found: str) -> None:
    line = judged(replace(here, hub=hub, token=token))["hub"]
    assert line.verdict == verdict and found in line.found


def test_offline_the_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "nonsense://that.would.raise")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert doctor._ask_hub() is None


def test_broken_engine_is_said_by_the_probe_and_the_rest_is_asked(tmp_path: Path) -> None:
    (tmp_path / "axolotl").mkdir()
    (tmp_path / "axolotl" / "__init__.py").write_text("raise ImportError('planted\\nfault')")
    path = os.pathsep.join([str(tmp_path), str(doctor.REPOSITORY)])
    code = (
        "from validation import engine_probe as p;"
        "p.ASKED = {n: p.ASKED[n] for n in ('engine', 'torch')}; p.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True
    )
    first, second = map(json.loads, done.stdout.splitlines())
    assert first == {"engine": {"error": "ImportError: planted fault"}}
    assert "error" not in second["torch"]


def test_probe_that_dies_halfway_is_a_failure_of_the_rest() -> None:
    code = "import os; print('noise'); print('{\"torch\": {\"gpus\": []}}', flush=True); os.abort()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as dying:
        said = doctor._read_probe(dying)
    assert said["torch"] == {"gpus": []}
    assert said["engine"] == {"error": "the process that imports it ended with status -6"}


def test_the_command_exits_1_only_for_a_failure_and_shows_no_token(
    here: Facts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert doctor.get_token() == TOKEN  # it is there to be shown
    monkeypatch.setattr(doctor, "collect", lambda: replace(here, token=True))
    good = CliRunner().invoke(app, ["doctor", "--json", str(tmp_path / "good.json")])
    assert good.exit_code == 0 and good.stdout.endswith("A run can work here.\n")
    assert json.loads((tmp_path / "good.json").read_text())["passed"] is True
    monkeypatch.setattr(doctor, "collect", lambda: replace(here, python=(3, 11, 0)))
    bad = CliRunner().invoke(app, ["doctor"])
    assert bad.exit_code == 1
    assert "Python: use Python 3.12, 3.13 or 3.14 on Linux" in bad.stdout
    assert bad.stdout.endswith("1 row says that a run cannot work here.\n")
    assert TOKEN not in good.stdout + bad.stdout + (tmp_path / "good.json").read_text()
