#!/usr/bin/env bash
# Builds docker/Dockerfile without Docker's engine and works in the image as its user would: no root
# rights, a source tree that cannot be written, no network.
#
#   docker/build-check.sh [FOLDER]      as root, on Debian with buildah, debootstrap and iproute2
#
# FOLDER (else one under /var/tmp) takes some 15 GB while it works; what was built is removed at the
# end, the Debian base in FOLDER/base stays for the next time. The base is Debian bookworm with its
# own Python 3.11, made by debootstrap from $MIRROR. pip's own configuration here (mirrors,
# certificates, local folders) goes into the build as a secret. Further arguments for the build
# stand in $BUILD_ARGUMENTS, as "--build-arg TORCH_INDEX=https://...".
set -euo pipefail
cd "$(dirname "$0")/.."

refuse() {
    echo "build-check: $1" >&2
    exit 2
}

[ "$(id -u)" = 0 ] || refuse "only root can build with chroot isolation; run it as root"
for tool in buildah debootstrap ip unshare python3; do
    command -v "$tool" > /dev/null ||
        refuse "$tool is not installed: apt-get install buildah debootstrap iproute2 util-linux python3-pip"
done
python3 -m pip --version > /dev/null 2>&1 || refuse "pip is not installed: apt-get install python3-pip"

work=$(realpath -m "${1:-/var/tmp/cogex-build-check}")
mkdir -p "$work"
scratch=$(mktemp -d -p "$work")
chmod 755 "$scratch"
store=(--root "$scratch/storage" --runroot "$scratch/run")
container=""

tidy() {
    [ -z "$container" ] || buildah "${store[@]}" rm "$container" > /dev/null || true
    umount -R "$scratch/storage/overlay" 2> /dev/null || true
    rm -rf --one-file-system "$scratch"
}
trap tidy EXIT

step() { echo "== $(date +%T) $1"; }

if [ ! -e "$work/base/.whole" ]; then
    step "a Debian base by debootstrap"
    rm -rf "$work/base"
    debootstrap --variant=minbase --include=ca-certificates bookworm "$work/base" \
        "${MIRROR:-http://deb.debian.org/debian}" > "$work/debootstrap.log" ||
        refuse "debootstrap failed: see $work/debootstrap.log"
    DEBIAN_FRONTEND=noninteractive chroot "$work/base" sh -c 'apt-get update -qq &&
        apt-get install -y -qq --no-install-recommends python3.11-venv python3.11-dev &&
        apt-get clean && rm -rf /var/lib/apt/lists/*' >> "$work/debootstrap.log" 2>&1 ||
        refuse "Python could not be installed: see $work/debootstrap.log"
    touch "$work/base/.whole"
fi
container=$(buildah "${store[@]}" from scratch)
buildah "${store[@]}" add --quiet "$container" "$work/base" / > /dev/null
buildah "${store[@]}" commit --quiet "$container" localhost/base > /dev/null
buildah "${store[@]}" rm "$container" > /dev/null
container=""

# one file of what `pip config` says here, and a read-only mount for each local path it names
python3 - "$scratch" <<'PY' > "$scratch/mounts"
import ast, pathlib, subprocess, sys

lines = subprocess.check_output([sys.executable, "-m", "pip", "config", "list"], text=True)
options = {}
for line in sorted(lines.splitlines(), key=lambda line: line.startswith(":env:")):  # it wins
    key, _, value = line.partition("=")
    options[key.rsplit(".", 1)[-1]] = ast.literal_eval(value)
text = "".join(f"{key} = {value}\n" for key, value in options.items())
pathlib.Path(sys.argv[1], "pip.conf").write_text(f"[global]\n{text}")
words = [word.removeprefix("file://") for value in options.values() for word in value.split()]
# a local index keeps its files beside the folder `simple`
paths = {word.removesuffix("/").removesuffix("/simple") for word in words if word.startswith("/")}
for path in sorted(path for path in paths if pathlib.Path(path).exists()):
    print(f"--volume={path}:{path}:ro")
PY
mapfile -t mounts < "$scratch/mounts"

step "the image"
read -ra arguments <<< "${BUILD_ARGUMENTS:-}"
buildah "${store[@]}" build --isolation chroot --format docker --layers --quiet \
    --secret "id=pip,src=$scratch/pip.conf" "${mounts[@]}" \
    --build-arg BASE=localhost/base "${arguments[@]}" \
    --file docker/Dockerfile --tag localhost/cogex . > "$scratch/build.log" 2>&1 || {
    tail -n 40 "$scratch/build.log" >&2
    exit 1
}
buildah "${store[@]}" inspect --type image localhost/cogex | python3 -c '
import json, sys
image = json.load(sys.stdin)
sizes = [layer["size"] for layer in json.loads(image["Manifest"])["layers"]]
steps = [step for step in image["OCIv1"]["history"] if not step.get("empty_layer")]
for size, step in zip(sizes, steps, strict=True):
    print(f"{size / 1e6:8.1f} MB  {step.get('"'created_by'"', '"''"')[:80]}")
print(f"{sum(sizes) / 1e6:8.1f} MB  in all, uncompressed")'

container=$(buildah "${store[@]}" from localhost/cogex)
mkdir "$scratch/tools" "$scratch/outputs"
cp -r data/sample "$scratch/data-sample"
install -d "$scratch/data" && mv "$scratch/data-sample" "$scratch/data/sample"
chown -R 1000:1000 "$scratch/data" "$scratch/outputs"

step "pytest beside the image, which is left as it is"
buildah "${store[@]}" run --isolation chroot --user root "${mounts[@]}" \
    --volume "$scratch/pip.conf:/etc/pip.conf:ro" --volume "$scratch/tools:/test-tools" "$container" \
    -- pip install --quiet --no-cache-dir --root-user-action ignore --target /test-tools \
    --constraint constraints.txt pytest pytest-timeout pytest-xdist hypothesis

# in a network namespace of its own, where there is nothing but the loopback
inside() {
    unshare --net sh -c 'ip link set lo up && exec "$@"' sh \
        buildah "${store[@]}" run --isolation chroot \
        --volume "$scratch/data:/cogex/data" --volume "$scratch/outputs:/cogex/outputs" \
        --volume "$scratch/tools:/test-tools:ro" "$container" -- "$@"
}

step "who works there, and what is out of reach"
inside python - <<'PY'
import errno, os, pathlib, socket

assert os.getuid() == 1000, f"runs as user {os.getuid()}"
for path in ("/cogex/recipes/x.yml", "/cogex/x", "/opt/venv/x"):
    try:
        pathlib.Path(path).write_text("")
    except OSError as error:
        assert error.errno in (errno.EACCES, errno.EROFS), error
    else:
        raise SystemExit(f"{path} could be written")
try:
    socket.create_connection(("192.0.2.1", 443), timeout=5)
except OSError as error:
    assert error.errno == errno.ENETUNREACH, f"not for want of a network: {error}"
else:
    raise SystemExit("there is a network")
print("user 1000; the source tree and the packages cannot be written; the network is unreachable")
PY

step "the health check's command"
mapfile -t health < <(buildah "${store[@]}" inspect --type image localhost/cogex | python3 -c '
import json, sys
print(*json.load(sys.stdin)["Docker"]["config"]["Healthcheck"]["Test"][1:], sep="\n")')
inside "${health[@]}"

step "the unit tests"
inside env PYTHONPATH=/test-tools HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis OMP_NUM_THREADS=1 \
    python -m pytest -m "not engine" -p no:cacheprovider --numprocesses 2

step "cogex demo"
inside cogex demo
step "everything held"
