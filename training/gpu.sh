#!/usr/bin/env bash
# The same fit on a machine with one GPU and PyTorch or JAX, without TensorFlow; also without a GPU, slowly.
#
#   training/gpu.sh fit PACKED.npz RUN OUT [OPTION OF cxr-train fit]…
#       Fits the films of `cxr-train pack` in the run folder RUN; the same command again goes on there. Then puts
#       the weights, as float16, into the folder OUT in pieces of 16 MiB at most, with their SHA-256 and with the
#       settings of the run.
#   training/gpu.sh join OUT WEIGHTS.npz
#       Puts the pieces together, on any machine, and checks the digest. Named RUN/weights.npz in a new folder RUN,
#       with settings.json beside it, they are a run that `cxr-train export` takes.
#
# PYTHON is the interpreter (default python3). KERAS_BACKEND is torch or jax (default: the first that is there).
# Python packages that are missing are installed with pip, in the versions of setup.cfg; PyTorch and JAX are not.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
piece=$((16 * 1024 * 1024))

fail() {
    echo "gpu.sh: $*" >&2
    exit 1
}

usage() {
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
    exit 2
}

choose_backend() {
    local name
    if [ -n "${KERAS_BACKEND:-}" ]; then
        echo "$KERAS_BACKEND"
        return
    fi
    for name in torch jax; do
        if "$python" -c "import $name" 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    fail "$python has neither PyTorch nor JAX: install the one that fits the GPU's driver"
}

install_missing() {
    local missing
    mapfile -t missing < <("$python" - "$root/setup.cfg" <<'PYTHON'
import configparser, importlib.util, re, sys

needed = {  # what a fit imports, and the distribution that it is in
    "numpy": "numpy", "cv2": "opencv-python-headless", "h5py": "h5py", "keras": "keras", "pydantic": "pydantic",
    "pydicom": "pydicom", "SimpleITK": "SimpleITK", "rich": "rich", "tensorboardX": "tensorboardX",
}
settings = configparser.ConfigParser()
settings.read(sys.argv[1])
lines = settings["options"]["install_requires"] + settings["options.extras_require"]["train"]
versions = {re.split(r"[\[<>=; ]", line)[0]: line for line in lines.split("\n") if line}
for module, distribution in needed.items():
    if importlib.util.find_spec(module) is None:
        print(versions[distribution])
PYTHON
    )
    [ ${#missing[@]} -eq 0 ] && return
    "$python" -m pip install -q --disable-pip-version-check "${missing[@]}" ||
        fail "these Python packages are missing and could not be installed: ${missing[*]}"
}

fit() {
    [ $# -ge 3 ] || usage
    local packed=$1 run=$2 out=$3
    shift 3
    [ -f "$packed" ] || fail "there is no file $packed; make it with cxr-train pack"
    [ ! -e "$out/weights.sha256" ] || fail "$out holds weights already; name another folder"
    KERAS_BACKEND=$(choose_backend)
    export KERAS_BACKEND PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
    install_missing
    "$python" -m training.cli fit --packed "$packed" --run "$run" "$@"
    mkdir -p "$out"
    cp "$run/settings.json" "$out/settings.json"
    give "$run/weights.npz" "$out"
}

give() {
    local weights=$1 out=$2
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    "$python" - "$weights" "$work/weights.npz" <<'PYTHON'
import sys

import numpy as np

with np.load(sys.argv[1], allow_pickle=False) as archive:
    weights = {name: archive[name].astype(np.float16) for name in archive.files}
broken = [name for name, value in weights.items() if not np.isfinite(value).all()]
if broken:
    sys.exit(f"gpu.sh: {broken[0]} is too large for float16, or no number: the fit came to nothing")
np.savez(sys.argv[2], **weights)
PYTHON
    split -b "$piece" -d -a 3 "$work/weights.npz" "$out/weights.npz."
    # The digest comes last: without it, pieces are none.
    (cd "$work" && sha256sum weights.npz) >"$out/weights.sha256"
    echo "$out: $(find "$out" -name 'weights.npz.*' | wc -l) pieces"
}

join() {
    [ $# -eq 2 ] || usage
    local folder=$1 file=$2
    [ -f "$folder/weights.sha256" ] || fail "$folder has no weights.sha256: no folder that gpu.sh fit wrote, or not all of it"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    cat "$folder"/weights.npz.[0-9]* >"$work/weights.npz"
    (cd "$work" && sha256sum --check --status -) <"$folder/weights.sha256" ||
        fail "the pieces in $folder do not have the digest of weights.sha256: one is missing or changed"
    mkdir -p "$(dirname "$file")"
    settings=$(dirname "$file")/settings.json
    if [ -f "$folder/settings.json" ] && ! cmp -s "$folder/settings.json" "$settings"; then
        [ ! -e "$settings" ] || fail "$settings is of another run: name a new folder"
        cp "$folder/settings.json" "$settings"
    fi
    cp "$work/weights.npz" "$file"
    echo "$file"
}

case ${1:-} in
    fit | join) "$@" ;;
    *) usage ;;
esac
