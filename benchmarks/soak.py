"""Does the loop lose, leak or lag over a day's worth of frames, or ten minutes of a camera?

    python benchmarks/soak.py replay --bundle pets.bundle [--frames 2592000] [--minutes 30]
    python benchmarks/soak.py live --bundle pets.bundle [--minutes 10] [--model-ms 100]

`replay` plays a small clip again and again as fast as the machine can, JSON Lines written, until
so many frames (a day at 30 a second) or minutes have passed, and counts the lines. `live` plays it
as a camera at 30 frames a second, with a model that is made to take so long, and shows the frame
ages. Both watch memory, threads and open files, and exit with 1 when a frame was lost, or when
threads or open files have grown.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge_runtime import Classifier, open_source, run
from edge_runtime.pipeline import LoopOptions, Result, Summary
from edge_runtime.sinks import JsonLinesSink
from edge_runtime.sources import SourceOptions

DAY = 24 * 3600 * 30
SAMPLE_S = 5.0
# Before that, pools and caches fill.
WARM_UP_S = 60.0


@dataclass(frozen=True)
class Use:
    """What the process holds at one moment."""

    at_s: float
    resident_mb: float
    threads: int
    files: int

    @classmethod
    def now(cls) -> Use:
        status = Path("/proc/self/status").read_text()
        resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        threads = next(line for line in status.splitlines() if line.startswith("Threads"))
        return cls(
            time.perf_counter(),
            int(resident.split()[1]) / 1024,
            int(threads.split()[1]),
            len(list(Path("/proc/self/fd").iterdir())),
        )


class Watcher:
    """A sink that looks at the process every few seconds, and ends the run in time."""

    def __init__(self, stop: threading.Event, minutes: float) -> None:
        self.uses = [Use.now()]
        self._stop, self._until_s = stop, time.perf_counter() + minutes * 60

    def write(self, result: Result) -> None:
        now = time.perf_counter()
        if now - self.uses[-1].at_s >= SAMPLE_S:
            self.uses.append(Use.now())
        if now >= self._until_s:
            self._stop.set()

    def close(self) -> None:
        self.uses.append(Use.now())

    def report(self) -> bool:
        """Print how memory, threads and files went; whether the last two stayed."""
        whole_s = self.uses[-1].at_s - self.uses[0].at_s
        warm_s = self.uses[0].at_s + min(WARM_UP_S, whole_s / 3)
        # The last sample is taken when the run is over, and threads are gone.
        during = self.uses[1:-1] or self.uses[-1:]
        first = next((use for use in during if use.at_s >= warm_s), during[-1])
        last, most = during[-1], max(use.resident_mb for use in during)
        print(
            f"from {first.at_s - self.uses[0].at_s:.0f} s to {last.at_s - self.uses[0].at_s:.0f} s:"
            f" resident {first.resident_mb:.1f} -> {last.resident_mb:.1f} MB (most {most:.1f}), "
            f"threads {first.threads} -> {last.threads}, open files {first.files} -> {last.files}"
        )
        return last.threads <= first.threads and last.files <= first.files


class Padded(Classifier):
    """A classifier made to take a given time: the real model first, then rest."""

    seconds = 0.0

    def probabilities(self, batch: np.ndarray) -> np.ndarray:
        until = time.perf_counter() + self.seconds
        answers = super().probabilities(batch)
        time.sleep(max(0.0, until - time.perf_counter()))
        return answers


def write_clip(path: Path, frames: int = 300) -> None:
    """A noisy, moving picture, 160x120 at 30 frames a second."""
    rng = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (160, 120))
    for number in range(frames):
        picture = rng.integers(0, 80, (120, 160, 3), dtype=np.uint8)
        centre = (20 + number % 120, 60)
        cv2.circle(picture, centre, 18, (40, 90 + number % 120, 220), -1)
        writer.write(picture)
    writer.release()


def lines_in_order(jsonl: Path) -> int:
    """How many lines the file has; raises when one is missing, cut or out of order."""
    expected = 0
    with jsonl.open(encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            if "frame" not in record:
                continue
            if record["frame"] != expected:
                raise SystemExit(f"line {expected} is of frame {record['frame']}")
            expected += 1
    return expected


def replay(options: argparse.Namespace, clip: Path, scratch: Path) -> bool:
    classifier = Classifier(options.bundle, variant=options.variant, threads=1)
    asked = SourceOptions(realtime=False, frames=options.frames, judge=frozenset())
    source, jsonl = open_source(f"replay:{clip}", asked), scratch / "answers.jsonl"
    stop = threading.Event()
    watcher = Watcher(stop, options.minutes)
    sinks = [watcher, JsonLinesSink(jsonl, classifier.bundle.labels)]
    summary = run(
        classifier, source, sinks, stop=stop, options=LoopOptions(workers=options.workers)
    )
    lines = lines_in_order(jsonl)
    done = "of" if summary.frames == options.frames else f"(the {options.minutes:g} minutes) of"
    lost = summary.frames - lines
    print(
        f"{summary.frames} {done} {options.frames} frames, "
        f"{'nothing lost' if lost == 0 and summary.dropped == 0 else f'{lost} lost'}: "
        f"{summary.fps:.0f} a second over {summary.seconds:.0f} s, {classifier.variant.name} on "
        f"{classifier.engine.name}, {options.workers} workers"
    )
    show_stages(summary)
    return watcher.report() and lost == 0 and summary.dropped == 0


def live(options: argparse.Namespace, clip: Path, scratch: Path) -> bool:
    classifier = Padded(options.bundle, variant=options.variant, threads=1)
    classifier.seconds = options.model_ms / 1e3
    frames = round(options.minutes * 60 * 30)
    asked = SourceOptions(realtime=True, frames=frames, judge=frozenset())
    source = open_source(f"replay:{clip}", asked)
    stop = threading.Event()
    watcher = Watcher(stop, options.minutes + 1)
    sinks = [watcher, JsonLinesSink(scratch / "answers.jsonl", classifier.bundle.labels)]
    summary = run(classifier, source, sinks, stop=stop)
    ages = summary.ages
    print(
        f"{options.minutes:g} minutes at 30 frames a second, a model of {options.model_ms:g} ms: "
        f"{summary.frames} answered ({summary.fps:.1f} a second), {summary.dropped} dropped; "
        f"frame age median {ages.at(0.5):.0f} ms, 99 % {ages.at(0.99):.0f} ms, "
        f"99.9 % {ages.at(0.999):.0f} ms, most {ages.at(1.0):.0f} ms"
    )
    show_stages(summary)
    return watcher.report()


def show_stages(summary: Summary) -> None:
    stages = (f"{n} {p.at(0.5):.3f} ({p.at(0.99):.3f})" for n, p in summary.stages.items())
    print(f"median (99 %) in ms: {', '.join(stages)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=["replay", "live"])
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--variant")
    parser.add_argument("--frames", type=int, default=DAY)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--model-ms", type=float, default=100.0)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    options.minutes = options.minutes or (30.0 if options.mode == "replay" else 10.0)
    with tempfile.TemporaryDirectory(prefix="edgeproof-") as folder:
        clip = Path(folder) / "clip.avi"
        write_clip(clip)
        ok = {"replay": replay, "live": live}[options.mode](options, clip, Path(folder))
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
