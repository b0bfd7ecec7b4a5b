"""All checks, as a table, and the machine that they look at."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from devices._engines import glibc_version
from devices._health import HealthSampler
from devices._reading import clean
from devices.doctor import python_checks, system_checks
from devices.doctor.finding import Finding, Needs, Patient
from devices.doctor.probe import look_into
from devices.errors import ProfileError, UnknownDeviceError
from devices.facts import detect
from devices.profiles import profile_for

Check = Callable[[Patient], Iterable[Finding]]

# In the order in which things go wrong: first the Python, then the cameras, then the board.
CHECKS: Mapping[str, Check] = {
    "board": system_checks.check_profile,
    "python": python_checks.check_python,
    "engine": python_checks.check_engines,
    "numpy": python_checks.check_numpy,
    "opencv-packages": python_checks.check_opencv_twice,
    "opencv": python_checks.check_opencv,
    "picamera2": python_checks.check_picamera2,
    "camera": system_checks.check_cameras,
    "power": system_checks.check_power,
    "heat": system_checks.check_heat,
    "governor": system_checks.check_governor,
    "memory": system_checks.check_memory,
    "swap": system_checks.check_swap,
    "disk": system_checks.check_disk,
    "cache": system_checks.check_cache,
    "clock": system_checks.check_clock,
}


def diagnose(
    root: Path = Path("/"), *, python: str = sys.executable, needs: Needs | None = None
) -> tuple[Finding, ...]:
    """Run every check on the machine whose file system starts at `root`.

    Args:
        python: interpreter of the environment that is examined, in a process of its own.
        needs: what a bundle needs, to be held against what is free.
    """
    return examine(_patient(Path(root), python, needs))


def examine(patient: Patient) -> tuple[Finding, ...]:
    """Run every check; each finding is one printable line."""
    return tuple(
        Finding(found.check, found.status, _line(found.found), _line(found.remedy))
        for check in CHECKS.values()
        for found in check(patient)
    )


def _line(text: str) -> str:
    """One printable line, however long: paths and error messages come from elsewhere."""
    return " ".join(part for word in text.split() if (part := clean(word)))


def _patient(root: Path, python: str, needs: Needs | None) -> Patient:
    device = detect(root)
    profile, broken = None, ""
    try:
        profile = profile_for(device)
    except UnknownDeviceError:
        pass
    except ProfileError as exc:
        broken = str(exc)
    return Patient(
        root=root,
        device=device,
        health=HealthSampler(root).sample(),
        profile=profile,
        broken_profile=broken,
        python=look_into(python),
        user=os.geteuid(),
        groups=frozenset({*os.getgroups(), os.getegid()}),
        environment=os.environ,
        now_s=time.time(),
        free_bytes=_free_bytes(),
        glibc=glibc_version(),
        needs=needs,
    )


def _free_bytes() -> int | None:
    try:
        return shutil.disk_usage(Path.cwd()).free
    except OSError:
        return None
