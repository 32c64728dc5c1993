"""cogex doctor: the facts of this machine, and planted ones, each row judged."""

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


PROBE = {
    "torch": {"cuda": None, "nccl": None, "gpus": []},
    "attention": {"sdpa": True, "flex": True, "flash-attn": False},
    "engine": {},
    "bitsandbytes": {"native": True},
}


@pytest.fixture(scope="module")
def here() -> Facts:
    """What is found on this machine, but for the engine: tests/engine/test_doctor.py asks that."""
    command = [sys.executable, "-c", f"print('noise'); print({json.dumps(PROBE)!r})"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            doctor,
            "_start_probe",
            lambda: subprocess.Popen(command, stdout=subprocess.PIPE, text=True),
        )
        return collect()


def judged(facts: Facts) -> dict[str, VerdictRow]:
    rows = judge(facts)
    assert len({row.name for row in rows}) == len(rows)
    return {row.name: row for row in rows}


def with_installed(facts: Facts, **versions: str) -> Facts:
    return replace(facts, installed=facts.installed | versions)


def test_this_machine_can_run(here: Facts) -> None:
    rows = judged(here)
    assert [row for row in rows.values() if row.verdict == "fail"] == []
    assert rows["axolotl"].found == rows["axolotl"].expected == metadata.version("axolotl")
    assert here.probe == PROBE
    assert rows["disk for runs"].found.endswith("GB free in outputs")


def torch_says(**said: Any) -> dict[str, Any]:
    """The probe of a machine whose torch says this of a GPU."""
    return {"probe": {"torch": GPU | said}}


OLD = ["Tesla T4", 16_000_000_000, [7, 5]]
BUILT = {"compiler": "gcc", "python_header": True}
# what is changed, the row that tells, its verdict, and what stands in it
PLANTED: list[tuple[dict[str, Any], str, str, str]] = [
    ({"python": (3, 14, 9)}, "Python", "ok", ""),
    ({"system": "Linux aarch64"}, "Python", "note", ""),
    ({"python": (3, 11, 9)}, "Python", "fail", "use Python 3.12, 3.13 or 3.14 on Linux"),
    ({"system": "Darwin arm64"}, "Python", "fail", ""),
    # another build of the tested version; Axolotl takes it; it refuses it; wrong gradients
    ({"installed": {"torch": "2.14.1+cpu"}}, "torch", "ok", ""),
    ({"installed": {"torch": "2.13.0"}}, "torch", "note", "uv pip install --constraint"),
    ({"installed": {"torch": "2.15.0"}}, "torch", "fail", "uv pip install --constraint"),
    ({"installed": {"deepspeed": "0.18.2"}}, "deepspeed", "fail", "0.18.2, but"),
    ({"probe": {"engine": {"error": "ImportError: no x"}}}, "engine", "fail", "ImportError: no x"),
    ({"probe": {"attention": {"sdpa": False, "flex": True}}}, "attention", "fail", "no sdpa"),
    ({"probe": {"bitsandbytes": {"native": False}}}, "bitsandbytes' code", "note", "QLoRA"),
    (torch_says(gpus=[]) | {"driver": None}, "GPU", "note", "none: recipes need one; the demo"),
    (torch_says() | {"driver": "580.65"}, "GPU", "ok", "NVIDIA A100, 80 GB"),
    (torch_says(gpus=[], cuda=None) | {"driver": "580.65"}, "GPU", "fail", "CUDA build"),
    (torch_says(gpus=[]) | {"driver": "580.65"}, "GPU", "fail", "driver may be too old"),
    (torch_says(gpus=[*GPU["gpus"], OLD]), "GPU", "fail", "Tesla T4 has no bf16"),
    ({"probe": {"torch": {"error": "died"}}}, "GPU", "fail", "torch cannot say: died"),
    (torch_says() | BUILT | {"compiler": None}, "C compiler for Triton", "fail", "no gcc"),
    (torch_says(gpus=[]) | BUILT | {"compiler": None}, "C compiler for Triton", "note", "no gcc"),
    (torch_says() | BUILT | {"python_header": False}, "C compiler for Triton", "fail", "Python.h"),
    ({"outputs": Place("outputs", 4 * 10**9, True)}, "disk for runs", "note", ""),
    ({"outputs": Place("outputs", 0, True)}, "disk for runs", "fail", "make room"),
    ({"outputs": Place("outputs", 6 * 10**9, False)}, "disk for runs", "fail", "cannot be written"),
    ({"cache": Place("hub", 31 * 10**9, False)}, "disk for the hub's cache", "note", "written"),
    ({"memory": 2 * 10**9}, "memory", "note", "2.0 GB"),
    ({"shared": 64 * 2**20}, "/dev/shm", "note", "0.07 GB"),
    ({"sandbox": "bwrap is not installed"}, "bubblewrap", "note", "bwrap is not installed"),
    ({"hub": "reached", "token": True}, "hub", "ok", "reached; a token is there"),
    ({"hub": "reached", "token": False}, "hub", "note", "no token"),
]


@pytest.mark.parametrize(("changes", "name", "verdict", "text"), PLANTED)
def test_planted_fact(
    here: Facts, changes: dict[str, Any], name: str, verdict: str, text: str
) -> None:
    merged = {
        key: getattr(here, key) | value if isinstance(value, dict) else value
        for key, value in changes.items()
    }
    row = judged(replace(here, **merged))[name]
    assert row.verdict == verdict
    assert text in f"{row.found} {row.todo}"
    assert row.verdict != "ok" or not row.todo


def test_missing_package_fails(here: Facts) -> None:
    rest = {name: version for name, version in here.installed.items() if name != "peft"}
    row = judged(replace(here, installed=rest))["peft"]
    assert (row.verdict, row.found) == ("fail", "not installed")
    assert here.pins["nvidia-nccl-cu13"] in judged(here)["NCCL"].expected


def test_other_packages_that_differ_are_counted_and_named(here: Facts) -> None:
    here = with_installed(here, **here.pins)
    before = judged(here)["other packages"]
    assert before.verdict == "ok"
    count = int(before.found.split()[0])
    row = judged(with_installed(here, numpy="1.0"))["other packages"]
    assert row.verdict == "note"
    assert row.found.startswith(f"{count - 1} of {count} as pinned; numpy 1.0 (tested: ")


def test_without_a_lock_file_nothing_is_compared(here: Facts, tmp_path: Path) -> None:
    pins = doctor.read_pins(tmp_path / doctor.LOCK)
    rows = judged(replace(here, pins=pins))
    assert rows["other packages"].verdict == rows["torch"].verdict == "note"


def test_offline_the_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "nonsense://that.would.raise")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert doctor._ask_hub() == "not asked (HF_HUB_OFFLINE)"


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
