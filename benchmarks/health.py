"""What one sample of `devices.health()` costs, with the sensors of a Jetson Orin as files.

    python benchmarks/health.py [--samples 2000]

The named alternative is the usual way: finding the files with glob and opening them each time.
Files of a real sensor cost what its driver takes on top; a Jetson's power rails sit on a slow bus.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from devices import HealthSampler


def make_board(root: Path) -> None:
    """Nine thermal zones, two groups of cores, a GPU, three rails, twelve cooling devices."""
    files = {"proc/meminfo": "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 400 kB\n"}
    files["proc/loadavg"] = "1.25 0.80 0.40 2/345 6789\n"
    for number in range(9):
        zone = f"sys/class/thermal/thermal_zone{number}"
        files |= {f"{zone}/type": f"zone{number}\n", f"{zone}/temp": f"{40000 + number}\n"}
    for number in range(12):
        device = f"sys/class/thermal/cooling_device{number}"
        files |= {f"{device}/type": f"cpufreq-cpu{number}\n", f"{device}/cur_state": "0\n"}
    for policy in (0, 4):
        folder = f"sys/devices/system/cpu/cpufreq/policy{policy}"
        files |= {f"{folder}/scaling_cur_freq": "1500000\n"}
        files |= {f"{folder}/{name}_max_freq": "1500000\n" for name in ("scaling", "cpuinfo")}
    files["sys/class/devfreq/17000000.gpu/cur_freq"] = "306000000\n"
    chip = "sys/class/hwmon/hwmon1"
    files[f"{chip}/name"] = "ina3221\n"
    for rail in (1, 2, 3):
        files |= {f"{chip}/in{rail}_label": f"RAIL{rail}\n", f"{chip}/in{rail}_input": "5000\n"}
        files[f"{chip}/curr{rail}_input"] = "800\n"
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def usual(root: Path) -> dict[str, float]:
    """Temperatures and clocks only, looked for each time."""
    figures = {}
    for zone in root.glob("sys/class/thermal/thermal_zone*"):
        figures[(zone / "type").read_text()] = int((zone / "temp").read_text()) / 1000
    for policy in root.glob("sys/devices/system/cpu/cpufreq/policy*"):
        figures[policy.name] = int((policy / "scaling_cur_freq").read_text()) / 1000
    return figures


def median_ms(run: Callable[[], object], samples: int) -> tuple[float, float]:
    """Median and 99th percentile."""
    times = []
    for _ in range(samples):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times), statistics.quantiles(times, n=100)[98]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=2000)
    samples = parser.parse_args().samples
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_board(root)
        start = time.perf_counter()
        board = HealthSampler(root)
        print(f"finding the sensors: {(time.perf_counter() - start) * 1000:.2f} ms, once")
        here = HealthSampler()
        for name, run in {
            "sample, a Jetson Orin's files": board.sample,
            "sample, this machine": here.sample,
            "the usual way, temperatures and clocks only": lambda: usual(root),
        }.items():
            median, slow = median_ms(run, samples)
            print(f"{name}: median {median:.3f} ms, 99th percentile {slow:.3f} ms")


if __name__ == "__main__":
    main()
