"""`cogex doctor`: what is installed on this machine, compared with the tested versions.

It refuses nothing and judges each row. `collect` gathers facts; `judge` turns facts into rows and
looks at nothing else. Packages are compared with requirements.lock. What it does not cover: whether
the GPUs are fast or healthy, the network between them, and a given recipe (`cogex preflight`).
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]
import pynvml  # type: ignore[import-untyped]
from huggingface_hub import constants, get_session, get_token
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version
from rich.console import Console

from tools import sandbox
from validation.verdict import Verdict, VerdictRow, as_result, print_verdicts

REPOSITORY = Path(__file__).parents[1]
ENGINE = (
    "torch", "triton", "axolotl", "transformers", "peft", "accelerate", "datasets", "trl",
    "deepspeed", "bitsandbytes", "liger-kernel",
)  # fmt: skip
PYTHONS = ((3, 12), (3, 13), (3, 14))
LOCK = "requirements.lock"
INSTALL = f"uv pip install --constraint {LOCK}"
GB = 1e9
SECONDS_TO_IMPORT = 300.0  # a cold disk
SECONDS_TO_ANSWER = 3.0
LEAST_DISK, RUN_DISK, BASE_DISK = 0.1 * GB, 5 * GB, 30 * GB
DEMO_MEMORY = 3 * GB
LEAST_SHARED_MEMORY = 1 * GB  # Docker's default is 64 MB; NCCL and data loaders use it


@dataclass(frozen=True)
class Place:
    """A folder that a run writes to."""

    path: str
    free: int  # bytes
    writable: bool

    def __str__(self) -> str:
        """How the table shows it."""
        closed = "" if self.writable else ", cannot be written"
        return f"{self.free / GB:,.1f} GB free in {self.path}{closed}"


@dataclass(frozen=True)
class Facts:
    """What was found on a machine; nothing in it is judged."""

    python: tuple[int, int, int]
    system: str  # as Linux x86_64
    installed: dict[str, str]  # canonical name: version
    pins: dict[str, str]  # the same, from requirements.lock; empty where there is no such file
    required: dict[str, str]  # canonical name: the versions that Axolotl and this project accept
    probe: dict[str, dict[str, Any]]  # what engine_probe said, each with `error` if it failed
    driver: str | None  # of the NVIDIA GPUs
    compiler: str | None  # as Triton looks for it
    python_header: bool  # Python.h, which Triton's launchers include
    outputs: Place
    cache: Place
    memory: int  # bytes available
    shared: int  # bytes of /dev/shm; 0 where there is none
    sandbox: str | None  # why programs cannot be run; None where they can
    token: bool  # whether a hub token is there; it is shown nowhere
    hub: str  # reached, not reached, or not asked


def doctor() -> dict[str, Any]:
    """Look at this machine: `passed`, and `verdicts`, each a dict of VerdictRow's fields.

    What a row expects is what this project was tested with.
    """
    return as_result(judge(collect()))


def collect() -> Facts:
    """Gather the facts; most of the time goes to importing the engine, in another process."""
    with _start_probe() as process:
        facts: dict[str, Any] = {
            "python": sys.version_info[:3],
            "system": f"{platform.system()} {platform.machine()}",
            "installed": {canonicalize_name(d.name): d.version for d in metadata.distributions()},
            "pins": read_pins(REPOSITORY / LOCK),
            "required": _required(),
            "driver": _driver(),
            "compiler": os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang"),
            "python_header": _has_python_header(),
            "outputs": _place(Path("outputs")),
            "cache": _place(Path(constants.HF_HUB_CACHE)),
            "memory": _memory(),
            "shared": _shared_memory(),
            "sandbox": sandbox.unavailable(),
            "token": get_token() is not None,
            "hub": _ask_hub(),
        }
        return Facts(probe=_read_probe(process), **facts)


def read_pins(path: Path) -> dict[str, str]:
    """Read the versions that a lock file names for this Python; empty if there is no such file."""
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8")
    pins = [Requirement(line) for line in re.findall(r"^(\w.*?) *\\?$", text, re.M)]
    return {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for pin in pins
        if pin.marker is None or pin.marker.evaluate()
    }


def _required() -> dict[str, str]:
    """The ranges that Axolotl and this project ask for; an exact pin is not a range."""
    ranges: dict[str, SpecifierSet] = {}
    for package in ("axolotl", "cogex-recipes"):
        try:
            texts = metadata.requires(package) or []
        except metadata.PackageNotFoundError:
            continue
        for requirement in map(Requirement, texts):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                kept = [str(one) for one in requirement.specifier if one.operator != "=="]
                name = canonicalize_name(requirement.name)
                ranges[name] = ranges.get(name, SpecifierSet()) & SpecifierSet(",".join(kept))
    return {name: str(specifier) for name, specifier in ranges.items() if specifier}


def _start_probe() -> subprocess.Popen[str]:
    offline = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "true"}
    return subprocess.Popen(
        [sys.executable, "-m", "validation.engine_probe"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | offline,
    )


def _read_probe(process: subprocess.Popen[str]) -> dict[str, dict[str, Any]]:
    """Return what the probe said; libraries print among it."""
    try:
        printed, _ = process.communicate(timeout=SECONDS_TO_IMPORT)
        end = f"the process that imports it ended with status {process.returncode}"
    except subprocess.TimeoutExpired:
        process.kill()
        printed, _ = process.communicate()
        end = f"importing it took over {SECONDS_TO_IMPORT:.0f} s"
    said: dict[str, dict[str, Any]] = {}
    for line in printed.splitlines():
        if line.startswith("{"):
            said |= json.loads(line)
    silent = {name: {"error": end} for name in ("torch", "attention", "engine", "bitsandbytes")}
    return silent | said


def _driver() -> str | None:
    try:
        pynvml.nvmlInit()
        driver = pynvml.nvmlSystemGetDriverVersion()
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None
    return driver if isinstance(driver, str) else driver.decode()


def _has_python_header() -> bool:
    scheme = sysconfig.get_default_scheme()
    scheme = "posix_prefix" if scheme == "posix_local" else scheme  # as in triton/runtime/build.py
    return Path(sysconfig.get_paths(scheme=scheme)["include"], "Python.h").is_file()


def _place(path: Path) -> Place:
    there = path.resolve()
    while not there.exists():
        there = there.parent
    return Place(str(path), shutil.disk_usage(there).free, os.access(there, os.W_OK))


def _memory() -> int:
    """Bytes available: the machine's, or what the container's limit leaves of them."""
    available = psutil.virtual_memory().available
    try:
        limit, used = (
            int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current")
        )
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return available
    return min(available, max(0, limit - used))


def _shared_memory() -> int:
    return shutil.disk_usage("/dev/shm").total if Path("/dev/shm").is_dir() else 0


def _ask_hub() -> str:
    if constants.HF_HUB_OFFLINE:
        return "not asked (HF_HUB_OFFLINE)"
    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS_TO_ANSWER)
    except (OSError, httpx.HTTPError):
        return "not reached"
    return "reached"


def judge(facts: Facts) -> list[VerdictRow]:
    """Turn facts into rows; only what keeps a run from working is a failure."""
    return [
        _judge_python(facts),
        *(_judge_package(facts, name) for name in ENGINE),
        _judge_other_packages(facts),
        *_judge_engine(facts.probe),
        *_judge_gpu(facts),
        _judge_compiler(facts),
        *_judge_machine(facts),
    ]


def _row(
    name: str, found: str, tested: str, verdict: Verdict | bool = True, todo: str = ""
) -> VerdictRow:
    """Make a row; a verdict of True is ok, and of False a note."""
    if isinstance(verdict, bool):
        verdict = "ok" if verdict else "note"
    return VerdictRow(name, found, verdict, "" if verdict == "ok" else todo, expected=tested)


def _judge_python(facts: Facts) -> VerdictRow:
    found = f"{'.'.join(map(str, facts.python))}, {facts.system}"
    usable = facts.python[:2] in PYTHONS and facts.system.startswith("Linux")
    verdict: Verdict | bool = facts.system == "Linux x86_64" if usable else "fail"
    todo = "" if usable else "use Python 3.12, 3.13 or 3.14 on Linux"
    return _row("Python", found, "3.12 and 3.13, Linux x86_64", verdict, todo)


def _judge_package(facts: Facts, name: str) -> VerdictRow:
    found, pin = facts.installed.get(name), facts.pins.get(name, "not known")
    install = f"{INSTALL} {name}"
    if found is None:
        return _row(name, "not installed", pin, "fail", install)
    accepted = facts.required.get(name, "")
    if not SpecifierSet(accepted).contains(Version(found), prereleases=True):
        return _row(name, f"{found}, but {accepted} is required", pin, "fail", install)
    return _row(name, found, pin, _is_pinned(found, pin), install)


def _is_pinned(version: str, pin: str) -> bool:
    return pin in (version, Version(version).public)  # the pin names no build, such as +cpu


def _judge_other_packages(facts: Facts) -> VerdictRow:
    """Compare what is both installed and pinned; the rest may be for CUDA or for tests."""
    if not facts.pins:
        return _row("other packages", f"no {LOCK} here", LOCK, "note")
    both = sorted((facts.installed.keys() & facts.pins.keys()) - set(ENGINE))
    other = [
        f"{name} {facts.installed[name]} (tested: {facts.pins[name]})"
        for name in both
        if not _is_pinned(facts.installed[name], facts.pins[name])
    ]
    shown = ", ".join(other[:5]) + (", ..." if len(other) > 5 else "")
    found = f"{len(both) - len(other)} of {len(both)} as pinned{'; ' if other else ''}{shown}"
    return _row("other packages", found, LOCK, not other)


def _judge_engine(probe: dict[str, dict[str, Any]]) -> Iterator[VerdictRow]:
    error = probe["engine"].get("error")
    found = error or "it and the prompt strategies can be imported"
    todo = f"install again: {INSTALL} --editable ."
    yield _row("engine", found, "can be imported", "fail" if error else "ok", todo)
    attention = probe["attention"]
    there = [name for name, usable in attention.items() if usable is True]
    sdpa = "sdpa" in there
    found = ", ".join(there) if sdpa else attention.get("error", "no sdpa, which the recipes use")
    yield _row("attention", found, "sdpa", "ok" if sdpa else "fail")
    native = probe["bitsandbytes"].get("native", False)
    error = probe["bitsandbytes"].get("error", "without its native code")
    todo = "the QLoRA recipes need it: pip install --force-reinstall bitsandbytes"
    found = "its native code is loaded" if native else error
    yield _row("bitsandbytes' code", found, "native, on a CPU", native, todo)


def _judge_gpu(facts: Facts) -> Iterator[VerdictRow]:
    torch, row = facts.probe["torch"], partial(_row, "GPU", tested="no GPU")
    if "error" in torch:
        found = f"torch cannot say: {torch['error']}"
        yield row(found, verdict="fail", todo=f"{INSTALL} torch")
        return
    gpus = "; ".join(f"{name}, {memory / GB:.0f} GB" for name, memory, _ in torch["gpus"])
    old = [name for name, _, capability in torch["gpus"] if capability < [8, 0]]
    if old:
        todo = "the recipes' bf16 needs compute capability 8.0 (Ampere) or later"
        yield row(f"{gpus}: {old[0]} has no bf16", verdict="fail", todo=todo)
    elif facts.driver and not gpus:
        todo = (
            "install the CUDA build of torch" if torch["cuda"] is None
            else "the driver may be too old for this CUDA; or CUDA_VISIBLE_DEVICES hides the GPU"
        )  # fmt: skip
        yield row("there, but torch cannot use it", verdict="fail", todo=todo)
    else:
        yield row(gpus or "none: recipes need one; the demo runs", verdict=bool(gpus))
    toolkit, nccl = (facts.pins.get(name, "-") for name in ("cuda-toolkit", "nvidia-nccl-cu13"))
    yield _row("NVIDIA driver", facts.driver or "none", "no GPU", bool(gpus))
    cuda = torch["cuda"] or "none: torch's CPU build"
    yield _row("CUDA of torch", cuda, f"pinned, not run: {toolkit}", bool(gpus))
    yield _row("NCCL", torch["nccl"] or "none", f"pinned, not run: {nccl}", bool(gpus))


def _judge_compiler(facts: Facts) -> VerdictRow:
    lacks = "" if facts.python_header else "Python.h"
    lacks = lacks if facts.compiler else "no gcc or clang"
    missing: Verdict = "fail" if facts.probe["torch"].get("gpus") else "note"
    found = f"lacking: {lacks}" if lacks else str(facts.compiler)
    todo = "on a GPU Triton needs them: apt-get install gcc libc6-dev python3-dev"
    return _row(
        "C compiler for Triton", found, "gcc and Python.h", missing if lacks else "ok", todo
    )


def _judge_machine(facts: Facts) -> Iterator[VerdictRow]:
    runs, cache = facts.outputs, facts.cache
    verdict: Verdict | bool = (
        runs.free >= RUN_DISK if runs.writable and runs.free >= LEAST_DISK else "fail"
    )
    todo = "a run writes its checkpoints there: make room, or change folder or owner"
    yield _row("disk for runs", str(runs), f"{RUN_DISK / GB:.0f} GB for a 13B LoRA run", verdict,
               todo if verdict == "fail" else "")  # fmt: skip
    enough = cache.free >= BASE_DISK and cache.writable
    tested = f"{BASE_DISK / GB:.0f} GB for a 13B base"
    yield _row("disk for the hub's cache", str(cache), tested, enough)
    found = f"{facts.memory / GB:.1f} GB available"
    tested = "3 GB for the demo; a recipe's header says its own"
    yield _row("memory", found, tested, facts.memory >= DEMO_MEMORY)
    todo = "several GPUs need more; Docker: --shm-size 16g (compose.yml sets it)"
    found, enough = f"{facts.shared / GB:.2f} GB", facts.shared >= LEAST_SHARED_MEMORY
    yield _row("/dev/shm", found, "16 GB in compose.yml", enough, todo)
    runs_one = "runs a program"
    yield _row("bubblewrap", facts.sandbox or runs_one, runs_one, not facts.sandbox)
    token = "a token is there" if facts.token else "no token: gated models (Llama) need one"
    good = facts.hub == "reached" and facts.token
    yield _row("hub", f"{facts.hub}; {token}", "not needed offline", good)


def print_doctor(result: dict[str, Any], console: Console) -> None:
    """Print the table, what to do about each row, and whether a run can work."""
    print_verdicts(result["verdicts"], console)
    failed = sum(row["verdict"] == "fail" for row in result["verdicts"])
    rows = "1 row says" if failed == 1 else f"{failed} rows say"
    verdict = f"{rows} that a run cannot work here." if failed else "A run can work here."
    console.print(verdict, markup=False)
