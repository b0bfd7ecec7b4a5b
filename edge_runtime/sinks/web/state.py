"""What the page shows of a run, kept as results come; nothing here is drawn or encoded."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_runtime.loop.queued import QueuedSink
from edge_runtime.pipeline import Result
from edge_runtime.sinks.machine_health import SharedHealth
from edge_runtime.sinks.opening import SinkOpening
from edge_runtime.sources import SourceEvent
from edge_runtime.text import printable

HISTORY_S = 60.0
SAMPLE_S = 0.5
ROWS = 12
# With more labels than that, those that were likeliest lately.
SHOWN_LABELS = 8


@dataclass
class Said:
    """A row of the table: an answer, for as long as it was the same."""

    at: float
    text: str
    kind: str
    score: float | None
    until: float
    frames: int = 1

    def as_dict(self) -> dict[str, Any]:
        return {
            "at": round(self.at, 3),
            "text": self.text,
            "kind": self.kind,
            "score": _number(self.score),
            "seconds": round(max(0.0, self.until - self.at), 2),
            "frames": self.frames,
        }


@dataclass
class Camera:
    """One source of the run."""

    name: str
    live: bool
    latest: Result | None = None
    version: int = 0
    arrived_s: float = 0.0
    event: str = ""
    sampled_s: float = float("-inf")
    samples: deque[np.ndarray | None] = field(
        default_factory=lambda: deque(maxlen=int(HISTORY_S / SAMPLE_S))
    )
    rows: deque[Said] = field(default_factory=lambda: deque(maxlen=ROWS))


class RunState:
    """Written by the loop's thread, read by the server's.

    Attributes:
        cameras: in the order of the sources.
    """

    def __init__(self, opening: SinkOpening, health: SharedHealth | None = None) -> None:
        self._health = health or SharedHealth()
        self._queues: Sequence[QueuedSink] = opening.queues
        self._labels = [printable(label) for label in opening.bundle.labels]
        self.cameras = [Camera(printable(s.name), s.live) for s in opening.sources]
        self._by_source = {s.name: c for s, c in zip(opening.sources, self.cameras, strict=True)}
        self._lock = threading.Lock()
        classifier = opening.classifier
        self.about = {
            "bundle": printable(opening.bundle.name),
            "variant": classifier.variant.name,
            "engine": printable(classifier.engine.describe()),
            "profile": printable(classifier.profile.name),
            "notes": [printable(note) for note in classifier.notes],
            "cameras": [camera.name for camera in self.cameras],
            "history_s": HISTORY_S,
        }

    def add(self, result: Result) -> None:
        """Take a result; what is kept of it is its newest frame and a few numbers."""
        camera = self._by_source.get(result.frame.source, self.cameras[0])
        now = time.monotonic()
        if result.is_repeat:
            with self._lock:
                camera.arrived_s = now
            return
        text, kind, score = said(result)
        at = result.captured_at
        with self._lock:
            camera.latest, camera.arrived_s = result, now
            camera.version += 1
            if now - camera.sampled_s >= SAMPLE_S:
                camera.sampled_s = now
                answer = result.answer
                camera.samples.append(answer.probabilities if answer else None)
            last = camera.rows[-1] if camera.rows else None
            if last is None or (last.text, last.kind) != (text, kind):
                camera.rows.append(Said(at, text, kind, score, at))
                return
            last.until, last.frames = at, last.frames + 1
            if score is not None:
                last.score = max(score, last.score or 0.0)

    def add_event(self, event: SourceEvent) -> None:
        """Remember what befell a source last."""
        camera = self._by_source.get(event.source)
        if camera is not None:
            with self._lock:
                camera.event = f"{event.kind}: {printable(event.detail)}"

    def present(self) -> dict[str, Any]:
        """What changes with every frame."""
        with self._lock:
            cameras = [self._present(camera) for camera in self.cameras]
        health = self._health.now()
        return {
            "cameras": cameras,
            "temperature_c": _number(health.hottest_c),
            "throttling": [printable(reason) for reason in health.throttling],
            "memory_available_bytes": health.memory_available_bytes,
            "sinks": [
                {"name": printable(q.name), "dropped": q.count.dropped, "failed": q.count.failed}
                for q in self._queues
            ],
        }

    def past(self) -> dict[str, Any]:
        """What changes twice a second: histories and tables."""
        with self._lock:
            return {
                "cameras": [
                    {
                        "labels": self._histories(list(camera.samples)),
                        "rows": [row.as_dict() for row in reversed(camera.rows)],
                    }
                    for camera in self.cameras
                ]
            }

    def picture(self, number: int) -> tuple[int, Result | None]:
        """Version and newest result of a camera."""
        with self._lock:
            camera = self.cameras[number]
            return camera.version, camera.latest

    def _present(self, camera: Camera) -> dict[str, Any]:
        told: dict[str, Any] = {"event": camera.event}
        if camera.latest is None:
            return told
        quiet_s = round(time.monotonic() - camera.arrived_s, 1)
        return told | self.told(camera.latest) | {"quiet_s": quiet_s}

    def told(self, result: Result) -> dict[str, Any]:
        """One frame and its answer, as the page shows it."""
        text, kind, score = said(result)
        return {
            "text": text,
            "kind": kind,
            "score": _number(score),
            "frame": result.frame.index,
            "at": round(result.captured_at, 3),
            "fps": round(result.fps, 1),
            "age_ms": round(result.age_ms, 1),
            "infer_ms": round(result.stages.infer_ms, 2),
        }

    def _histories(self, samples: list[np.ndarray | None]) -> list[dict[str, Any]]:
        known = [row for row in samples if row is not None]
        if not known:
            return []
        # A NaN is nowhere on a line.
        shown: Sequence[int] = range(len(self._labels))
        if len(self._labels) > SHOWN_LABELS:
            mean = np.nan_to_num(np.mean(known, axis=0, dtype=np.float32))
            shown = [int(i) for i in np.argsort(-mean, kind="stable")[:SHOWN_LABELS]]
        return [
            {
                "label": self._labels[i],
                "points": [None if row is None else _number(float(row[i]), 3) for row in samples],
            }
            for i in shown
        ]


def said(result: Result) -> tuple[str, str, float | None]:
    """Text, kind and score of what a frame was answered.

    The kind is `answer`, `unknown`, or the frame's condition: `black`, `frozen`, `stale`.
    """
    if result.answer is None:
        return "", result.frame.condition, None
    kind = "unknown" if result.answer.abstained else "answer"
    return printable(result.answer.label), kind, result.answer.score


def _number(value: float | None, places: int = 4) -> float | None:
    # JSON has no NaN.
    return round(float(value), places) if value is not None and math.isfinite(value) else None
