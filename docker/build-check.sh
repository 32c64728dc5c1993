#!/usr/bin/env bash
# Builds docker/Dockerfile without Docker's engine and works in the image as its user would: no root
# rights, a source tree that cannot be written, no network.
#
#   docker/build-check.sh [FOLDER]      as root, on Debian with buildah, debootstrap and iproute2
#
# FOLDER (else one under /var/tmp) takes some 20 GB while it works; what was built is removed at the
# end, the Debian base in FOLDER/base stays for the next time. The base is Debian trixie, made by
# debootstrap from $MIRROR. The configuration of pip and uv here (/etc/pip.conf, /etc/uv/uv.toml, or
# what PIP_CONFIG_FILE and UV_CONFIG_FILE name) goes into the build as secrets, and the certificates
# of SSL_CERT_FILE are there while it builds. Further arguments for the build stand in
# $BUILD_ARGUMENTS: "--build-arg TORCH=cpu" builds the CPU image.
set -euo pipefail
cd "$(dirname "$0")/.."

refuse() {
    echo "build-check: $1" >&2
    exit 2
}

[ "$(id -u)" = 0 ] || refuse "only root can build with chroot isolation; run it as root"
for tool in buildah debootstrap ip unshare python3; do
    command -v "$tool" > /dev/null ||
        refuse "$tool is not installed: apt-get install buildah debootstrap iproute2 util-linux python3"
done

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
    debootstrap --variant=minbase --include=ca-certificates trixie "$work/base" \
        "${MIRROR:-http://deb.debian.org/debian}" > "$work/debootstrap.log" ||
        refuse "debootstrap failed: see $work/debootstrap.log"
    chroot "$work/base" sh -c 'apt-get clean && rm -rf /var/lib/apt/lists/*'
    touch "$work/base/.whole"
fi
container=$(buildah "${store[@]}" from scratch)
buildah "${store[@]}" add --quiet "$container" "$work/base" / > /dev/null
buildah "${store[@]}" commit --quiet "$container" localhost/base > /dev/null
buildah "${store[@]}" rm "$container" > /dev/null
container=""

mine=() # of this machine, for the build alone
for file in "pip:${PIP_CONFIG_FILE:-/etc/pip.conf}" "uv:${UV_CONFIG_FILE:-/etc/uv/uv.toml}"; do
    [ ! -f "${file#*:}" ] || mine+=(--secret "id=${file%%:*},src=${file#*:}")
done
certificates=()
[ -z "${SSL_CERT_FILE:-}" ] ||
    certificates=(--volume "$SSL_CERT_FILE:/etc/ssl/certs/ca-certificates.crt:ro")
read -ra arguments <<< "${BUILD_ARGUMENTS:-}"

build() {
    buildah "${store[@]}" build --isolation chroot --format docker --layers --quiet \
        "${mine[@]}" "${certificates[@]}" --build-arg BASE=localhost/base "${arguments[@]}" \
        --file docker/Dockerfile "$@" . > "$scratch/build.log" 2>&1 || {
        tail -n 40 "$scratch/build.log" >&2
        exit 1
    }
}

step "the image"
build --target build --tag localhost/build # its uv brings pytest
build --tag localhost/cogex
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
builder=$(buildah "${store[@]}" from localhost/build)
buildah "${store[@]}" run --isolation chroot "${certificates[@]}" \
    --volume "$scratch/tools:/test-tools" "$builder" -- uv pip install --quiet --target /test-tools \
    --constraint /build/requirements.lock pytest pytest-timeout pytest-xdist hypothesis
buildah "${store[@]}" rm "$builder" > /dev/null

# in a network namespace of its own, where there is nothing but the loopback
mounts=()
inside() {
    unshare --net sh -c 'ip link set lo up && exec "$@"' sh \
        buildah "${store[@]}" run --isolation chroot \
        --volume "$scratch/data:/cogex/data" --volume "$scratch/outputs:/cogex/outputs" \
        --volume "$scratch/tools:/test-tools:ro" "${mounts[@]}" "$container" -- "$@"
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

step "every module comes with its bytecode"
inside python -v -c "import cogex, axolotl.train, prompt_strategies.cogex" > "$scratch/imports" 2>&1
if grep -E "^# code object from /.*\.py$" "$scratch/imports"; then
    refuse "these modules are compiled at every start; have docker/Dockerfile compile them"
fi

step "cogex doctor"
inside cogex doctor

step "the unit tests"
inside env PYTHONPATH=/test-tools HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis OMP_NUM_THREADS=1 \
    python -m pytest -m "not engine" -p no:cacheprovider --numprocesses 2

step "cogex demo"
inside cogex demo

step "a recipe of one's own, mounted, on the demo's data"
sed 's|cogex-tiny|mine|; s|^num_epochs:.*|num_epochs: 1|' recipes/cogex-tiny.yml > "$scratch/mine.yml"
mounts=(--volume "$scratch/mine.yml:/cogex/recipes/mine.yml:ro")
inside cogex preflight recipes/mine.yml
inside accelerate launch --cpu --num_cpu_threads_per_process 2 -m axolotl.cli.train recipes/mine.yml
[ -s "$scratch/outputs/mine/adapter_model.safetensors" ] ||
    refuse "the mounted recipe left no adapter in outputs/mine; see its training above"
step "everything held"
