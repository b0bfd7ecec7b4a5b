"""Frames a second of a video: `edgeproof run`, the loop of tutorials, and MediaPipe, in turn.

    sh scripts/make_peer_envs.sh .peers mediapipe
    python benchmarks/camera_loop.py pets.bundle [--variant tflite-int8] [--runs 5]

Two 720p H.264 clips of 600 frames are made with ffmpeg (on PATH): one easy to decode, one noisy at
about 20 Mbit/s. Each contestant is a process of its own, and they take turns; medians are shown.

- tutorial: cap.read, cv2.resize, cvtColor, set_tensor, invoke, one after another, LiteRT with a
  thread for each core.
- MediaPipe: its ImageClassifier in VIDEO mode, on the same file.
- edgeproof run, with JSON Lines written.

"What the cores allow" is the number of cores over the CPU time that decoding, preprocessing and
invoking take when measured alone, each in one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_runtime import Bundle

REPOSITORY = Path(__file__).parents[1]
MEDIAPIPE = REPOSITORY / ".peers" / "mediapipe" / "bin" / "python"
FRAMES = 600
SOURCES = {
    "easy": ["testsrc2=size=1280x720:rate=30", "-crf", "23"],
    "noisy": ["testsrc2=size=1280x720:rate=30,noise=alls=40:allf=t", "-b:v", "20M"],
}

# Each prints seconds from its first read to its last answer, and when the first answer came.
TUTORIAL = """
import json, sys, time
import cv2, numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=int(sys.argv[3]))
interpreter.allocate_tensors()
inputs = interpreter.get_input_details()[0]
output = interpreter.get_output_details()[0]["index"]
height, width = (int(n) for n in inputs["shape"][1:3])
capture = cv2.VideoCapture(sys.argv[2])
start, frames, first = time.time(), 0, None
while True:
    ok, frame = capture.read()
    if not ok:
        break
    image = cv2.cvtColor(cv2.resize(frame, (width, height)), cv2.COLOR_BGR2RGB)
    interpreter.set_tensor(inputs["index"], image[np.newaxis])
    interpreter.invoke()
    interpreter.get_tensor(output).argmax()
    first = first or time.time()
    frames += 1
print(json.dumps([frames, time.time() - start, first]))
"""
VIDEO_MODE = """
import json, sys, time
import cv2
import mediapipe as mp
from mediapipe.tasks.python import BaseOptions, vision
options = vision.ImageClassifierOptions(
    base_options=BaseOptions(model_asset_path=sys.argv[1]),
    running_mode=vision.RunningMode.VIDEO, max_results=5)
with vision.ImageClassifier.create_from_options(options) as classifier:
    capture = cv2.VideoCapture(sys.argv[2])
    start, frames, first = time.time(), 0, None
    while True:
        ok, frame = capture.read()
        if not ok:
            break
        image = mp.Image(mp.ImageFormat.SRGB, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        classifier.classify_for_video(image, frames * 33)
        first = first or time.time()
        frames += 1
print(json.dumps([frames, time.time() - start, first]))
"""
# CPU milliseconds a frame of each part alone, and the 99th percentile of preprocessing.
PARTS = """
import json, sys, time
import cv2, numpy as np
from edge_runtime import Bundle
from edge_runtime.engines import load_engine
cv2.setNumThreads(1)
bundle = Bundle.open(sys.argv[1])
variant = bundle.variant(sys.argv[2])
engine = load_engine("litert", bundle.checked_file(variant.file), threads=1)
capture = cv2.VideoCapture(sys.argv[3], cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
parts, frame = {}, None
begun, frames = time.process_time(), 0
while True:
    ok, image = capture.read()
    if not ok:
        break
    frame, frames = image, frames + 1
parts["decode"] = (time.process_time() - begun) / frames * 1e3
times, begun = [], time.process_time()
for _ in range(600):
    before = time.perf_counter()
    tensor = bundle.preprocess(frame)
    times.append((time.perf_counter() - before) * 1e3)
parts["preprocess"] = (time.process_time() - begun) / 600 * 1e3
engine.infer(tensor[np.newaxis])
begun = time.process_time()
for _ in range(300):
    engine.infer(tensor[np.newaxis])
parts["invoke"] = (time.process_time() - begun) / 300 * 1e3
print(json.dumps([parts, sorted(times)[594]]))
"""
# CPU milliseconds a frame of the loop itself: frames are there already, of the size that the model
# wants, and the engine answers at once; what preparing them takes alone is taken off. 720p frames
# are judged, answers written as JSON Lines. As fast as it goes, threads on several cores contend
# for Python's lock, which costs as much again: so it is measured on one core, too.
OWN = """
import json, os, sys, time
from pathlib import Path
import cv2, numpy as np
from edge_runtime import Bundle
from edge_runtime.classifier import Classifier
from edge_runtime.pipeline import LoopOptions, run
from edge_runtime.sinks.jsonl import JsonLinesSink
from edge_runtime.sources import Frame, SourceOptions
from edge_runtime.sources.base import Readable
from edge_runtime.sources.health import Watch
FRAMES = 2000
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[4])])
class Ready(Readable):
    def __init__(self, judged, given):
        super().__init__("ready")
        self._judged, self._image, self._given = judged, given, 0
        self._watch = Watch("ready", SourceOptions(), default=frozenset({"black"}))
    def read(self):
        if self._given == FRAMES:
            return None
        now = time.perf_counter()
        condition, _ = self._watch.frame(self._judged, captured_s=now, arrived_s=now)
        self._given += 1
        return Frame(self._image, self._given - 1, now, condition=condition, source=self.name)
    def close(self):
        pass
