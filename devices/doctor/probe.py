"""Look into a Python environment with one process of its own: nothing is imported into ours."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any

from devices._reading import clean
from devices.doctor.finding import PythonFacts

LIMIT_S = 60.0
_MAX_PACKAGES = 10_000

# Runs there, on any Python 3.8 or newer: the standard library only, and cv2 if it can.
_PROGRAM = r"""
import importlib.util, json, sys
from importlib.metadata import distributions

def cv2_facts():
    import cv2
    text = cv2.getBuildInformation()
    facts = {"version": cv2.__version__, "file": cv2.__file__ or ""}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip() in ("GUI", "FFMPEG", "GStreamer", "v4l/v4l2"):
            facts.setdefault(name.strip(), value.strip())
    return facts

def found(name):
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False

packages = {}
for each in distributions():
    try:
        packages.setdefault(each.metadata["Name"].lower().replace("_", "-"), each.version)
    except Exception:
        pass
answer = {
    "version": sys.version_info[:2],
    "packages": packages,
    "in_venv": sys.prefix != sys.base_prefix,
    "picamera2": found("picamera2"),
    "cv2": {},
    "cv2_error": "",
}
try:
    answer["cv2"] = cv2_facts()
except ImportError as exc:
    answer["cv2_error"] = str(exc) or type(exc).__name__
except Exception as exc:
    answer["cv2_error"] = type(exc).__name__ + ": " + str(exc)
print("\n" + json.dumps(answer))
"""


def look_into(python: str, environment: Mapping[str, str] | None = None) -> PythonFacts:
    """What that Python has; a Python that does not answer is a fact as well, and never raises.

    Args:
        python: path of the interpreter.
        environment: variables of its process; by default ours.
    """
    try:
        done = subprocess.run(
            [python, "-c", _PROGRAM],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=LIMIT_S,
            check=False,
            env=dict(os.environ if environment is None else environment),
        )
    except (OSError, ValueError) as exc:
        why = getattr(exc, "strerror", None) or str(exc)
        return PythonFacts(executable=python, error=f"cannot be run: {why}")
    except subprocess.TimeoutExpired:
        return PythonFacts(executable=python, error=f"no answer within {LIMIT_S:g} s")
    if done.returncode != 0:
        said = clean((done.stderr.strip().splitlines() or [b""])[-1]) or "it said nothing"
        how = f"was ended by signal {-done.returncode}" if done.returncode < 0 else said
        return PythonFacts(executable=python, error=how)
    return _facts(python, done.stdout)


def _facts(python: str, out: bytes) -> PythonFacts:
    try:
        answer: dict[str, Any] = json.loads(out.splitlines()[-1])
        return PythonFacts(
            executable=python,
            version=(int(answer["version"][0]), int(answer["version"][1])),
            packages=dict(list(_texts(answer["packages"]).items())[:_MAX_PACKAGES]),
            in_venv=bool(answer["in_venv"]),
            picamera2=bool(answer["picamera2"]),
            cv2=_texts(answer["cv2"]),
            cv2_error=clean(str(answer["cv2_error"])) or "",
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return PythonFacts(executable=python, error="answered what is not understood")


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): clean(str(value)) or "" for name, value in values.items()}
