"""What all live cameras share: the newest frame only, reopening, and telling what befell them."""

from __future__ import annotations

import atexit
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from edge_runtime.errors import SourceError
from edge_runtime.sources.base import EventKind, Frame, Readable, SourceEvent, SourceOptions
from edge_runtime.sources.health import Watch

# After so many pictures in a row that do not decode, the camera is opened anew.
_UNDECODABLE = 30
_EVENTS_KEPT = 256
# Closing waits so long for a grab in progress: first as it is, then interrupted.
_PROMPT_S = 0.2
_CLOSE_S = 0.5
# At the end of the process: as long as the longest wait in a driver or for the network.
_EXIT_S = 12.0
# How quickly averages follow: one part in so many for each new frame.
_INERTIA = 8
# Once the pause has reached its longest, a camera that stays away is told of this often.
_STILL_AWAY_S = 600.0

# Those not yet collected; a running thread holds its own.
_open_sources: weakref.WeakSet[LiveSource] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    # A thread that comes back from C++ into an interpreter that is gone takes the process down.
    for source in list(_open_sources):
        source._stop(_EXIT_S)


class Capture(Protocol):
    """An open camera. Used by one thread at a time.

    Attributes:
        granted: size, rate and format, in words, and what was asked for where that differs.
        fps: frames a second that it promises; `None` where it does not say.
    """

    granted: str
    fps: float | None

    def grab(self) -> float | None:
        """Wait for the next picture, undecoded.

        Returns:
            When it was captured (`time.perf_counter()`), or `None`: the camera is gone.
        """

    def retrieve(self) -> np.ndarray | None:
        """Decode the picture grabbed last: uint8 BGR (height, width, 3), the caller's to keep."""

    def close(self) -> None:
        """Let the camera go."""


class Camera(Protocol):
    """A camera that can be opened, and opened again.

    Attributes:
        name: what a person calls it; never holds credentials.
        frozen_s: for how many seconds it must repeat one picture to be called frozen.
    """

    name: str
    frozen_s: float

    def open(self) -> Capture:
        """Open it. Raises SourceError with one line that says why not."""

    def interrupt(self) -> None:
        """Make a grab that waits in another thread return soon, where that can be done."""


