"""What slows a machine down, in words: now, and at some time since it was started."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from devices import _sensors
from devices._reading import is_file, read_bytes

# Bit -> what it says; 16 bits up, that it was so at some time since the start.
# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
RASPBERRY_PI_BITS: Mapping[int, str] = {
    0: "under-voltage",
    1: "clock capped",
    2: "throttled",
    3: "soft temperature limit",
}
_SINCE_START = 16

# Kernels put the firmware's node below the bus, whose name differs between chips, or beside it.
_FIRMWARE_FILES = ("soc*/*firmware/get_throttled", "*firmware/get_throttled")
_VCGENCMD = ("usr/bin/vcgencmd", "opt/vc/bin/vcgencmd")
_VCGENCMD_LIMIT_S = 2.0
_VCGENCMD_EVERY_S = 5.0


class Throttling:
    """The flags of one machine: found once, read often."""

    def __init__(self, root: Path) -> None:
        self._slowing = _sensors.slowing_devices(root)
        self._alarms = _sensors.voltage_alarms(root)
        self._limits = [
            (f"cpu{policy.name[6:]}", str(policy / "scaling_max_freq"), most)
            for policy in _sensors.cpu_policies(root)
            if (most := _sensors.integer(read_bytes(policy / "cpuinfo_max_freq")))
        ]
        self._counters = _throttle_counters(root)
        self._firmware = _firmware(root)

    def read(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What slows the machine now, and what did at some time since its start."""
        bits = self._firmware.read() if self._firmware else 0
        now = [text for bit, text in RASPBERRY_PI_BITS.items() if bits >> bit & 1]
        before = [text for bit, text in RASPBERRY_PI_BITS.items() if bits >> bit + _SINCE_START & 1]
        if any(_sensors.integer(_sensors.read_now(path)) == 1 for path in self._alarms):
            now.append("under-voltage")
        for name, path in self._slowing:
            if (_sensors.integer(_sensors.read_now(path)) or 0) > 0:
                now.append(f"cooling by {name}")
        for name, path, most in self._limits:
            limit = _sensors.integer(_sensors.read_now(path))
            if limit is not None and 0 < limit < most:
                now.append(f"{name} limited to {limit // 1000} of {most // 1000} MHz")
        if any((_sensors.integer(_sensors.read_now(path)) or 0) > 0 for path in self._counters):
            before.append("throttled")
        return tuple(dict.fromkeys(now)), tuple(dict.fromkeys(before))


class _FirmwareFile:
    """The flags in a file of sysfs: hexadecimal, without 0x."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def read(self) -> int:
        return _hexadecimal(_sensors.read_now(self._path))


class _Vcgencmd:
    """The flags from Raspberry Pi's program, for kernels that have no file of them.

    It takes milliseconds, so it is run again beside the samples, which take its last answer.
    """

    def __init__(self, program: Path) -> None:
        self._program = program
        self._bits = 0
        self._running: threading.Thread | None = None
        self._ask()

    def read(self) -> int:
        stale = time.monotonic() - self._asked_s > _VCGENCMD_EVERY_S
        if stale and not (self._running and self._running.is_alive()):
            self._running = threading.Thread(target=self._ask, name="vcgencmd", daemon=True)
            self._running.start()
        return self._bits

    def _ask(self) -> None:
        import subprocess  # for boards without the file only

        self._asked_s = time.monotonic()
        try:
            done = subprocess.run(
                [str(self._program), "get_throttled"],
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=_VCGENCMD_LIMIT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return  # not permitted, or hung: the last answer stands
        name, _, flags = done.stdout.partition(b"=")
        self._bits = _hexadecimal(flags) if name == b"throttled" else 0


def _firmware(root: Path) -> _FirmwareFile | _Vcgencmd | None:
    with contextlib.suppress(OSError):
        for pattern in _FIRMWARE_FILES:
            for file in sorted((root / "sys/devices/platform").glob(pattern)):
                return _FirmwareFile(file)
    for name in _VCGENCMD:
        if is_file(root / name):
            return _Vcgencmd(root / name)
    return None


def _hexadecimal(raw: bytes) -> int:
    """The flags; 0 where there is no number of at most 32 bits."""
    digits = raw.strip().lower().removeprefix(b"0x")
    return int(digits, 16) if re.fullmatch(rb"[0-9a-f]{1,8}", digits) else 0


def _throttle_counters(root: Path) -> tuple[str, ...]:
    """Counters of a PC's processor; the package's is one for all of its cores."""
    name = "thermal_throttle/package_throttle_count"
    counter = root / "sys/devices/system/cpu/cpu0" / name
    return (str(counter),) if is_file(counter) else ()
