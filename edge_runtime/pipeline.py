"""The camera loop: capture in its own thread, everything else in the caller's."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from edge_runtime.classifier import Classifier, Prediction
from edge_runtime.errors import EdgeproofError
from edge_runtime.sources import Frame, Source

# How many decoded frames of a file may wait: enough to smooth over uneven frames, few in memory.
FILE_QUEUE_FRAMES = 4
_FPS_WINDOW = 30


@dataclass(frozen=True, eq=False)
class Result:
    """One frame with its answer.

    Attributes:
        age_ms: from capture to answer.
        fps: answers a second over the last few frames; 0 for the first.
    """

    frame: Frame
    prediction: Prediction
    age_ms: float
    fps: float

    def without_pixels(self) -> Result:
        """The same result, its frame without the picture."""
        return replace(self, frame=replace(self.frame, bgr=np.empty((0, 0, 3), np.uint8)))


class Sink(Protocol):
    """Where results go."""

    def write(self, result: Result) -> None:
        """Take one result. The frame is the caller's: copy before drawing."""

    def close(self) -> None:
        """Finish what was begun. Safe to call twice."""


@dataclass
class Summary:
    """What a run came to.

    Attributes:
        frames: how many were answered.
        dropped: live frames that were replaced by newer ones before their turn.
        skipped: what was passed over or is missing, in words.
        labels: how often each label came first.
        seconds: from the first frame captured to the last answered.
        age_ms_median: middle frame age at the answer.
        interrupted: whether the user ended it.
    """

    frames: int = 0
    dropped: int = 0
    skipped: list[str] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    age_ms_median: float = 0.0
    interrupted: bool = False

    @property
    def fps(self) -> float:
        return self.frames / self.seconds if self.seconds > 0 else 0.0


class FrameQueue:
    """Hands frames from the capture thread to the loop.

    Lossy, it holds the newest frame only; otherwise it makes the capture wait when full.
    """

    def __init__(self, *, lossy: bool) -> None:
        self._frames: deque[Frame] = deque()
        self._capacity = 1 if lossy else FILE_QUEUE_FRAMES
        self._lossy = lossy
        self._closed = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self.dropped = 0

    def put(self, frame: Frame) -> bool:
        """Offer a frame; False when nobody will take any more."""
        with self._changed:
            while not self._lossy and len(self._frames) >= self._capacity and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            if len(self._frames) >= self._capacity:
                self._frames.popleft()
                self.dropped += 1
            self._frames.append(frame)
            self._changed.notify_all()
            return True

    def get(self) -> Frame | None:
        """The next frame; `None` when there will be no more.

        Raises:
            BaseException: what ended the capture, after the frames before it were taken.
        """
        with self._changed:
            while not self._frames and not self._closed:
                self._changed.wait()
            if self._frames:
                self._changed.notify_all()
                return self._frames.popleft()
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            return None

    def close(self, error: BaseException | None = None) -> None:
        """No more frames will come, or be taken."""
        with self._changed:
            self._closed = True
            self._error = self._error or error
            self._changed.notify_all()


@contextlib.contextmanager
def captured(source: Source) -> Iterator[FrameQueue]:
    """Read the source in a thread of its own while the body takes frames from the queue."""
    queue = FrameQueue(lossy=source.live)

    def capture() -> None:
        try:
            while (frame := source.read()) is not None:
                if not queue.put(frame):
                    break
        except BaseException as exc:  # raised again where frames are taken
            queue.close(exc)
        finally:
            queue.close()

    thread = threading.Thread(target=capture, name="edgeproof-capture", daemon=True)
    thread.start()
    try:
        yield queue
    finally:
        queue.close()
        # A capture must not be released under a read in progress; a hung one is left to the
        # process' end.
        thread.join(timeout=5.0)
        if not thread.is_alive():
            source.close()


def run(
    classifier: Classifier,
    source: Source,
    sinks: Sequence[Sink] = (),
    *,
    stop: threading.Event | None = None,
    max_frames: int | None = None,
    summary: Summary | None = None,
) -> Summary:
    """Answer every frame of the source until it ends, `stop` is set, or Ctrl-C.

    Args:
        summary: filled as the run goes, so that it can be shown even when the run fails.

    Raises:
        SourceError: when the source ends before its time; all frames before it were answered.
        SinkError: when a result cannot be delivered.
    """
    summary = summary if summary is not None else Summary()
    recent: deque[float] = deque(maxlen=_FPS_WINDOW)
    ages: deque[float] = deque(maxlen=10_000)
    started: float | None = None
    try:
        with captured(source) as queue:
            try:
                while not (stop and stop.is_set()) and summary.frames != max_frames:
                    frame = queue.get()
                    if frame is None:
                        break
                    started = started or frame.captured_s
                    result = _answer(classifier, frame, recent)
                    summary.frames += 1
                    summary.labels[result.prediction.label] += 1
                    summary.seconds = recent[-1] - started
                    ages.append(result.age_ms)
                    for sink in sinks:
                        sink.write(result)
            except KeyboardInterrupt:
                summary.interrupted = True
            finally:
                summary.dropped = queue.dropped
                summary.skipped = list(source.skipped)
                summary.age_ms_median = sorted(ages)[len(ages) // 2] if ages else 0.0
    finally:
        _close_all(sinks)
    return summary


def _answer(classifier: Classifier, frame: Frame, recent: deque[float]) -> Result:
    prediction = classifier.classify(frame.bgr)
    now = time.perf_counter()
    recent.append(now)
    fps = (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 1 else 0.0
    return Result(frame, prediction, (now - frame.captured_s) * 1e3, fps)


def _close_all(sinks: Sequence[Sink]) -> None:
    """Close every sink, also when an earlier one fails; then raise the first failure."""
    failures: list[EdgeproofError] = []
    for sink in sinks:
        try:
            sink.close()
        except EdgeproofError as exc:
            failures.append(exc)
    if failures:
        raise failures[0]
