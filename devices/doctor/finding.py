"""What a check is given and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from devices._health import Health
from devices.facts import Device
from devices.profiles import Profile

# `problem`: something will not work; `warning`: it may not, or not well; `note`: worth knowing.
Status = Literal["ok", "note", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    Attributes:
        check: name of the check, e.g. "camera".
        status: see `Status`.
        found: what is so, in one line.
        remedy: what mends it, as a line to type where there is one; empty where nothing is to do.
    """

    check: str
    status: Status
    found: str
    remedy: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The finding as plain values, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Needs:
    """What a bundle asks of a device, in bytes.

    Attributes:
        name: what to call the bundle.
        disk_bytes: to keep it, and to unpack or replace it.
        memory_bytes: for a process that runs its largest model.
    """

    name: str
    disk_bytes: int
    memory_bytes: int


@dataclass(frozen=True)
class PythonFacts:
    """A Python environment, as a process of that Python saw it.

    Attributes:
        executable: path of the interpreter.
        version: e.g. (3, 11).
        packages: name -> version of what is installed.
        in_venv: whether it is a virtual environment.
        picamera2: whether `import picamera2` would find it.
        cv2: what the imported OpenCV says of itself; empty where there is none.
        cv2_error: why `import cv2` failed; empty where it did not.
        error: why the process gave no answer at all; empty where it did.
    """

    executable: str = ""
    version: tuple[int, int] = (0, 0)
    packages: Mapping[str, str] = field(default_factory=dict)
    in_venv: bool = False
    picamera2: bool = False
    cv2: Mapping[str, str] = field(default_factory=dict)
    cv2_error: str = ""
    error: str = ""


@dataclass(frozen=True)
class Patient:
    """Everything that checks look at; a test makes one of its own.

    Attributes:
        root: where the machine's files are.
        device, health: what was read there.
        profile: the one that suits the device; None where none does.
        python: the environment that is examined.
        user: numeric id of the user, and `groups` those that the user is in.
        environment: environment variables.
        now_s: seconds since 1970.
        free_bytes: free disk space where the user is.
        glibc: version of the C library, e.g. (2, 36); None where unknown.
        needs: what a bundle needs, where one was named.
        broken_profile: what is wrong with a profile file of the user's, so that none is known.
    """

    root: Path
    device: Device
    health: Health
    profile: Profile | None
    python: PythonFacts
    user: int
    groups: frozenset[int]
    environment: Mapping[str, str]
    now_s: float
    free_bytes: int | None
    glibc: tuple[int, ...] | None = None
    needs: Needs | None = None
    broken_profile: str = ""
