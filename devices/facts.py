"""Which machine is this? Facts read from the system, under a root folder that tests can replace."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from devices._accelerators import Jetson, accelerators, jetson
from devices._cpuinfo import CpuInfo, parse_cpuinfo
from devices._reading import MOST_MEMORY_KIB, clean, names_in, read_bytes, read_text, whole_number

CPUINFO_BYTES = 1 << 20  # a 512-core x86 server stays below

# Firmware that was never filled in says one of these (compared in lower case).
_NO_NAME = {"to be filled by o.e.m.", "system product name", "default string", "none", "o.e.m."}
_NO_NAME |= {"system manufacturer", "not specified", "unknown", "product name"}

# Video nodes of these drivers are codecs and image processors, not cameras.
_NOT_CAMERAS = ("codec", "-isp", "pispbe", "hevc", "vdec", "venc", "jpeg", "m2m", "rga")

_MACHINE_NAMES = {
    "amd64": "x86_64",
    "x64": "x86_64",
    "arm64": "aarch64",
    "armv8l": "armv7l",  # a 32-bit process on a 64-bit kernel
    "i386": "i686",
    "i586": "i686",
}
_32_BIT = {"x86_64": "i686", "aarch64": "armv7l"}


@dataclass(frozen=True)
class Camera:
    """One video capture node.

    Attributes:
        path: device node as the running system names it, e.g. "/dev/video0".
        name: what its driver calls it; None when the driver does not say.
    """

    path: str
    name: str | None


@dataclass(frozen=True)
class Device:
    """Facts about one machine. A fact that could not be read is None (or empty), never a guess.

    Attributes:
        model: board or product, e.g. "Raspberry Pi 5 Model B Rev 1.0".
        compatible: device-tree names, most exact first; empty on PCs.
        architecture: of the programs that run: "x86_64", "aarch64", "armv7l", ...
        cpu_model: e.g. "Cortex-A76".
        cpu_features: those that matter to inference, e.g. ("neon", "fp16", "dotprod").
        logical_cores: cores the machine shows, hyper-threads counted.
        physical_cores: cores without hyper-threads.
        usable_cores: cores this process may use (affinity and container limits applied).
        memory_bytes: main memory.
        os_name: e.g. "Debian GNU/Linux 12 (bookworm)".
        python_version: of the running interpreter, e.g. "3.11.2".
        cameras: video capture nodes.
        accelerators: by name; one whose driver is not loaded says so.
        soc: system on a chip, e.g. "BCM2712" or "Tegra234"; None on PCs.
        jetson: what of JetPack is on a Jetson; None on every other machine.
    """

    model: str | None = None
    compatible: tuple[str, ...] = ()
    architecture: str | None = None
    cpu_model: str | None = None
    cpu_features: tuple[str, ...] = ()
    logical_cores: int | None = None
    physical_cores: int | None = None
    usable_cores: int | None = None
    memory_bytes: int | None = None
    os_name: str | None = None
    python_version: str = ""
    cameras: tuple[Camera, ...] = ()
    accelerators: tuple[str, ...] = ()
    soc: str | None = None
    jetson: Jetson | None = None

    def as_dict(self) -> dict[str, Any]:
        """The facts as plain values, ready for JSON."""
        return asdict(self)


def detect(root: Path = Path("/")) -> Device:
    """Read the facts of the machine whose file system starts at `root`.

    Files that are missing, locked or garbage are passed over: their fact is None or empty. Under
    any other root than "/" only files count, so that a test sees the machine it has built.

    Args:
        root: "/" for this machine.
    """
    root = Path(root)
    here = root == Path("/")
    cpu = parse_cpuinfo(read_bytes(root / "proc/cpuinfo", CPUINFO_BYTES))
    compatible = _compatible(root)
    logical_cores = cpu.logical_cores or (os.cpu_count() if here else None)
    return Device(
        model=_board_model(root),
        compatible=compatible,
        architecture=_own_architecture() if here else cpu.architecture,
        cpu_model=cpu.model,
        cpu_features=cpu.features,
        logical_cores=logical_cores,
        physical_cores=cpu.physical_cores or logical_cores,
        usable_cores=_usable_cores(root, cpu, here),
        memory_bytes=_memory_bytes(root),
        os_name=_os_name(root),
        python_version=platform.python_version(),
        cameras=_cameras(root),
        accelerators=accelerators(root),
        soc=_soc(compatible),
        jetson=jetson(root),
    )


def normalised_architecture(machine: str) -> str | None:
    """One name per architecture, whatever the system calls it: "AMD64" -> "x86_64"."""
    machine = machine.strip().lower()
    return _MACHINE_NAMES.get(machine, machine) or None


def _own_architecture() -> str | None:
    """Of this interpreter, not of the kernel: Raspberry Pi OS runs 32-bit programs on a 64-bit
    kernel, and it is the program's architecture that decides which engines can be installed."""
    kernel = normalised_architecture(platform.machine())
    return _32_BIT.get(kernel or "", kernel) if sys.maxsize < 2**32 else kernel


