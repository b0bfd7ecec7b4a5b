"""What sinks cost the loop: every one of them on, one of them hung, against none.

    python benchmarks/sinks.py pets.bundle [clip.mp4] [--runs 3] [--seconds 20]

`edgeproof run` is started in turn without any sink and with all: JSON Lines, annotated video, a web
page with two viewers, Prometheus scraped every second, hard frames, MQTT to a broker (mosquitto, if
it is on PATH), and a webhook whose server takes every request and never answers. The loop's
throughput is the number of frames answered a second, from the first frame to the last; the ratio
should be 0.9 or more.

- camera: the clip played as a camera of 30 frames a second (--rate). What does not fit in is
  dropped, as of a real one, and counted.
- flat out: the clip as a file, as fast as it goes. Here what encodes pictures (video, page, hard
  frames) is work of its own on the same cores, so it is left out: what is measured is what talking
  to others costs. Changes are told as they come, not once a second.

Without a clip, one of 1280x720 with moving shapes is made.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

SUMMARY = re.compile(
    r"(\d+) frames in [\d.]+ s \(\d+ fps\), median frame age (\d+) ms \(99 %: (\d+) ms\), "
    r"(\d+) dropped"
)
SECONDS = re.compile(r"frames in ([\d.]+) s")
LEAST_RATIO = 0.9


@dataclass(frozen=True)
class Run:
    """What one process came to."""

    fps: float
    age_ms: int
    age_99_ms: int
    dropped: int
    lost: tuple[str, ...]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[str | None]:
    """The address of a broker, if there is one to be had."""
    found = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if found is None:
        print("no mosquitto on PATH: MQTT is left out")
        yield None
        return
    port = free_port()
    settings = folder / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    with (folder / "mosquitto.log").open("wb") as log:
        process = subprocess.Popen([found, "-c", str(settings)], stdout=log, stderr=log)
    try:
        yield f"mqtt://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def hung_server() -> Iterator[str]:
    """Takes every connection, reads what comes, and never answers."""
    kept: list[socket.socket] = []

    def take(server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                kept.append(server.accept()[0])

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=take, args=(server,), daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/changed"
        server.shutdown(socket.SHUT_RDWR)
    for one in kept:
        one.close()


def watch(stop: threading.Event, port: int, path: str, pause_s: float | None) -> None:
    """Read a stream for as long as it lasts, or ask again and again."""
    while not stop.is_set():
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", path)
            answer = connection.getresponse()
            while answer.read1(1 << 16) and not stop.is_set():
                pass
            connection.close()
        stop.wait(pause_s or 0.2)


def one(command: list[str], page: int | None = None, metrics: int | None = None) -> Run:
    stop = threading.Event()
    readers = [(page, path, None) for path in ("/view/0", "/events") * 2 if page]
    readers += [(metrics, "/metrics", 1.0)] if metrics else []
    threads = [threading.Thread(target=watch, args=(stop, *reader)) for reader in readers]
    for thread in threads:
        thread.start()
    done = subprocess.run(
        [sys.executable, "-m", "edgeproof", "run", *command],
        capture_output=True,
        text=True,
        check=False,
    )
    stop.set()
    for thread in threads:
        thread.join()
    found, seconds = SUMMARY.search(done.stdout), SECONDS.search(done.stdout)
    if not (found and seconds):
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-500:]}{done.stderr[-2000:]}")
    frames, age, age_99, dropped = map(int, found.groups())
    lost = tuple(line for line in done.stderr.splitlines() if " dropped" in line)
    return Run(frames / float(seconds[1]), age, age_99, dropped, lost)


def compare(
    title: str, bare: list[str], full: list[str], runs: int, page: int | None, metrics: int
) -> float:
    results: dict[str, list[Run]] = {"no sinks": [], "all, one hung": []}
    for number in range(runs + 1):
        pair = one(bare), one(full, page, metrics)
        if number:  # the first round only warms the disk cache
            for name, run in zip(results, pair, strict=True):
                results[name].append(run)
    print(f"\n{title}")
    for name, each in results.items():
        fps = [run.fps for run in each]
        print(
            f"  {name:14} {statistics.median(fps):6.1f} frames/s "
            f"({min(fps):.1f} to {max(fps):.1f}), "
            f"age {statistics.median(r.age_ms for r in each):.0f} ms "
            f"(99 %: {statistics.median(r.age_99_ms for r in each):.0f}), "
            f"{statistics.median(r.dropped for r in each):.0f} dropped"
        )
    for line in results["all, one hung"][-1].lost:
        print(f"  said: {line}")
    ratio = statistics.median(r.fps for r in results["all, one hung"]) / statistics.median(
        r.fps for r in results["no sinks"]
    )
    print(f"  ratio {ratio:.2f} (wanted: {LEAST_RATIO})")
    return ratio


def make_clip(path: Path) -> Path:
    """Ten seconds of 720p: a textured ground, and shapes that move over it."""
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.integers(0, 256, (720, 1280, 3), np.uint8), (0, 0), 6)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, (1280, 720))
    for number in range(300):
        frame = ground.copy()
        for shape in range(4):
            x = int(640 + 500 * np.sin(number / 30 + shape))
            colour = tuple(int(c) for c in rng.integers(0, 256, 3)) if number % 60 == 0 else None
            cv2.circle(frame, (x, 120 + 160 * shape), 70, colour or (40, 200, 60 * shape), -1)
        writer.write(frame)
    writer.release()
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("clip", type=Path, nargs="?")
    parser.add_argument("--variant", default="tflite-int8")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rate", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgeproof-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        clip = (options.clip or make_clip(folder / "clip.mp4")).resolve()
        script = folder / "camera.toml"
        count = options.rate * options.seconds
        script.write_text(f'video = "{clip}"\nfps = {options.rate}.0\nframes = {count}\n')
        flat = folder / "flat.toml"
        flat.write_text(f'video = "{clip}"\nframes = {4 * count}\n')
        address, hook = stack.enter_context(broker(folder)), stack.enter_context(hung_server())
        page, metrics = free_port(), free_port()
        talking = ["--jsonl", str(folder / "a.jsonl"), "--webhook", hook]
        talking += ["--metrics", "--metrics-address", f"127.0.0.1:{metrics}"]
        talking += ["--mqtt", address] if address else []
        drawing = ["--video", str(folder / "a.mp4"), "--web", "--port", str(page)]
        drawing += ["--keep-hard", str(folder / "hard"), "--hard-every", "1s"]
        start = [str(options.bundle), "--variant", options.variant, "--source"]
        camera = [*start, f"replay:{script}"]
        ratios = [
            compare(
                f"camera at {options.rate} frames a second, {options.seconds} s",
                camera,
                [*camera, *talking, *drawing],
                options.runs,
                page,
                metrics,
            )
        ]
        file = [*start, f"replay:{flat}", "--no-realtime"]
        title = f"flat out, {4 * count} frames, without what encodes pictures"
        ratios.append(compare(title, file, [*file, *talking], options.runs, None, metrics))
    sys.exit(0 if min(ratios) >= LEAST_RATIO else 1)


if __name__ == "__main__":
    main()
