#!/bin/sh
# Make a virtual environment with edgeproof in it, editable, at pinned versions.
#
#   sh scripts/make_venv.sh FOLDER EXTRAS CONSTRAINTS
#
# PYTHON=... names the Python to use. With uv on PATH, uv does the work; otherwise venv and pip.
# Either the folder is complete and holds the file .complete, or it is not there.
set -eu

folder=$1 extras=$2 constraints=$3
oldest=10 newest=13

fail() {
    echo "edgeproof: $1" >&2
    exit 1
}

# Prints the version when $1 is a Python that will do. Shims of version managers exist on PATH
# and fail when run, so each candidate is run.
suitable() {
    "$1" -c "
import sys
major, minor = sys.version_info[:2]
if major != 3 or not $oldest <= minor <= $newest:
    sys.exit(1)
print('%d.%d' % (major, minor))
" 2>/dev/null
}

has_venv() {
    "$1" -c "import venv, ensurepip" 2>/dev/null
}

# The first suitable Python that can make environments; else the first suitable one.
find_python() {
    if [ -n "${PYTHON:-}" ]; then
        suitable "$PYTHON" >/dev/null ||
            fail "PYTHON=$PYTHON is not a Python 3.$oldest to 3.$newest; install one of those, or name another."
        echo "$PYTHON"
        return
    fi
    second_choice=
    for candidate in python3 python python3.13 python3.12 python3.11 python3.10; do
        if suitable "$candidate" >/dev/null; then
            if has_venv "$candidate"; then
                echo "$candidate"
                return
            fi
            second_choice=${second_choice:-$candidate}
        fi
    done
    [ -z "$second_choice" ] || { echo "$second_choice"; return; }
    found=$(python3 --version 2>/dev/null || echo "no python3")
    fail "needs Python 3.$oldest to 3.$newest, found $found; install one (Debian, Ubuntu: apt install python3 python3-venv; or uv), or name one with PYTHON=/path/to/python."
}

uv=$(command -v uv || true)
if [ -z "$uv" ]; then
    python=$(find_python)
    has_venv "$python" ||
        fail "$python has no venv module; install it (Debian, Ubuntu: apt install python$(suitable "$python")-venv), or install uv."
fi

# A half-made environment must never pass for a whole one, also after Ctrl-C.
trap 'code=$?; [ -f "$folder/.complete" ] || rm -rf "$folder"; exit $code' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
rm -rf "$folder"

if [ -n "$uv" ]; then
    uv venv --quiet --python "${PYTHON:->=3.$oldest,<3.$((newest + 1))}" "$folder" ||
        fail "uv found no Python 3.$oldest to 3.$newest; install one, or let uv: uv python install 3.$newest"
    echo "edgeproof: installing into $folder with uv ..." >&2
    uv pip install --quiet --python "$folder/bin/python" -c "$constraints" -e ".[$extras]" ||
        fail "uv could not install the packages; its message is above."
else
    echo "edgeproof: installing into $folder with pip, some minutes the first time ..." >&2
    "$python" -m venv "$folder" || fail "$python could not make a virtual environment; see above."
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
        -c "$constraints" -e ".[$extras]" ||
        fail "pip could not install the packages; its message is above."
fi
: >"$folder/.complete"
