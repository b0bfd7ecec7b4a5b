"""Fixture machines: small folders that look like the root of a board's file system."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from boards import write_files

ARM_FLAGS = "fp asimd evtstrm aes pmull sha1 sha2 crc32"
X86_FLAGS = "fpu vme lm sse4_2 fma avx f16c avx2"


def arm_cpuinfo(
    part: str = "0xd0b", flags: str = ARM_FLAGS, cores: int = 4, implementer: str = "0x41"
) -> str:
    one = (
        "processor\t: {n}\nBogoMIPS\t: 108.00\nFeatures\t: {flags}\nCPU implementer\t: {who}\n"
        "CPU architecture: 8\nCPU variant\t: 0x4\nCPU part\t: {part}\nCPU revision\t: 1\n\n"
    )
    return "".join(one.format(n=n, flags=flags, who=implementer, part=part) for n in range(cores))


def x86_cpuinfo(flags: str = X86_FLAGS, cores: int = 2, threads_per_core: int = 2) -> str:
    one = (
        "processor\t: {n}\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Core(TM) i3\n"
        "physical id\t: 0\ncore id\t\t: {core}\nflags\t\t: {flags}\n\n"
    )
    logical = range(cores * threads_per_core)
    return "".join(one.format(n=n, core=n // threads_per_core, flags=flags) for n in logical)


def make_board(root: Path, model: str, *compatible: str, cpuinfo: str | None = None) -> Path:
    """A device-tree board: its strings end in NUL, as the kernel writes them."""
    return write_files(
        root,
        {
            "proc/device-tree/model": model.encode() + b"\0",
            "proc/device-tree/compatible": b"".join(name.encode() + b"\0" for name in compatible),
            "proc/cpuinfo": arm_cpuinfo() if cpuinfo is None else cpuinfo,
            "proc/meminfo": "MemTotal:        8245680 kB\nMemFree:         6000000 kB\n",
            "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
        },
    )


@pytest.fixture(autouse=True)
def own_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for a user's profiles, not there yet; never that of who runs tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "edgeproof" / "profiles"


@pytest.fixture
def board(tmp_path: Path) -> Callable[..., Path]:
    """Makes one device-tree board: `board(model, *compatible, cpuinfo=...)` -> its root."""
    return lambda model, *names, **rest: make_board(tmp_path / "root", model, *names, **rest)


@pytest.fixture
def machine(tmp_path: Path) -> Callable[[dict[str, str | bytes]], Path]:
    """Makes one machine of the files given: `machine({"proc/cpuinfo": ...})` -> its root."""
    return lambda files: write_files(tmp_path / "root", files)


@pytest.fixture
def cpuinfo_arm() -> Callable[..., str]:
    return arm_cpuinfo


@pytest.fixture
def cpuinfo_x86() -> Callable[..., str]:
    return x86_cpuinfo
