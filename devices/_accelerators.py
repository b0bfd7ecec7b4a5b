"""Accelerators that a machine has, and what of NVIDIA's JetPack is on a Jetson."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from devices._reading import clean, names_in, read_bytes, read_text

# File under the root -> accelerator that its driver announces.
_NODES: Mapping[str, str] = {
    "dev/apex_0": "Coral Edge TPU (PCIe)",
    "dev/hailo0": "Hailo",
    "dev/nvhost-gpu": "NVIDIA Tegra GPU",  # JetPack 4 and 5
    "dev/nvgpu/igpu0": "NVIDIA Tegra GPU",  # JetPack 6
    "dev/nvidia0": "NVIDIA GPU",
    "dev/dri/renderD128": "GPU (DRM)",
}
# (vendor, product) of USB: before its first use a Coral calls itself Global Unichip Corp.
_USB: Mapping[tuple[str, str], str] = {
    ("1a6e", "089a"): "Coral Edge TPU (USB)",
    ("18d1", "9302"): "Coral Edge TPU (USB)",
}
# (vendor, device) of PCI -> name, and the node that its driver would make.
_PCI: Mapping[tuple[str, str], tuple[str, str]] = {
    ("0x1ac1", "0x089a"): ("Coral Edge TPU (PCIe)", "dev/apex_0"),
    ("0x1e60", "0x2864"): ("Hailo", "dev/hailo0"),
}

# Jetson Linux -> JetPack, https://developer.nvidia.com/embedded/jetpack-archive; the longest that
# the release starts with counts.
_JETPACK: Mapping[str, str] = {
    "32.": "4",
    "32.5.": "4.5",
    "32.6.": "4.6",
    "32.7.": "4.6.1 or newer",
    "34.": "5 (preview)",
    "35.": "5",
    "35.1.": "5.0.2",
    "35.2.": "5.1",
    "35.3.": "5.1.1",
    "35.4.": "5.1.2",
    "35.5.": "5.1.3",
    "35.6.": "5.1.4",
    "36.": "6",
    "36.2.": "6.0 (preview)",
    "36.3.": "6.0",
    "36.4.0": "6.1",
    "36.4.": "6.2",
    "38.": "7",
}
_LIBRARIES = ("usr/lib/aarch64-linux-gnu", "usr/lib/x86_64-linux-gnu")


@dataclass(frozen=True)
class Jetson:
    """NVIDIA's software on a Jetson; None where it is not installed or does not say.

    Attributes:
        l4t: Jetson Linux (L4T), e.g. "36.4.3".
        jetpack: the JetPack that it belongs to, e.g. "6.2".
        cuda: CUDA toolkit, e.g. "12.6.11".
        tensorrt: TensorRT, e.g. "10.3.0".
    """

    l4t: str | None = None
    jetpack: str | None = None
    cuda: str | None = None
    tensorrt: str | None = None


def accelerators(root: Path) -> tuple[str, ...]:
    """Names of the accelerators; one whose driver is not loaded says so."""
    found = dict.fromkeys(name for node, name in _NODES.items() if exists(root / node))
    found |= dict.fromkeys(_usb(root))
    found |= dict.fromkeys(_pci(root))
    return tuple(found)


def jetson(root: Path) -> Jetson | None:
    """What a Jetson's software is; None on every other machine."""
    text = read_bytes(root / "etc/nv_tegra_release").decode("utf-8", errors="replace")
    release = re.search(r"R(\d{1,3}) \(release\), REVISION: (\d{1,3}(?:\.\d{1,3}){0,2})", text)
    if not release and not any(exists(root / n) for n in ("dev/nvhost-gpu", "dev/nvgpu/igpu0")):
        return None
    l4t = f"{release[1]}.{release[2]}" if release else None
    return Jetson(l4t, _jetpack(l4t), _cuda(root), _tensorrt(root))


def exists(path: Path) -> bool:
    """Whether something is there that may be seen."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _usb(root: Path) -> Iterator[str]:
    folder = root / "sys/bus/usb/devices"
    for device in names_in(folder):
        ids = (read_text(folder / device / "idVendor"), read_text(folder / device / "idProduct"))
        if name := _USB.get((ids[0] or "", ids[1] or "")):
            yield name


def _pci(root: Path) -> Iterator[str]:
    folder = root / "sys/bus/pci/devices"
    for device in names_in(folder):
        ids = (read_text(folder / device / "vendor"), read_text(folder / device / "device"))
        if known := _PCI.get((ids[0] or "", ids[1] or "")):
            name, node = known
            yield name if exists(root / node) else f"{name}: its driver is not loaded"


def _jetpack(l4t: str | None) -> str | None:
    fitting = [start for start in _JETPACK if f"{l4t}.".startswith(start)]
    return _JETPACK[max(fitting, key=len)] if l4t and fitting else None


def _cuda(root: Path) -> str | None:
    raw = read_bytes(root / "usr/local/cuda/version.json", 1 << 16)
    try:
        version = json.loads(raw)["cuda"]["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        text = read_text(root / "usr/local/cuda/version.txt") or ""
        old = re.search(r"CUDA Version (\d[\d.]*)", text)
        return old[1] if old else None
    return clean(version) if isinstance(version, str) else None


def _tensorrt(root: Path) -> str | None:
    for folder in _LIBRARIES:
        names = " ".join(names_in(root / folder, limit=20_000))
        if library := re.search(r"\blibnvinfer\.so\.(\d+\.\d+\.\d+)\b", names):
            return library[1]
    header = read_bytes(root / "usr/include/aarch64-linux-gnu/NvInferVersion.h", 1 << 16)
    parts = [
        re.search(rb"#define NV_TENSORRT_%s\s+(\d{1,4})" % part, header)
        for part in (b"MAJOR", b"MINOR", b"PATCH")
    ]
    return ".".join(part[1].decode() for part in parts if part) if all(parts) else None
