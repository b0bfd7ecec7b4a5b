"""What /proc/cpuinfo says, on x86 and on ARM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from devices._reading import clean, whole_number

# Kernel flag -> our name. Only what changes the speed or the choice of a variant.
FEATURES: Mapping[str, str] = {
    "asimd": "neon",
    "neon": "neon",
    "asimdhp": "fp16",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
    "sve2": "sve2",
    "sme": "sme",
    "avx": "avx",
    "f16c": "f16c",
    "fma": "fma",
    "avx2": "avx2",
    "avx_vnni": "avx_vnni",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "amx_int8": "amx_int8",
}

# 64-bit ARM kernels print numbers where x86 prints a name: (implementer, part) -> name.
ARM_CORES: Mapping[tuple[str, str], str] = {
    ("0x41", "0xb76"): "ARM1176",
    ("0x41", "0xc07"): "Cortex-A7",
    ("0x41", "0xc0f"): "Cortex-A15",
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd04"): "Cortex-A35",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd09"): "Cortex-A73",
    ("0x41", "0xd0a"): "Cortex-A75",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd41"): "Cortex-A78",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4f"): "Neoverse-V2",
    ("0x4e", "0x003"): "NVIDIA Denver 2",
    ("0x4e", "0x004"): "NVIDIA Carmel",
}


@dataclass(frozen=True)
class CpuInfo:
    """Facts of one cpuinfo file; None or empty where it does not say."""

    model: str | None
    features: tuple[str, ...]
    architecture: str | None
    logical_cores: int | None
    physical_cores: int | None


def parse_cpuinfo(raw: bytes) -> CpuInfo:
    """Facts from the bytes of /proc/cpuinfo; never raises, whatever the bytes."""
    cores = _core_blocks(raw.decode("utf-8", errors="replace"))
    flags = _flags(cores)
    return CpuInfo(
        model=_model(cores),
        features=tuple(dict.fromkeys(name for flag, name in FEATURES.items() if flag in flags)),
        architecture=_architecture(cores, flags),
        logical_cores=len(cores) or None,
        physical_cores=_physical_cores(cores),
    )


def _core_blocks(text: str) -> list[dict[str, str]]:
    """One dict per `processor : N` line, holding the lines that follow it."""
    cores: list[dict[str, str]] = []
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        key = key.strip()
        if not colon:
            continue
        if key == "processor" and whole_number(value) is not None:
            cores.append({})
        elif cores:
            cores[-1].setdefault(key, value.strip())
    return cores


def _flags(cores: Sequence[Mapping[str, str]]) -> frozenset[str]:
    """Flags of the first core; the kernel shows the same set for every core."""
    first = cores[0] if cores else {}
    return frozenset((first.get("flags") or first.get("Features") or "").split())


def _model(cores: Sequence[Mapping[str, str]]) -> str | None:
    """Name of the CPU; a mix of cores is joined, as in "Cortex-A53 + Cortex-A73"."""
    found: dict[str, None] = {}
    for core in cores:
        part = (core.get("CPU implementer", "").lower(), core.get("CPU part", "").lower())
        name = ARM_CORES.get(part) or clean(core.get("model name", ""))
        if name:
            found[name] = None
    return clean(" + ".join(found))


def _architecture(cores: Sequence[Mapping[str, str]], flags: frozenset[str]) -> str | None:
    """Architecture the kernel runs on, from the flags that only it has."""
    if not cores:
        return None
    if "flags" in cores[0]:
        return "x86_64" if "lm" in flags else "i686"
    if "asimd" in flags:
        return "aarch64"
    if "ARMv6" in cores[0].get("model name", ""):
        return "armv6l"
    if flags & {"neon", "vfpv3", "vfpv4", "thumb"}:
        return "armv7l"
    return None


def _physical_cores(cores: Sequence[Mapping[str, str]]) -> int | None:
    """Cores without their hyper-threads; None where cpuinfo has no topology (as on ARM)."""
    places = {(core.get("physical id"), core.get("core id")) for core in cores}
    if not places or any(None in place for place in places):
        return None
    return len(places)
