"""What the loop hands to its sinks."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from edge_runtime.classifier import Prediction
from edge_runtime.sources import Frame, SourceEvent

UNKNOWN = "unknown"


@dataclass(frozen=True, eq=False)
class Answer:
    """What the loop says of a frame, after smoothing and abstaining.

    Attributes:
        label: one of the bundle's, or `UNKNOWN`.
        index: its place in the bundle's labels; `None` where the loop abstains.
        score: probability of the best label, of this frame or smoothed; NaN when the model
            answered NaN.
        probabilities: float32, shape (labels,), likewise.
    """

    label: str
    index: int | None
    score: float
    probabilities: np.ndarray

    @property
    def abstained(self) -> bool:
        return self.index is None


@dataclass(frozen=True)
class Stages:
    """Where a frame's time went, in milliseconds.

    Attributes:
        capture_ms: inside the source: decoding, and for a camera waiting for the picture.
        wait_ms: from capture until a worker took the frame.
        preprocess_ms: from frame to input tensor.
        infer_ms: inside engine and head, for all the frames that were run together.
        batch: how many that were.
    """

    capture_ms: float = 0.0
    wait_ms: float = 0.0
    preprocess_ms: float = 0.0
    infer_ms: float = 0.0
    batch: int = 1


@dataclass(frozen=True, eq=False)
class Result:
    """One frame with its answer.

    Attributes:
        prediction: the model's for this frame alone, or for the clip that ends with it; `None`
            where the frame's condition is not "ok": such a frame is never classified.
        age_ms: from capture to answer.
        fps: results a second over the last few frames of its source; 0 for the first.
        answer: `prediction` after smoothing and abstaining; `None` where that is.
        stages: where the time went.
        captured_at: when the frame was captured, in seconds since 1970.
        answered_s: `time.perf_counter()` at the answer.
    """

    frame: Frame
    prediction: Prediction | None
    age_ms: float
    fps: float
    answer: Answer | None = None
    stages: Stages = Stages()
    captured_at: float = 0.0
    answered_s: float = 0.0

    @property
    def output_ms(self) -> float:
        """Since the answer, so far: its turn, and the sinks before the one that asks."""
        return (time.perf_counter() - self.answered_s) * 1e3

    @property
    def is_repeat(self) -> bool:
        """Whether it shows the picture answered before it: that answer stands."""
        return self.frame.condition == "repeated"

    @property
    def unanswered(self) -> str:
        """Why there is no answer, in words."""
        condition = self.frame.condition
        return "clip not whole yet" if condition == "filling" else f"{condition} frame"

    def without_pixels(self) -> Result:
        """The same result, its frame without the picture."""
        return replace(self, frame=replace(self.frame, bgr=np.empty((0, 0, 3), np.uint8)))


class Sink(Protocol):
    """Where results go. All calls come from one thread.

    A sink may also have `event(event: SourceEvent)`, to be told what befell a source; and, for its
    place behind a queue, `wants(result) -> bool` (see `QueuedSink`).
    """

    def write(self, result: Result) -> None:
        """Take one result. The frame is the caller's: copy before drawing."""

    def close(self) -> None:
        """Finish what was begun. Safe to call twice."""


class EventSink(Protocol):
    """A sink that also wants to know what befell a source."""

    def event(self, event: SourceEvent) -> None:
        """Take one event, in order with the results."""
