"""Ten times the pictures: how long an epoch takes, how much memory it needs; sets beyond memory.

    python benchmarks/data_scale.py DATA [--size 128] [--times 10] [--beyond 4000]

DATA is a folder of class folders of JPEG pictures without a split. It is learnt from once and ten
times over: each copy of a picture has other bytes behind its end, so that every copy is decoded and
kept by itself. Seconds are of the second epoch (the first one traces graphs); memory is the largest
that the process had while it was learning: what it holds itself, and with the part of the mapped
file that counts as its own.

With --beyond MB a file of so many megabytes is read in the random order of an epoch, twice: with
all memory, and in a memory control group (v1, root) of a quarter of that, page cache included.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CGROUPS = Path("/sys/fs/cgroup/memory")


@dataclass
class Measured:
    pictures: int
    store_mb: float
    epoch_s: float
    own_mb: float
    resident_mb: float


def copies(source: Path, target: Path, times: int) -> int:
    """Write the set so many times over; gives the number of pictures."""
    count = 0
    for folder in sorted(p for p in source.iterdir() if p.is_dir()):
        (target / folder.name).mkdir(parents=True)
        for file in sorted(folder.iterdir()):
            data = file.read_bytes()
            for number in range(times):
                copy = target / folder.name / f"{file.stem}-{number}{file.suffix}"
                # Behind the end of a JPEG, decoders do not look.
                copy.write_bytes(data + number.to_bytes(2, "big"))
                count += 1
    return count


def memory_mb(pid: int) -> tuple[float, float]:
    """What a process holds itself, and all that is resident of it."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    own, resident = (int(fields[name].split()[0]) / 1024 for name in ("RssAnon", "VmRSS"))
    return own, resident


def train(photos: Path, scratch: Path, count: int, size: int) -> Measured:
    run = scratch / f"run-{count}"
    options = ["-a", "resnet8", "--size", str(size), "--epochs", "2", "--cache", scratch / "cache"]
    command = [sys.executable, "-m", "edgeproof", "train", photos, "--out", run, *options]
    process = subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    largest = (0.0, 0.0)
    while process.poll() is None:
        try:
            now = memory_mb(process.pid)
            largest = max(largest[0], now[0]), max(largest[1], now[1])
        except (OSError, KeyError, ValueError):
            pass  # it has ended in between
        time.sleep(0.05)
    if process.returncode:
        sys.exit(f"training on {count} pictures failed")
    history = json.loads((run / "training.json").read_text())["history"]
    store_mb = count * size * size * 3 / 1e6
    return Measured(count, store_mb, history["seconds"][1], *largest)


READ = """
import sys, time, numpy as np
from pathlib import Path
from trainer.folders import Picture
from trainer.pictures import Pixels
file, rows, side = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
store = np.memmap(file, np.uint8, "r", shape=(rows, side, side, 3))
labels = np.zeros(rows, np.int64)
pixels = Pixels((Picture("x", 0),) * rows, store, np.arange(rows), labels, labels)
order = np.random.default_rng(0).permutation(rows)
starts = range(0, rows - 64, 32)
began = time.perf_counter()
for start in starts:
    pixels.expect(order[start + 32 : start + 64])
    pixels.inputs(order[start : start + 32])
print(32 * len(starts) / (time.perf_counter() - began))
"""


def read_rate(file: Path, rows: int, side: int, limit_bytes: int | None) -> float:
    """Pictures a second, in random order; in a control group of so much memory."""
    group = CGROUPS / "edgeproof-benchmark"

    def enter() -> None:
        if limit_bytes:
            group.mkdir(exist_ok=True)
            (group / "memory.limit_in_bytes").write_text(str(limit_bytes))
            (group / "cgroup.procs").write_text(str(os.getpid()))

    done = subprocess.run(
        [sys.executable, "-c", READ, file, str(rows), str(side)],
        preexec_fn=enter,
        capture_output=True,
        text=True,
        check=True,
    )
    if limit_bytes:
        group.rmdir()
    return float(done.stdout)


def beyond_memory(scratch: Path, megabytes: int, side: int = 224) -> None:
    rows = megabytes * 1_000_000 // (side * side * 3)
    file = scratch / "large.u8"
    rng = np.random.default_rng(0)
    with file.open("wb") as out:
        for _ in range(rows):
            out.write(rng.bytes(side * side * 3))
        out.flush()
        os.fsync(out.fileno())
    free = read_rate(file, rows, side, None)
    print(f"\n{rows} pictures of {side} x {side}, {megabytes} MB, in random order:")
    print(f"with all memory {free:.0f} pictures/s")
    if os.geteuid() or not (CGROUPS / "memory.limit_in_bytes").exists():
        print("no memory control group (v1, as root) here: not measured with less memory")
        return
    # What is in the page cache already is not charged to the group.
    os.posix_fadvise(os.open(file, os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)
    limit = megabytes * 1_000_000 // 4
    print(f"with {limit / 1e6:.0f} MB of it {read_rate(file, rows, side, limit):.0f} pictures/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--beyond", type=int, default=0)
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="edgeproof-scale-"))
    try:
        print("| pictures | decoded, MB | epoch, s | memory of its own, MB | resident, MB |")
        print("| ---: | ---: | ---: | ---: | ---: |")
        for times in (1, options.times):
            photos = scratch / f"photos-{times}"
            count = copies(options.data, photos, times)
            got = train(photos, scratch, count, options.size)
            print(
                f"| {got.pictures} | {got.store_mb:.0f} | {got.epoch_s:.1f} | {got.own_mb:.0f} | "
                f"{got.resident_mb:.0f} |",
                flush=True,
            )
        if options.beyond:
            beyond_memory(scratch, options.beyond)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
