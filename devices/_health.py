"""How is this machine doing? Temperatures, clocks, throttling, memory, load and power, cheaply.

A sample is a few dozen reads of small files; where they are is found once. Sensors on a slow bus,
as a Jetson's for power, take their own time on top.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from devices import _sensors
from devices._reading import MOST_MEMORY_KIB
from devices._throttling import Throttling

_MAX_LOAD = 100_000.0


@dataclass(frozen=True)
class Health:
    """One sample. What the machine does not tell, or tells as nonsense, is None or left out.

    Attributes:
        temperatures_c: by thermal zone, in degrees Celsius.
        clocks_mhz: now, by group of cores ("cpu0" is the group of the first core) and "gpu".
        throttling: what slows the machine down now, in words: "under-voltage", "clock capped",
            "throttled", "soft temperature limit", "cooling by cpufreq-cpu0", "cpu0 limited to 1200
            of 1500 MHz". Empty when nothing does, and where nothing tells.
        throttled_before: the same, at some time since the machine was started.
        memory_available_bytes: what new programs can have without swapping.
        memory_total_bytes: main memory.
        load: programs that ran or waited to run, mean of the last minute.
        power_w: by rail, in watts, where the board measures it (INA sensors: Jetson). Rails may
            feed each other: do not add them up.
    """

    temperatures_c: Mapping[str, float] = field(default_factory=dict)
    clocks_mhz: Mapping[str, float] = field(default_factory=dict)
    throttling: tuple[str, ...] = ()
    throttled_before: tuple[str, ...] = ()
    memory_available_bytes: int | None = None
    memory_total_bytes: int | None = None
    load: float | None = None
    power_w: Mapping[str, float] = field(default_factory=dict)

    @property
    def hottest_c(self) -> float | None:
        """The highest temperature; None where none is told."""
        return max(self.temperatures_c.values(), default=None)

    def as_dict(self) -> dict[str, Any]:
        """The sample as plain values, ready for JSON."""
        return asdict(self)


class HealthSampler:
    """Finds a machine's sensors once, then samples them as often as wanted.

    Example:
        >>> sampler = HealthSampler()
        >>> sampler.sample().hottest_c  # doctest: +SKIP
        48.3
    """

    def __init__(self, root: Path = Path("/")) -> None:
        """Find the sensors of the machine whose file system starts at `root`."""
        root = Path(root)
        self._temperatures = _sensors.temperature_sensors(root)
        self._clocks = _sensors.clock_sensors(root)
        self._power = _sensors.power_sensors(root)
        self._throttling = Throttling(root)
        self._meminfo = str(root / "proc/meminfo")
        self._loadavg = str(root / "proc/loadavg")

    def sample(self) -> Health:
        """The state now; never raises, whatever the files hold."""
        total, available = _memory(_sensors.read_now(self._meminfo))
        throttling, before = self._throttling.read()
        return Health(
            temperatures_c=_figures(self._temperatures),
            clocks_mhz=_figures(self._clocks),
            throttling=throttling,
            throttled_before=before,
            memory_available_bytes=available,
            memory_total_bytes=total,
            load=_load(_sensors.read_now(self._loadavg)),
            power_w=_figures(self._power),
        )


def health(root: Path = Path("/")) -> Health:
    """One sample of the machine whose file system starts at `root`; its sensors are found once.

    A sensor that is plugged in later is seen by a new `HealthSampler` only.
    """
    return _sampler(Path(root)).sample()


@lru_cache(maxsize=4)
def _sampler(root: Path) -> HealthSampler:
    return HealthSampler(root)


def _figures(sensors: Iterable[_sensors.Sensor]) -> Mapping[str, float]:
    values = ((sensor.name, sensor.read()) for sensor in sensors)
    return {name: value for name, value in values if value is not None}


def _memory(meminfo: bytes) -> tuple[int | None, int | None]:
    """Total and available memory in bytes; what is more than all there is, is no figure."""
    found: dict[bytes, int] = {}
    for line in meminfo.splitlines()[:8]:
        name, _, rest = line.partition(b":")
        kibibytes = _sensors.integer(rest.partition(b"kB")[0])
        if kibibytes is not None and 0 <= kibibytes <= MOST_MEMORY_KIB:
            found.setdefault(name, kibibytes * 1024)
    total = found.get(b"MemTotal") or None
    available = found.get(b"MemAvailable")
    if available is not None and total is not None and available > total:
        available = None
    return total, available


def _load(loadavg: bytes) -> float | None:
    try:
        load = float(loadavg.split(None, 1)[0])
    except (IndexError, ValueError):
        return None
    return load if math.isfinite(load) and 0 <= load <= _MAX_LOAD else None
