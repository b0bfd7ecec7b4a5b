"""What a device's environment is made of: edgeproof's wheel, and with `--offline` all it needs."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from devices.deploy.errors import DeployError
from devices.deploy.machine import Machine
from devices.deploy.own_wheel import known_extras, write_own_wheel
from devices.deploy.payload import PayloadFile
from devices.deploy.text import printable

# On a Pi's disk, with all caches: numpy, OpenCV, one engine and the rest.
_INSTALLED_BYTES = 450 << 20
# The oldest C library of which wheels are made at all (manylinux2014).
_OLDEST_GLIBC = 17
# The C libraries that uv has a name for: the newest that is not newer than the device's serves.
_UV_GLIBCS = (_OLDEST_GLIBC, 28, *range(31, 41))
# Extras of the workstation.
_NOT_THERE = frozenset({"dev", "train", "convert", "deploy", "keras2"})
# uv's names of platforms; of 32-bit ARM it knows none.
_UV_MACHINES = ("aarch64", "x86_64")


@dataclass(frozen=True)
class Environment:
    """Which Python a release runs in.

    Attributes:
        python: one there that has edgeproof and is left as it is; empty for one of our own.
        offline: whether all packages are carried along.
        system_packages: whether ours sees the system's packages, such as its OpenCV with GStreamer.
        extras: of edgeproof.
        wheels: packages to carry: file, and where it lies here.
    """

    python: str = ""
    offline: bool = False
    system_packages: bool = False
    extras: tuple[str, ...] = ()
    version: str = ""
    wheels: tuple[tuple[PayloadFile, Path], ...] = ()

    @property
    def key(self) -> str:
        """Names the environment by what is in it; empty for one that is not ours."""
        if self.python:
            return ""
        wheels = sorted(file.sha256 for file, _ in self.wheels)
        options = [self.offline, self.system_packages, *self.extras]
        made_of = json.dumps([self.version, options, wheels])
        return f"py{self.version}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"

    def params(self) -> dict[str, object]:
        """As the steps take it."""
        return {
            "python": self.python,
            "key": self.key,
            "offline": self.offline,
            "system_packages": self.system_packages,
            "extras": list(self.extras),
            "wheels": [file.entry() for file, _ in self.wheels],
            "environment_bytes": _INSTALLED_BYTES,
        }


@dataclass
class Packages:
    """Finds each kind of device's packages once, however many devices there are of it.

    Attributes:
        folder: for the wheels, until the deploy is over.
    """

    folder: Path
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _found: dict[tuple[object, ...], Environment] = field(default_factory=dict)

    def environment(
        self, machine: Machine, extras: tuple[str, ...], *, offline: bool, system_packages: bool
    ) -> Environment:
        """What that machine's environment is made of.

        Raises:
            DeployError: when there are no packages for it, or none can be had.
        """
        for extra in extras:
            if extra not in known_extras():  # pip would pass over it, with a warning
                known = ", ".join(sorted(known_extras() - _NOT_THERE))
                raise DeployError(
                    f"--extras: the edgeproof that is installed here has none that is called "
                    f"{extra!r}, but {known}"
                )
        kind = (machine.architecture, machine.version, machine.glibc, extras)
        with self._lock:
            if kind not in self._found:
                wheels = self._wheels(machine, extras, offline=offline)
                self._found[kind] = Environment(
                    offline=offline,
                    system_packages=system_packages,
                    extras=extras,
                    version=machine.version,
                    wheels=tuple((_payload_file(wheel), wheel) for wheel in wheels),
                )
            return self._found[kind]

    def _wheels(self, machine: Machine, extras: tuple[str, ...], *, offline: bool) -> list[Path]:
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        own = write_own_wheel(folder)
        if not offline:
            return [own]
        pinned = resolve(machine, f"edgeproof{_extras(extras)} @ {own.as_uri()}")
        download(machine, pinned, folder)
        return sorted(folder.glob("*.whl"))


def resolve(machine: Machine, requirement: str) -> list[str]:
    """Which versions that machine needs besides edgeproof, as `name==version`.

    uv answers the markers for the other machine; pip would answer them for this one.

    Raises:
        DeployError: when there are none, or uv is missing.
    """
    if machine.architecture not in _UV_MACHINES:
        raise DeployError(
            f"--offline: there are no wheels of every package for {machine.architecture}; leave "
            "it out, or prepare an environment there and name its Python with --python."
        )
    newest = machine.glibc or _OLDEST_GLIBC
    glibc = max((each for each in _UV_GLIBCS if each <= newest), default=_OLDEST_GLIBC)
    platform = f"{machine.architecture}-manylinux_2_{glibc}"
    command = [sys.executable, "-m", "uv", "pip", "compile", "-", "--quiet", "--no-header"]
    command += ["--no-annotate", "--only-binary=:all:", "--python-platform", platform]
    command += ["--python-version", machine.version]
    done = _run(command, f"{requirement}\npip\n")
    lines = (line.partition(";")[0].strip() for line in done.splitlines())
    return [line for line in lines if line and " @ " not in line and line[0] not in "#-"]


def download(machine: Machine, pinned: Sequence[str], folder: Path) -> None:
    """Fetch those versions' wheels for that machine.

    Raises:
        DeployError: when one has none, or cannot be fetched.
    """
    newest = machine.glibc or _OLDEST_GLIBC
    names = [f"manylinux_2_{n}" for n in range(newest, _OLDEST_GLIBC - 1, -1)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--implementation", "cp"]
    command += ["--python-version", machine.version, "--dest", str(folder)]
    # uv has chosen; of two minds over a package's upper limit for Python, pip would refuse.
    command += ["--ignore-requires-python"]
    for name in (*names, "manylinux2014"):
        command += ["--platform", f"{name}_{machine.architecture}"]
    _run([*command, *pinned])


def _run(command: list[str], told: str = "") -> str:
    done = subprocess.run(command, input=told, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stdout
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    tool = command[2]
    if f"No module named {tool}" in done.stderr:
        raise DeployError(f"--offline needs {tool}: pip install 'edgeproof[deploy]'")
    # From the first complaint on: what it found comes first, which package it is after that.
    first = next((n for n, line in enumerate(lines) if line.startswith(("ERROR", "error"))), 0)
    why = printable(" ".join(lines[first:]) or "failed", 400)
    raise DeployError(f"packages for the device: {tool}: {why}")


def _payload_file(wheel: Path) -> PayloadFile:
    data = wheel.read_bytes()
    return PayloadFile(wheel.name, hashlib.sha256(data).hexdigest(), len(data))


def _extras(extras: tuple[str, ...]) -> str:
    return f"[{','.join(extras)}]" if extras else ""
