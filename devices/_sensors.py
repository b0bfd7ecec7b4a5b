"""Where a machine's sensors are, found once; reading one is an open, a read and a close."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from devices._reading import is_file, names_in, read_text, whole_number

# What is outside is a broken sensor, not a hot or a fast one.
TEMPERATURE_C = (-55.0, 150.0)
CLOCK_MHZ = (1.0, 10_000.0)
POWER_W = (0.0, 1_000.0)

_T = TypeVar("_T")

_MAX_POLICIES = 16  # a server with a policy for each of 128 cores would take milliseconds
_CPU_CHIPS = {"coretemp", "k10temp", "zenpower"}
_GPU_NAMES = ("gpu", "gv11b", "gp10b", "ga10b")
# Cooling devices that cool by working less; the others are fans.
_SLOWING = ("cpufreq", "devfreq", "processor", "throttle", "balanced", "hot-surface")


@dataclass(frozen=True)
class Sensor:
    """One figure, as a file's whole number or as the product of two.

    Attributes:
        name: what the system calls it.
        paths: the files.
        factor: from their (product's) unit to ours.
        limits: the lowest and the highest value that is not nonsense.
    """

    name: str
    paths: tuple[str, ...]
    factor: float
    limits: tuple[float, float]

    def read(self) -> float | None:
        """The value; None when it cannot be read or is nonsense."""
        value = self.factor
        for path in self.paths:
            number = integer(read_now(path))
            if number is None:
                return None
            value *= number
        return value if self.limits[0] <= value <= self.limits[1] else None


def read_now(path: str) -> bytes:
    """A small file's bytes; empty when it cannot be read now. A pipe is never waited for."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return b""
    try:
        return os.read(file, 4096)
    except OSError:  # a sensor that is asleep or unplugged
        return b""
    finally:
        os.close(file)


def integer(raw: bytes) -> int | None:
    """The whole number, also a negative one, that a file holds; None for anything else."""
    text = raw.strip()
    digits = text[1:] if text[:1] == b"-" else text
    return int(text) if len(digits) <= 18 and digits.isdigit() else None


def temperature_sensors(root: Path) -> tuple[Sensor, ...]:
    """The kernel's thermal zones, and the processor's own sensors on a PC."""
    zones = root / "sys/class/thermal"
    found = [
        (read_text(zones / zone / "type") or zone, zones / zone / "temp")
        for zone in _numbered(zones, "thermal_zone")
    ]
    for chip in _hwmon(root, _CPU_CHIPS):
        for number in _numbers(chip, r"temp(\d+)_input"):
            label = read_text(chip / f"temp{number}_label") or read_text(chip / "name") or chip.name
            found.append((label, chip / f"temp{number}_input"))
    return tuple(
        Sensor(name, (str(path),), 1e-3, TEMPERATURE_C)
        for name, path in _named_apart(found)
        if is_file(path)
    )


def clock_sensors(root: Path) -> tuple[Sensor, ...]:
    """Clocks of the processor, one for each group of cores, and of a Jetson's GPU."""
    sensors = [
        Sensor(f"cpu{policy.name[6:]}", (str(policy / "scaling_cur_freq"),), 1e-3, CLOCK_MHZ)
        for policy in cpu_policies(root)
        if is_file(policy / "scaling_cur_freq")
    ]
    folder = root / "sys/class/devfreq"
    gpu = [name for name in names_in(folder) if name.rpartition(".")[2] in _GPU_NAMES]
    sensors += [
        Sensor(name, (str(path),), 1e-6, CLOCK_MHZ)
        for name, path in _named_apart([("gpu", folder / name / "cur_freq") for name in gpu])
    ]
    return tuple(sensors)


def cpu_policies(root: Path) -> list[Path]:
    """Folders of the processor's clock policies; the number in a name is its first core."""
    folder = root / "sys/devices/system/cpu/cpufreq"
    return [folder / name for name in _numbered(folder, "policy")][:_MAX_POLICIES]


def power_sensors(root: Path) -> tuple[Sensor, ...]:
    """Rails of INA sensors: JetPack 5 and newer show them as hwmon, JetPack 4 as iio.

    Units: hwmon gives millivolts, milliamperes and microwatts, the older driver milliwatts
    (https://docs.kernel.org/hwmon/sysfs-interface.html and NVIDIA's ina3221x driver).
    """
    found = [*_hwmon_rails(root), *_iio_rails(root)]
    names = _named_apart([(sensor.name, sensor) for sensor in found])
    return tuple(Sensor(name, s.paths, s.factor, s.limits) for name, s in names)


def _hwmon_rails(root: Path) -> Iterator[Sensor]:
    for chip in _hwmon(root, None):
        chip_name = read_text(chip / "name") or ""
        if not chip_name.startswith("ina"):
            continue
        for number in _numbers(chip, r"(?:in|power)(\d+)_input"):
            label = read_text(chip / f"in{number}_label")
            power, volts, amperes = (
                chip / f"{kind}{number}_input" for kind in ("power", "in", "curr")
            )
            if is_file(power):
                name = read_text(chip / f"power{number}_label") or label or chip_name
                yield Sensor(name, (str(power),), 1e-6, POWER_W)
            # An INA3221's unlabelled channels are its shunts, and "NC" is not connected.
            elif label and label != "NC" and is_file(volts) and is_file(amperes):
                yield Sensor(label, (str(volts), str(amperes)), 1e-6, POWER_W)


def _iio_rails(root: Path) -> Iterator[Sensor]:
    driver = root / "sys/bus/i2c/drivers/ina3221x"
    for address in names_in(driver):
        for device in names_in(driver / address):
            folder = driver / address / device
            if not device.startswith("iio:device"):
                continue
            for number in _numbers(folder, r"in_power(\d+)_input"):
                rail = read_text(folder / f"rail_name_{number}")
                if rail and rail != "NC":
                    path = str(folder / f"in_power{number}_input")
                    yield Sensor(rail, (path,), 1e-3, POWER_W)


def slowing_devices(root: Path) -> tuple[tuple[str, str], ...]:
    """(name, file of its state) of what cools by slowing down; a state above 0 is in effect."""
    folder = root / "sys/class/thermal"
    found = (
        (read_text(folder / name / "type") or "", folder / name / "cur_state")
        for name in _numbered(folder, "cooling_device")
    )
    slowing = [(kind, path) for kind, path in found if any(w in kind.lower() for w in _SLOWING)]
    return tuple((name, str(path)) for name, path in _named_apart(slowing))


def voltage_alarms(root: Path) -> tuple[str, ...]:
    """Files that say 1 while a Raspberry Pi's supply is too weak (kernel driver rpi_volt)."""
    chips = _hwmon(root, {"rpi_volt"})
    return tuple(str(chip / "in0_lcrit_alarm") for chip in chips)


def _hwmon(root: Path, names: set[str] | None) -> list[Path]:
    folder = root / "sys/class/hwmon"
    chips = [folder / name for name in _numbered(folder, "hwmon")]
    return [c for c in chips if names is None or read_text(c / "name") in names]


def _numbered(folder: Path, prefix: str) -> list[str]:
    """Names such as thermal_zone0 in a folder, in the order of their numbers."""
    numbers = {
        name: whole_number(name[len(prefix) :])
        for name in names_in(folder)
        if name.startswith(prefix)
    }
    return sorted((n for n, v in numbers.items() if v is not None), key=lambda n: numbers[n] or 0)


def _numbers(folder: Path, pattern: str) -> list[int]:
    found = {int(m[1]) for name in names_in(folder) if (m := re.fullmatch(pattern, name))}
    return sorted(found)


def _named_apart(found: Iterable[tuple[str, _T]]) -> Iterator[tuple[str, _T]]:
    """The same, with a number behind a name that came before: no figure hides another."""
    seen: dict[str, int] = {}
    for name, what in found:
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name} {seen[name]}"), what
