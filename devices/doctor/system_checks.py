"""Checks of the machine: cameras, power, heat, memory, disk and clock."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from devices import _sensors
from devices._reading import read_bytes, read_text, whole_number
from devices.doctor.finding import Finding, Patient

HOT_C = 80.0  # a Raspberry Pi slows down at 80 to 85, a Jetson at about 95
SMALL_MEMORY_BYTES = 1_200_000_000
RUN_MEMORY_BYTES = 160 << 20  # `edgeproof run` on a small model
FREE_DISK_BYTES = 200 << 20
# Nobody runs this before it was written: such a clock was never set.
OLDEST_CLOCK_S = 1_767_225_600  # 2026-01-01 UTC
_POWERSAVE_IS_FINE = {"intel_pstate", "amd-pstate-epp", "amd_pstate_epp"}


def check_profile(patient: Patient) -> Iterator[Finding]:
    """Whether the board is a known one."""
    model = patient.device.model or "this machine"
    if patient.broken_profile:
        remedy = "mend that file or move it away: until then no command knows a profile"
        yield Finding("board", "problem", patient.broken_profile, remedy)
    elif patient.profile is None:
        remedy = "name one with --profile, or write one: docs/devices.md"
        yield Finding("board", "warning", f"no profile suits {model}", remedy)
    elif patient.profile.name.startswith("generic_"):
        found = f"{model} has no profile of its own; {patient.profile.name} is used, its threads "
        remedy = "measure with edgeproof bench, or write a profile: docs/devices.md"
        yield Finding("board", "note", f"{found}are a guess", remedy)
    else:
        yield Finding("board", "ok", f"{model}: {patient.profile.name}")


def check_cameras(patient: Patient) -> Iterator[Finding]:
    """Cameras that are there, and whether this user may open them."""
    if not patient.device.cameras:
        yield Finding("camera", "note", "no V4L2 camera (CSI cameras may be there all the same)")
    for camera in patient.device.cameras:
        node = patient.root / camera.path.lstrip("/")
        name = f"{camera.path} ({camera.name or 'no name'})"
        if _may_use(node, patient):
            yield Finding("camera", "ok", name)
        else:
            remedy = 'sudo usermod -aG video "$USER", then log in again'
            yield Finding("camera", "problem", f"{name}: no permission for this user", remedy)


def check_power(patient: Patient) -> Iterator[Finding]:
    """A weak supply slows a board down, and corrupts cards."""
    now, before = patient.health.throttling, patient.health.throttled_before
    remedy = "use the board's own power supply and a short cable; unplug what draws power"
    if "under-voltage" in now:
        yield Finding("power", "problem", "under-voltage: the supply is too weak", remedy)
    elif "under-voltage" in before:
        yield Finding("power", "warning", "there was under-voltage since the start", remedy)
    else:
        yield Finding("power", "ok", "no under-voltage is told")


def check_heat(patient: Patient) -> Iterator[Finding]:
    """Whether the machine is slowed down, or about to be."""
    health = patient.health
    slowed = [each for each in health.throttling if each != "under-voltage"]
    earlier = [each for each in health.throttled_before if each != "under-voltage"]
    hottest = health.hottest_c
    warm = f"{hottest:.0f} °C at most" if hottest is not None else "no temperature is told"
    cool = "give it a heat sink or a fan; see `edgeproof bench --sustained`"
    limited = [each for each in slowed if " limited to " in each]
    if len(slowed) > len(limited):
        others = ", ".join(each for each in slowed if each not in limited)
        yield Finding("heat", "warning", f"slowed down now: {others} ({warm})", cool)
    elif hottest is not None and hottest >= HOT_C:
        yield Finding("heat", "warning", f"hot: {warm}", cool)
    elif earlier:
        text = f"slowed down since the start: {', '.join(earlier)} ({warm})"
        yield Finding("heat", "warning", text, cool)
    else:
        yield Finding("heat", "ok", warm)
    if limited:
        remedy = "on a Jetson: sudo nvpmodel -m 0; else see cpupower frequency-info"
        yield Finding("clock-limit", "note", ", ".join(limited), remedy)


def check_governor(patient: Patient) -> Iterator[Finding]:
    """What decides on the processor's clock."""
    for policy in _sensors.cpu_policies(patient.root)[:1]:
        governor = read_text(policy / "scaling_governor")
        driver = read_text(policy / "scaling_driver")
        if governor == "powersave" and driver not in _POWERSAVE_IS_FINE:
            files = "/sys/devices/system/cpu/cpufreq/policy*/scaling_governor"
            remedy = f"echo ondemand | sudo tee {files}"
            yield Finding("governor", "warning", "powersave: always the lowest clock", remedy)
        elif governor:
            yield Finding("governor", "ok", governor)


