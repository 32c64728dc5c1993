#!/usr/bin/env bash
# Makes the virtual environment $VENV with everything that requirements.lock pins, by uv.
#
#   tools/setup.sh            install
#   tools/setup.sh lock       resolve requirements.lock anew from pyproject.toml
#
# PYTHON  an interpreter to use; else the first fitting one of the PATH and of pyenv
# VENV    where the environment goes (.venv)
# TORCH   `cpu` for PyTorch's CPU build, from PyTorch's own index; else the build of your index
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-.venv}

say() { echo "setup: $1" >&2; }

refuse() {
    say "$1"
    exit 2
}

fits() { "$1" -c 'import sys; sys.exit(not (3, 12) <= sys.version_info[:2] < (3, 15))' 2> /dev/null; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        fits "$PYTHON" || refuse "PYTHON=$PYTHON is not Python 3.12, 3.13 or 3.14; name one that is"
        echo "$PYTHON"
        return
    fi
    local candidate
    for candidate in python3.12 python3.13 python3.14 python3 \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[234].*/bin/python; do
        if fits "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    if command -v uv > /dev/null; then
        say "no Python 3.12, 3.13 or 3.14 is here; uv tries to fetch one"
        if uv python install --quiet 3.12 2> /dev/null; then
            uv python find 3.12
            return
        fi
    fi
    refuse "no Python 3.12, 3.13 or 3.14 was found; install one, or name it: make setup PYTHON=/path/to/python3.12"
}

# The installed uv; else one in an environment of its own beside $venv, brought by pip.
find_uv() {
    if ! command -v uv; then
        local own=$venv-uv
        if ! [ -x "$own/bin/uv" ]; then
            say "uv is not installed; pip brings it into $own"
            "$1" -m venv "$own" > /dev/null && "$own/bin/pip" install --quiet --disable-pip-version-check uv ||
                refuse "uv could not be brought; install it (https://docs.astral.sh/uv), or Python's venv: apt-get install python3-venv"
        fi
        echo "$own/bin/uv"
    fi
}

python=$(find_python)
uv=$(find_uv "$python")

if [ "${1:-}" = lock ]; then
    "$uv" pip compile --quiet --all-extras --universal --python "$python" --python-version 3.12 \
        --generate-hashes --no-annotate --no-header --no-emit-index-url \
        --output-file requirements.lock pyproject.toml
    exit
fi

say "$("$python" --version), $("$uv" --version); packages go into $venv"
"$uv" venv --quiet --allow-existing --python "$python" "$venv"
install=("$uv" pip install --python "$venv" --constraint requirements.lock)
if [ -n "${TORCH:-}" ]; then
    # first and alone: the lock's hashes are those of PyPI's files, and what is installed stays
    "${install[@]}" --no-verify-hashes --torch-backend "$TORCH" torch
fi
"${install[@]}" --editable '.[dev,fast,mlflow,real]'
# Axolotl reports each launch to its makers unless this is set, before any code of ours runs
echo 'import os; os.environ.setdefault("DO_NOT_TRACK", "true")' \
    > "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/do_not_track.pth"
say "compiling the bytecode of what a start imports"
env -u PYTHONDONTWRITEBYTECODE "$venv/bin/python" -m tools.compile_imports
say "done: $(du -sh "$venv" | cut -f1) in $venv"