def _device_tree(root: Path, name: str, limit_bytes: int = 4096) -> bytes:
    for folder in ("proc/device-tree", "sys/firmware/devicetree/base"):
        if raw := read_bytes(root / folder / name, limit_bytes):
            return raw
    return b""


def _board_model(root: Path) -> str | None:
    return clean(_device_tree(root, "model")) or _dmi_model(root)


def _dmi_model(root: Path) -> str | None:
    """ "Vendor Product" of a PC, without the fillers of unfinished firmware."""
    dmi = root / "sys/class/dmi/id"
    vendor, product, board = (
        _named(read_text(dmi / name)) for name in ("sys_vendor", "product_name", "board_name")
    )
    product = product or board
    if not product or not vendor or product.lower().startswith(vendor.lower()):
        return product
    return f"{vendor} {product}"


def _named(text: str | None) -> str | None:
    return text if text and text.lower() not in _NO_NAME else None


def _compatible(root: Path) -> tuple[str, ...]:
    parts = _device_tree(root, "compatible").split(b"\0")
    return tuple(name for part in parts[:32] if (name := clean(part)))


def _soc(compatible: tuple[str, ...]) -> str | None:
    """The last, least exact name of a device tree is the chip's: "brcm,bcm2712" -> "BCM2712"."""
    _, comma, chip = (compatible[-1] if compatible else "").partition(",")
    if not comma or not chip:
        return None
    return chip.capitalize() if chip.startswith("tegra") else chip.upper()


def _usable_cores(root: Path, cpu: CpuInfo, here: bool) -> int | None:
    cores = cpu.logical_cores
    if here:
        affinity = getattr(os, "sched_getaffinity", None)  # Linux only
        cores = len(affinity(0)) if affinity else os.cpu_count()
    quota = _cgroup_cores(root)
    return min(cores, quota) if cores and quota else cores


def _cgroup_cores(root: Path) -> int | None:
    """Whole cores that a container's CPU quota allows (cgroup v2), at least one."""
    fields = (read_text(root / "sys/fs/cgroup/cpu.max") or "").split()
    quota_us, period_us = (whole_number(field) for field in [*fields, "", ""][:2])
    return max(1, quota_us // period_us) if quota_us and period_us else None


def _memory_bytes(root: Path) -> int | None:
    for line in read_bytes(root / "proc/meminfo").splitlines():
        if line.startswith(b"MemTotal:"):
            fields = line.decode("utf-8", errors="replace").split()
            kibibytes = (whole_number(fields[1]) if len(fields) > 1 else None) or 0
            return kibibytes * 1024 if 0 < kibibytes <= MOST_MEMORY_KIB else None
    return None


def _os_name(root: Path) -> str | None:
    for place in ("etc/os-release", "usr/lib/os-release"):
        for line in read_bytes(root / place).decode("utf-8", errors="replace").splitlines():
            key, _, value = line.partition("=")
            if key.strip() == "PRETTY_NAME":
                return clean(value.strip().strip("\"'"))
    return None


def _cameras(root: Path) -> tuple[Camera, ...]:
    numbers = [whole_number(name[5:]) for name in names_in(root / "dev") if name[:5] == "video"]
    found = (_camera(root, number) for number in sorted(n for n in numbers if n is not None))
    return tuple(camera for camera in found if camera)


def _camera(root: Path, number: int) -> Camera | None:
    """The camera behind /dev/videoN; None for codecs and for a camera's metadata node."""
    about = root / f"sys/class/video4linux/video{number}"
    name = read_text(about / "name")
    if any(word in (name or "").lower() for word in _NOT_CAMERAS):
        return None
    if whole_number(read_text(about / "index")):  # 0 is the pictures; 1 and up go with them
        return None
    return Camera(f"/dev/video{number}", name)
