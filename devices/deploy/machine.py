"""What a device says before anything is done to it, and whether it can take a release."""

from __future__ import annotations

import importlib.resources
import re
import time
from dataclasses import dataclass

from devices.deploy.connection import Connection
from devices.deploy.errors import ConnectionFailed, DeployError
from devices.deploy.text import printable
from devices.facts import normalised_architecture

_MARK = "EDGEPROOF "


@dataclass(frozen=True)
class Machine:
    """Facts about a device at the other end of a connection.

    Attributes:
        architecture: of its Python's programs, e.g. "aarch64".
        python: path of a Python that suits edgeproof; empty when there is none.
        version: of that Python, e.g. "3.11".
        kind: of its compiled code: what another Python of this kind compiled, it can run.
        other: version of a Python that does not suit, if there is just that.
        glibc: its C library's minor version (2.x); None for another library.
        clock_off_s: how far its clock is ahead of this machine's; negative when behind.
    """

    architecture: str
    system: str
    python: str
    version: str
    other: str
    glibc: int | None
    clock_off_s: float
    home: str
    user: str
    kind: str = ""

    def require(self, where: str, *, architectures: frozenset[str], max_clock_off_s: float) -> None:
        """Refuse a device before anything is changed there.

        Raises:
            DeployError: when it cannot run what is to be deployed.
        """
        if self.system != "Linux":
            raise DeployError(f"{where}: runs {self.system or 'no known system'}, not Linux.")
        if self.architecture not in architectures:
            known = ", ".join(sorted(architectures))
            raise DeployError(
                f"{where}: is {self.architecture or 'of no known architecture'}, for which there "
                f"is no engine; there is for {known}."
            )
        if not self.python:
            has = f"has Python {self.other}" if self.other else "has no Python"
            raise DeployError(
                f"{where}: {has}; edgeproof needs 3.10 to 3.13: sudo apt install python3 "
                "python3-venv there."
            )
        if abs(self.clock_off_s) > max_clock_off_s:
            way = "ahead" if self.clock_off_s > 0 else "behind"
            raise DeployError(
                f"{where}: its clock is {_long(abs(self.clock_off_s))} {way}; set it there (sudo "
                "timedatectl set-ntp true), or allow it with --max-clock-off SECONDS."
            )


def probe(connection: Connection) -> Machine:
    """Ask, in plain sh.

    Raises:
        ConnectionFailed: when there is no answer.
    """
    script = importlib.resources.files("devices.deploy.remote") / "probe.sh"
    found: dict[str, str] = {}

    def take(line: str) -> None:
        if line.startswith(_MARK):
            key, _, value = line.removeprefix(_MARK).partition("=")
            found.setdefault(key, printable(value, 200))

    asked_s = time.time()
    connection.converse("exec sh -s", [script.read_bytes()], take)
    if "end" not in found:
        raise ConnectionFailed(f"{connection.address.text}: has no shell that answers.")
    now_s = (asked_s + time.time()) / 2
    return Machine(
        architecture=_architecture(found.get("machine", ""), found.get("bits", "")),
        system=found.get("system", ""),
        python=found.get("python", ""),
        version=found.get("version", ""),
        other=found.get("other", ""),
        glibc=_minor(found.get("libc", "")),
        clock_off_s=_number(found.get("time", "")) - now_s,
        home=found.get("home", ""),
        user=found.get("user", ""),
        kind=found.get("kind", ""),
    )


def _architecture(machine: str, bits: str) -> str:
    """Raspberry Pi OS runs 32-bit programs on a 64-bit kernel: Python's word counts."""
    name = normalised_architecture(machine) or ""
    return {"aarch64": "armv7l", "x86_64": "i686"}.get(name, name) if bits == "32" else name


def _minor(libc: str) -> int | None:
    name, _, version = libc.partition(" ")
    major, _, minor = version.partition(".")
    known = name == "glibc" and major == "2" and re.fullmatch("[0-9]{1,4}", minor)
    return int(minor) if known else None


def _number(text: str) -> float:
    return float(text) if re.fullmatch("[0-9]{1,15}", text) else 0.0


def _long(seconds: float) -> str:
    if seconds < 7200:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.0f} hours" if seconds < 172800 else f"{seconds / 86400:.0f} days"
