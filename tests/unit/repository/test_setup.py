"""`make setup`: which Python and which uv it takes, and what it says where there is none.

The interpreters here are scripts that answer as one of some version would; nothing is installed.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOOLS = ("bash", "dirname", "env")  # all that the script itself runs before it has found a Python


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A copy of the script, and a folder `bin` that is the whole PATH."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/setup.sh").write_text((ROOT / "tools/setup.sh").read_text())
    (tmp_path / "bin").mkdir()
    for name in TOOLS:
        found = subprocess.run(["sh", "-c", f"command -v {name}"], capture_output=True, text=True)
        (tmp_path / "bin" / name).symlink_to(found.stdout.strip())
    return tmp_path


def add(path: Path, lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{sys.executable}\n{lines}")
    path.chmod(0o755)


def add_python(path: Path, version: tuple[int, int]) -> None:
    """Answers the script's question about its version; can make no environment."""
    add(
        path,
        "import sys\n"
        "if sys.argv[1] != '-c': sys.exit(7)\n"
        f"sys.version_info = (*{version}, 1)\n"
        "exec(sys.argv[2])\n",
    )


def add_uv(place: Path) -> None:
    """Notes what it is told, and can fetch no Python."""
    add(
        place / "bin/uv",
        "import json, sys\n"
        f"open({str(place / 'told')!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n"
        "sys.exit(sys.argv[1] == 'python')\n",
    )


def setup(place: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(place / "tools/setup.sh"), *words],
        env={"PATH": str(place / "bin"), "HOME": str(place / "home")} | environment,
        capture_output=True,
        text=True,
    )


def told(place: Path) -> list[list[str]]:
    return [json.loads(line) for line in (place / "told").read_text().splitlines()]


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The last line of what is said."""
    assert done.returncode == 2
    return done.stderr.splitlines()[-1]


def test_without_a_fitting_python_one_sentence_says_what_to_do(place: Path) -> None:
    add_python(place / "bin/python3", (3, 11))
    add_uv(place)  # it tries to fetch one
    assert "no Python 3.12, 3.13 or 3.14 was found; install one" in refusal(setup(place))
    assert not (place / ".venv").exists() and not (place / ".venv-uv").exists()


def test_an_interpreter_that_does_not_fit_is_refused(place: Path) -> None:
    add_python(place / "bin/python3", (3, 12))
    add_python(place / "other", (3, 15))
    done = setup(place, PYTHON=str(place / "other"))
    assert f"PYTHON={place / 'other'} is not Python 3.12" in refusal(done)


@pytest.mark.parametrize(
    ("where", "version"),
    [
        ("bin/python3", (3, 14)),
        ("home/.pyenv/versions/3.13.0/bin/python", (3, 13)),
    ],
)
def test_the_python_that_is_there_is_taken(
    place: Path, where: str, version: tuple[int, int]
) -> None:
    add_python(place / "bin/python3.12", (3, 11))  # as a shim of pyenv, which cannot run
    add_python(place / where, version)
    add_uv(place)
    assert setup(place, "lock").returncode == 0
    [words] = told(place)
    assert words[:2] == ["pip", "compile"]
    assert words[words.index("--python") + 1] == str(place / where)


def test_pytorchs_cpu_build_is_installed_first_and_alone_without_the_locks_hashes(
    place: Path,
) -> None:
    add_python(place / "bin/python3", (3, 12))
    add_uv(place)
    setup(place, TORCH="cpu", VENV="v")
    installs = [words for words in told(place) if words[:2] == ["pip", "install"]]
    assert [words[-1] for words in installs] == ["torch", ".[dev,fast,mlflow,real]"]
    assert "--no-verify-hashes" in installs[0] and "--no-verify-hashes" not in installs[1]
    assert installs[0][installs[0].index("--torch-backend") + 1] == "cpu"
    assert all("requirements.lock" in words for words in installs)


def test_no_launch_reports_to_anyone() -> None:
    """Axolotl sends the recipe to its makers before it loads a plugin, unless this is set."""
    if not (Path(sys.prefix) / ".installed").is_file():
        pytest.skip("this environment was not made by `make setup`")
    program = "from axolotl.telemetry.manager import TelemetryManager as T; print(T().enabled)"
    unset = {name: value for name, value in os.environ.items() if "DO_NOT_TRACK" not in name}
    done = subprocess.run(
        [sys.executable, "-c", program], env=unset, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "False", done.stderr