cv2.setNumThreads(1)
bundle = Bundle.open(sys.argv[1])
classifier = Classifier(bundle, variant=sys.argv[2], threads=1)
judged = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
given = np.ascontiguousarray(judged[: bundle.preprocess.height, : bundle.preprocess.width])
raw = classifier.engine.infer(bundle.preprocess(given)[np.newaxis])
classifier.engine.infer = lambda batch: raw
Classifier.twin = lambda self, threads=None: self
sink = JsonLinesSink(Path(sys.argv[3]), bundle.labels)
begun = time.process_time()
for _ in range(FRAMES):
    bundle.preprocess(given)
preprocess = time.process_time() - begun
begun = time.process_time()
run(classifier, Ready(judged, given), [sink], options=LoopOptions(workers=2))
print(json.dumps((time.process_time() - begun - preprocess) / FRAMES * 1e3))
"""


@dataclass(frozen=True)
class Run:
    """One process: frames a second, first answer after start, CPU and memory it took."""

    fps: float
    first_s: float
    cpu_s: float
    resident_mb: float


def process(command: list[str]) -> tuple[str, float, float, float]:
    """Standard output, start (epoch), CPU seconds, and most memory in MB."""
    start = time.time()
    with tempfile.TemporaryFile("w+") as out:
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{command[:4]} failed with {child.returncode}")
        out.seek(0)
        text = out.read()
    return text, start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def scripted(command: list[str]) -> Run:
    text, start, cpu_s, resident = process(command)
    frames, seconds, first = json.loads(text.splitlines()[-1])
    return Run(frames / seconds, first - start, cpu_s, resident)


def edgeproof(bundle: Path, variant: str, clip: Path, jsonl: Path, frames: int) -> Run:
    command = [sys.executable, "-m", "edgeproof", "run", str(bundle), "--variant", variant]
    command += ["--source", str(clip), "--jsonl", str(jsonl), "--max-frames", str(frames)]
    _, start, cpu_s, resident = process(command)
    records = [json.loads(line) for line in jsonl.read_text().splitlines()]
    records = [r for r in records if "frame" in r]
    assert len(records) == frames, f"{len(records)} answers of {frames} frames"
    answered = [r["time"] + r["age_ms"] / 1e3 for r in records]
    began = records[0]["time"] - records[0]["capture_ms"] / 1e3
    first_s = answered[0] + records[0]["output_ms"] / 1e3 - start
    return Run(frames / (max(answered) - began), first_s, cpu_s, resident)


def make_clip(path: Path, source: list[str]) -> None:
    graph, *quality = source
    subprocess.run(
        [
            *("ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", graph, "-frames:v", str(FRAMES)),
            *("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", *quality),
            str(path),
        ],
        check=True,
    )


def middle(runs: list[Run], what: Callable[[Run], float]) -> float:
    return statistics.median(what(run) for run in runs)


def compare(clip: Path, options: argparse.Namespace, jsonl: Path) -> None:
    bundle = Bundle.open(options.bundle)
    model = str(bundle.checked_file(bundle.variant(options.variant).file))
    cores = len(os.sched_getaffinity(0))
    contestants: dict[str, Callable[[], Run]] = {
        "tutorial": lambda: scripted(
            [sys.executable, "-c", TUTORIAL, model, str(clip), str(cores)]
        ),
        "edgeproof run": lambda: edgeproof(options.bundle, options.variant, clip, jsonl, FRAMES),
    }
    python = os.environ.get("EDGEPROOF_MEDIAPIPE_PYTHON", str(MEDIAPIPE))
    if Path(python).exists():
        contestants["MediaPipe VIDEO"] = lambda: scripted(
            [python, "-c", VIDEO_MODE, model, str(clip)]
        )
    runs: dict[str, list[Run]] = {name: [] for name in contestants}
    parts: list[dict[str, float]] = []
    slowest, beginnings, loops = [], [], []
    for number in range(options.runs + 1):
        for name, contestant in contestants.items():
            run = contestant()
            if number:  # the first round only warms the disk cache
                runs[name].append(run)
        if number:
            beginnings.append(edgeproof(options.bundle, options.variant, clip, jsonl, 1))
            command = [sys.executable, "-c", PARTS, str(options.bundle), options.variant, str(clip)]
            measured, p99 = json.loads(process(command)[0])
            own = [sys.executable, "-c", OWN, str(options.bundle), options.variant, str(jsonl)]
            loops.append([float(process([*own, str(count)])[0]) for count in (1, cores)])
            parts.append(measured)
            slowest.append(p99)
    megabits = clip.stat().st_size * 8 / 1e6 / (FRAMES / 30)
    print(f"\n{clip.stem}: {FRAMES} frames of 1280x720 at {megabits:.1f} Mbit/s, {cores} cores")
    for name, each in runs.items():
        fps = [run.fps for run in each]
        print(
            f"{name:16} {statistics.median(fps):6.1f} frames/s ({min(fps):.1f} to {max(fps):.1f}), "
            f"first answer {middle(each, lambda r: r.first_s):.2f} s, "
            f"{middle(each, lambda r: r.resident_mb):.0f} MB, "
            f"CPU {middle(each, lambda r: r.cpu_s) / FRAMES * 1e3:.2f} ms/frame with start"
        )
    ours = runs["edgeproof run"]
    ours_fps = middle(ours, lambda r: r.fps)
    for name, each in runs.items():
        if each is not ours:
            print(f"edgeproof / {name}: {ours_fps / middle(each, lambda r: r.fps):.2f}")
    needed = {key: statistics.median(p[key] for p in parts) for key in parts[0]}
    total = sum(needed.values())
    allowed = cores / total * 1e3
    taken = (middle(ours, lambda r: r.cpu_s) - middle(beginnings, lambda r: r.cpu_s)) * 1e3
    own = taken / (FRAMES - 1) - total
    print(
        f"CPU ms/frame alone: {', '.join(f'{k} {v:.2f}' for k, v in needed.items())}; the cores "
        f"allow {allowed:.1f} frames/s, reached {ours_fps / allowed:.2f}\n"
        f"the rest: {own:+.2f} ms/frame more CPU in the run than the parts take alone, and "
        f"{cores / ours_fps * 1e3 - taken / (FRAMES - 1):.2f} ms/frame of a core left idle\n"
        f"the loop's own work: {statistics.median(loop[0] for loop in loops):.2f} ms/frame on one "
        f"core, {statistics.median(loop[1] for loop in loops):.2f} on all\n"
        f"preprocessing 720p, 99 %: {statistics.median(slowest):.2f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--variant", default="tflite-int8")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--clips", type=Path, help="keep the clips there, and reuse them")
    parser.add_argument("--only", choices=list(SOURCES))
    options = parser.parse_args()
    if shutil.which("ffmpeg") is None:
        raise SystemExit("the clips are made with ffmpeg, which is not on PATH")
    with tempfile.TemporaryDirectory(prefix="edgeproof-") as folder:
        clips = options.clips or Path(folder)
        clips.mkdir(parents=True, exist_ok=True)
        for name, source in SOURCES.items():
            if options.only in (None, name):
                if not (clips / f"{name}.mp4").exists():
                    make_clip(clips / f"{name}.mp4", source)
                compare(clips / f"{name}.mp4", options, Path(folder) / "answers.jsonl")


if __name__ == "__main__":
    main()