def check_swap(patient: Patient) -> Iterator[Finding]:
    """Little memory without swap ends in a killed process."""
    total, free = (_meminfo(patient.root, name) for name in ("SwapTotal", "SwapFree"))
    memory = patient.device.memory_bytes
    if total is None or memory is None:
        return
    if total == 0 and memory < SMALL_MEMORY_BYTES:
        remedy = "sudo apt install zram-tools (compressed swap in memory, spares the card)"
        found = f"{memory >> 20} MiB of memory and no swap"
        yield Finding("swap", "warning", found, remedy)
    elif total and free is not None and free < total // 4:
        remedy = "close other programs, or choose a smaller model"
        yield Finding("swap", "warning", f"swap is nearly full: {free >> 20} MiB free", remedy)
    else:
        yield Finding("swap", "ok", f"{total >> 20} MiB")


def check_cache(patient: Patient) -> Iterator[Finding]:
    """Engines keep what they compile in the user's cache."""
    folder = cache_folder(patient)
    place = next((p for p in [folder, *folder.parents] if _exists(p)), Path("/"))
    if _is_writable_folder(place, patient):
        yield Finding("cache", "ok", str(folder))
    else:
        remedy = f'sudo mkdir -p {folder} && sudo chown -R "$USER" {folder}'
        if not place.is_dir():
            remedy = f"{place} is a file: remove it, or set XDG_CACHE_HOME to a folder"
        yield Finding("cache", "warning", f"{folder} cannot be written", remedy)


def cache_folder(patient: Patient) -> Path:
    """Where edgeproof keeps what can be made again: $XDG_CACHE_HOME/edgeproof or ~/.cache."""
    configured = Path(patient.environment.get("XDG_CACHE_HOME", ""))
    if not configured.is_absolute():
        configured = Path(patient.environment.get("HOME") or "/") / ".cache"
    return configured / "edgeproof"


def check_clock(patient: Patient) -> Iterator[Finding]:
    """A board without a battery starts in the past: certificates fail, timestamps lie."""
    today = time.strftime("%Y-%m-%d", time.gmtime(max(0, patient.now_s)))
    remedy = "sudo timedatectl set-ntp true"
    timesync = patient.root / "run/systemd/timesync"
    if patient.now_s < OLDEST_CLOCK_S:
        yield Finding("clock", "problem", f"the clock says {today}: it was never set", remedy)
    elif _exists(timesync) and not _exists(timesync / "synchronized"):
        found = f"{today}, but not synchronized since the start"
        yield Finding("clock", "warning", found, remedy)
    else:
        yield Finding("clock", "ok", today)


def check_disk(patient: Patient) -> Iterator[Finding]:
    """Free space, against what a bundle needs."""
    free = patient.free_bytes
    if free is None:
        return
    need = max(FREE_DISK_BYTES, patient.needs.disk_bytes if patient.needs else 0)
    found = f"{free / 2**30:.1f} GiB free"
    remedy = "free some: sudo apt clean; journalctl --vacuum-size=100M"
    if free < need:
        wants = f"{patient.needs.name if patient.needs else 'edgeproof'} wants {need >> 20} MiB"
        yield Finding("disk", "problem", f"{found}; {wants}", remedy)
    else:
        yield Finding("disk", "ok", found)


def check_memory(patient: Patient) -> Iterator[Finding]:
    """Memory that is free now, against what a bundle needs."""
    available = patient.health.memory_available_bytes
    if available is None:
        return
    need = patient.needs.memory_bytes if patient.needs else RUN_MEMORY_BYTES
    who = patient.needs.name if patient.needs else "a small model"
    found = f"{available >> 20} MiB available; {who} wants about {need >> 20} MiB"
    if available < need:
        remedy = "close the desktop and other programs (sudo systemctl isolate multi-user.target)"
        yield Finding("memory", "problem" if patient.needs else "warning", found, remedy)
    else:
        yield Finding("memory", "ok", found)


def _may_use(node: Path, patient: Patient) -> bool:
    """Whether the user may read and write a node, by its owner, group and mode."""
    try:
        about = node.stat()
    except OSError:
        return False
    return _allowed(about, patient, stat.S_IRUSR | stat.S_IWUSR)


def _is_writable_folder(folder: Path, patient: Patient) -> bool:
    try:
        about = folder.stat()
    except OSError:
        return False
    return stat.S_ISDIR(about.st_mode) and _allowed(about, patient, stat.S_IWUSR | stat.S_IXUSR)


def _allowed(about: os.stat_result, patient: Patient, wanted: int) -> bool:
    """Whether the permissions give what is wanted, named as the owner's."""
    if patient.user == 0:
        return True
    if about.st_uid == patient.user:
        return about.st_mode & wanted == wanted
    shift = 3 if about.st_gid in patient.groups else 6
    return about.st_mode & (wanted >> shift) == wanted >> shift


def _meminfo(root: Path, name: str) -> int | None:
    for line in read_bytes(root / "proc/meminfo").splitlines():
        key, _, rest = line.decode("utf-8", errors="replace").partition(":")
        if key == name:
            kibibytes = whole_number(rest.replace("kB", ""))
            return None if kibibytes is None else kibibytes * 1024
    return None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False