class LiveSource(Readable):
    """A camera read in a thread of its own, of which only the newest frame is ever given.

    The thread grabs every picture, so that none waits in the driver or the network and grows old;
    it decodes a picture when somebody waits for it, or is expected to before the next one comes.

    Raises:
        SourceError: when the camera does not open now. Later on it is opened again, unless the
            options say otherwise.
    """

    live = True

    def __init__(self, camera: Camera, options: SourceOptions) -> None:
        super().__init__(camera.name)
        self._camera, self._options = camera, options
        self._watch = Watch(camera.name, options, frozen_s=camera.frozen_s)
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._events: deque[SourceEvent] = deque(maxlen=_EVENTS_KEPT)
        self._newest: tuple[Frame, float] | None = None
        self._error: BaseException | None = None
        self._ended = False
        # Of the thread:
        self._grabbed = 0
        self._connected = self._stalled = False
        self._arrived_s = time.perf_counter()
        self._tries = 0
        # Of the reader:
        self._delivered = 0
        self._waiting = False
        self._given_s: float | None = None
        self._busy_s: float | None = None

        capture = camera.open()
        self.granted, self.fps = capture.granted, capture.fps
        self._period_s = 1 / capture.fps if capture.fps else 0.0
        self._tell("opened", capture.granted)
        self._thread = threading.Thread(
            target=self._run, args=(capture,), name=f"edgeproof-{camera.name}", daemon=True
        )
        self._thread.start()
        _open_sources.add(self)

    # --- the reader's side ---

    def read(self) -> Frame | None:
        """The newest frame not yet given; waits for one. `None` once the source is closed.

        Raises:
            SourceError: when the camera delivered nothing at all, or is lost for good.
        """
        now = time.perf_counter()
        with self._changed:
            if self._given_s is not None:
                self._busy_s = _follow(self._busy_s, now - self._given_s)
            self._forget_old(now)
            self._waiting = True
        try:
            while True:
                for event in self._pending_events():
                    self.on_event(event)
                with self._changed:
                    if not self._events:
                        if frame := self._take():
                            return frame
                        if self._ended or self._stopping.is_set():
                            self._raise_error()
                            return None
                        self._changed.wait(self._patience_s())
                        self._notice_stall()
        finally:
            self._waiting = False

    def close(self) -> None:
        self._stop(_CLOSE_S)

    def _stop(self, patience_s: float) -> None:
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        # A capture must not be released while it is read: its thread does that, when the grab has
        # returned. One that hangs in the driver or the network keeps nobody waiting here.
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=_PROMPT_S)
            self._camera.interrupt()
            self._thread.join(timeout=patience_s)

    def _pending_events(self) -> list[SourceEvent]:
        with self._changed:
            events = list(self._events)
            self._events.clear()
            return events

    def _forget_old(self, now_s: float) -> None:
        # One that was decoded ahead, while the next one is nearer in time.
        if self._newest and self._period_s and now_s - self._newest[1] > self._period_s / 2:
            self._newest = None

    def _take(self) -> Frame | None:
        if self._newest is None:
            return None
        frame, _ = self._newest
        self._newest = None
        self._delivered += 1
        self.dropped = frame.index + 1 - self._delivered
        self._given_s = time.perf_counter()
        return frame

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _patience_s(self) -> float | None:
        if not self._connected or self._stalled:
            return None
        return max(0.0, self._arrived_s + self._options.stall_s - time.perf_counter())

    def _notice_stall(self) -> None:
        waited_s = time.perf_counter() - self._arrived_s
        if self._connected and not self._stalled and waited_s >= self._options.stall_s:
            self._stalled = True
            self._tell("stalled", f"no frame for {waited_s:.1f} s")

    # --- the thread's side ---

    def _run(self, capture: Capture | None) -> None:
        try:
            while capture is not None:
                try:
                    why = self._pump(capture)
                finally:
                    with self._changed:
                        self._connected, self._newest = False, None
                    capture.close()
                # Closed, a grab that was interrupted looks like a lost camera.
                lost = why and not self._stopping.is_set()
                capture = self._regained(why) if lost else None
        except BaseException as exc:  # raised again where frames are read
            self._error = exc
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _pump(self, capture: Capture) -> str:
        """Grab until the camera is gone; returns why, or nothing when closed."""
        undecodable = 0
        self._arrived_s = time.perf_counter()
        self._connected = True
        while not self._stopping.is_set():
            captured_s = capture.grab()
            arrived_s = time.perf_counter()
            if captured_s is None:
                return "it stopped delivering"
            self._arrived(arrived_s, capture)
            if not self._wanted(arrived_s):
                continue
            image = capture.retrieve()
            if image is None:
                undecodable += 1
                if undecodable == _UNDECODABLE:
                    return f"{undecodable} pictures in a row did not decode"
                continue
            undecodable = 0
            self._offer(image, captured_s, arrived_s)
        return ""

    def _arrived(self, now_s: float, capture: Capture) -> None:
        if self._grabbed and not self._tries:
            gap_s = now_s - self._arrived_s
            usual_s = self._period_s or gap_s
            self._period_s = _follow(usual_s, min(gap_s, 4 * usual_s))
        self._arrived_s = now_s
        self._grabbed += 1
        if self._tries:
            self._tries = 0
            self._stalled = False
            self.granted = capture.granted
            self._tell("reopened", capture.granted)
        elif self._stalled:
            self._stalled = False
            self._tell("recovered", "frames come again")

    def _wanted(self, now_s: float) -> bool:
        if self._waiting:
            return True
        if self._busy_s is None or self._given_s is None:
            return False
        return now_s - self._given_s >= self._busy_s - self._period_s

    def _offer(self, image: np.ndarray, captured_s: float, arrived_s: float) -> None:
        condition, event = self._watch.frame(image, captured_s=captured_s, arrived_s=arrived_s)
        frame = Frame(
            image, self._grabbed - 1, captured_s, condition=condition, source=self._camera.name
        )
        with self._changed:
            if event:
                self._events.append(event)
            self._newest = (frame, arrived_s)
            self._changed.notify_all()

    def _regained(self, why: str) -> Capture | None:
        """Open the camera again, however long it takes; `None` when closed meanwhile."""
        if not self._grabbed:
            raise SourceError(f"{self.name}: opened, but delivered no picture: {why}.")
        if not self._options.reopen:
            raise SourceError(
                f"{self.name}: stopped delivering after {self._grabbed} frames ({why}); is it "
                "still connected?"
            )
        if not self._tries:  # else it came back without a frame, and is as lost as before
            self._tell("lost", why)
        pauses = pauses_s(self._options)
        for _ in range(self._tries):
            next(pauses)
        told_s = 0.0
        for pause_s in pauses:
            now = time.perf_counter()
            if pause_s < self._options.reopen_max_s * 0.8 or now - told_s > _STILL_AWAY_S:
                told_s = now
                self._tell("reopening", f"try {self._tries + 1} in {pause_s:.1f} s: {why}")
            if self._stopping.wait(pause_s):
                return None
            self._tries += 1
            try:
                return self._camera.open()
            except SourceError as exc:
                why = str(exc)
            if self._tries == self._options.reopen_tries:
                raise SourceError(f"{self.name}: gave up after {self._tries} tries: {why}")
        return None

    def _tell(self, kind: EventKind, detail: str) -> None:
        with self._changed:
            self._events.append(self._watch.event(kind, detail))
            self._changed.notify_all()


def pauses_s(options: SourceOptions) -> Iterator[float]:
    """Seconds before each try: none, then growing to the longest, each give or take a fifth.

    The chance in them keeps many devices from knocking at one recorder at once.
    """
    yield 0.0
    pause = options.reopen_first_s
    while True:
        yield min(pause, options.reopen_max_s) * random.uniform(0.8, 1.2)
        pause = min(pause * 2, options.reopen_max_s)


def _follow(mean: float | None, value: float) -> float:
    return value if mean is None else mean + (value - mean) / _INERTIA
