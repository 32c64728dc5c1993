#!/usr/bin/env bash
# Resolves every dependency of pyproject.toml anew, for Linux with CUDA, into constraints.txt.
# Nothing is installed; wheels are downloaded where their metadata lie in no other place. Minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
report=$(mktemp)
trap 'rm -f "$report" constraints.next' EXIT
"${PYTHON:-python3.11}" -m pip install --quiet --dry-run --ignore-installed --report "$report" '.[dev]'
"${PYTHON:-python3.11}" - "$report" > constraints.next <<'PY'
import json, sys
packages = [item["metadata"] for item in json.load(open(sys.argv[1]))["install"]]
versions = {p["name"]: p["version"] for p in packages if p["name"] != "cogex-recipes"}
if not any(name.startswith("nvidia-nccl") for name in versions):
    sys.exit(
        f"constraints.txt is left as it was: pip chose torch {versions['torch']}, which is not the "
        "CUDA build; take PyPI's: PIP_CONFIG_FILE=/dev/null PIP_FIND_LINKS= make constraints"
    )
lines = {f"{name}=={version.split('+')[0]}" for name, version in versions.items()}
print(*sorted(lines, key=str.lower), sep="\n")
PY
mv constraints.next constraints.txt
