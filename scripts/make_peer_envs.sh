#!/bin/sh
# Make virtual environments of what edgeproof's files are run on elsewhere.
#
#   sh scripts/make_peer_envs.sh FOLDER [mediapipe|legacy|all]
#
# FOLDER/mediapipe holds MediaPipe and not edgeproof; FOLDER/legacy holds edgeproof on
# tflite-runtime, as on 32-bit Raspberry Pi OS. The tests look for them in .peers. One that is
# there already is left as it is. PYTHON=... names the Python to use; with uv on PATH, uv finds
# one and does the work.
set -eu

mediapipe="mediapipe==1.2.2"

fail() {
    echo "edgeproof: $1" >&2
    exit 1
}

[ $# -ge 1 ] && [ $# -le 2 ] || fail "usage: sh scripts/make_peer_envs.sh FOLDER [mediapipe|legacy|all]"
folder=$1 which=${2:-all}
case $folder in /*) ;; *) folder=$PWD/$folder ;; esac
cd "$(dirname "$0")/.."
uv=$(command -v uv || true)

# Prints a Python 3.$1 to 3.$2 that package $3 has wheels for and that can make environments. Shims
# of version managers exist on PATH and fail when run, so each candidate is run.
find_python() {
    if [ -n "$uv" ] && [ -z "${PYTHON:-}" ]; then
        echo ">=3.$1,<3.$(($2 + 1))"
        return
    fi
    for candidate in ${PYTHON:-python3 python python3.14 python3.13 python3.12 python3.11 python3.10}; do
        if "$candidate" -c "
import sys
if sys.version_info[0] != 3 or not $1 <= sys.version_info[1] <= $2:
    sys.exit(1)
${uv:+sys.exit(0)}
import venv, ensurepip
" 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    found=${PYTHON:+"PYTHON=$PYTHON is not one"}
    fail "$3 needs Python 3.$1 to 3.$2 with its venv module, ${found:-and none is on PATH}; install one (Debian, Ubuntu: apt install python3.$2-venv; or uv, which fetches it), or name one with PYTHON=/path/to/python."
}

make_mediapipe() {
    env=$folder/mediapipe
    [ ! -f "$env/.complete" ] || return 0
    python=$(find_python 9 14 MediaPipe)
    # A half-made environment must never pass for a whole one, also after Ctrl-C.
    trap 'code=$?; [ -f "$env/.complete" ] || rm -rf "$env"; exit $code' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    rm -rf "$env"
    if [ -n "$uv" ]; then
        uv venv --quiet --python "$python" "$env" ||
            fail "uv found no Python 3.9 to 3.14 for MediaPipe; install one, or let uv: uv python install 3.13"
        echo "edgeproof: installing $mediapipe into $env with uv ..." >&2
        uv pip install --quiet --python "$env/bin/python" "$mediapipe" ||
            fail "uv could not install $mediapipe; its message is above."
    else
        "$python" -m venv "$env" || fail "$python could not make a virtual environment; see above."
        echo "edgeproof: installing $mediapipe into $env with pip ..." >&2
        "$env/bin/python" -m pip install --quiet --disable-pip-version-check "$mediapipe" ||
            fail "pip could not install $mediapipe; its message is above."
    fi
    "$env/bin/python" -c "
import ctypes, importlib.util, pathlib, sys
try:
    import mediapipe.tasks.python.vision
    package = pathlib.Path(importlib.util.find_spec('mediapipe').origin).parent
    ctypes.CDLL(str(package / 'tasks' / 'c' / 'libmediapipe.so'))
except (ImportError, OSError) as error:
    sys.exit('edgeproof: MediaPipe lacks a system library: %s; install it (Debian, Ubuntu: '
             'apt install libegl1 libgles2 libgl1 libglib2.0-0).' % error)
" || [ $? -eq 1 ]
    : >"$env/.complete"
}

make_legacy() {
    env=$folder/legacy
    [ ! -f "$env/.complete" ] || return 0
    python=$(find_python 10 11 tflite-runtime)
    PYTHON=$python sh scripts/make_venv.sh "$env" legacy constraints-legacy.txt
}

case $which in
mediapipe) make_mediapipe ;;
legacy) make_legacy ;;
all)
    make_mediapipe
    make_legacy
    ;;
*) fail "no environment $which; there are mediapipe, legacy and all." ;;
esac
