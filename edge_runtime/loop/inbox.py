"""Frames on their way from the sources to the workers."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from edge_runtime.sources import Frame

# How many decoded frames of a file may wait: enough to smooth over uneven frames, few in memory.
FILE_FRAMES = 4


@dataclass(frozen=True, eq=False)
class Captured:
    """A frame with what capturing it took.

    Attributes:
        source: which of the loop's sources it is of.
        capture_ms: inside the source's `read`.
        at_s: when it was captured: of a live source on `perf_counter`'s clock, of a file from its
            beginning.
    """

    frame: Frame
    source: int
    capture_ms: float
    at_s: float = 0.0


class Inbox:
    """One newest frame of each live source, a few frames of each file.

    A file waits when its place is full: nothing is lost. A live source is read when a worker is
    free for its frame: what nobody would look at is never decoded, and what is looked at is new.
    Of several live sources each has one frame waiting for its turn.
    """

    def __init__(self, live: list[bool], file_frames: int = FILE_FRAMES) -> None:
        """Args:
        live: for each source whether it is.
        file_frames: how many frames of a file may wait.
        """
        self._live, self._file_frames = live, file_frames
        self._waiting: list[deque[Captured]] = [deque() for _ in live]
        self._open = [True] * len(live)
        self._closed = False
        # A condition for each that waits: who has nothing to do is not woken.
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._wanted = [threading.Condition(self._lock) for _ in live]
        self._error: BaseException | None = None
        self._next = 0
        self._idle = 0

    def wait_until_wanted(self, source: int) -> bool:
        """Block until it is time to read; False when nobody wants frames any more."""
        with self._lock:
            while not self._closed:
                waiting = len(self._waiting[source])
                if (
                    (self._idle and not waiting)
                    if self._live[source]
                    else waiting < self._file_frames
                ):
                    return True
                self._wanted[source].wait()
            return False

    def put(self, captured: Captured) -> bool:
        """Offer a frame; False when nobody will take any more."""
        with self._lock:
            if self._closed:
                return False
            self._waiting[captured.source].append(captured)
            self._arrived.notify()
            return True

    def take(self, limit: int = 1) -> list[Captured]:
        """The next frames, at most `limit`, of each source in turn; none when there are no more.

        Raises:
            BaseException: what ended a source, after the frames before it were taken.
        """
        with self._lock:
            self._idle += 1
            for source, live in enumerate(self._live):
                if live:
                    self._wanted[source].notify()
            try:
                while not any(self._waiting) and any(self._open) and not self._closed:
                    self._arrived.wait()
            finally:
                self._idle -= 1
            taken = [self._pop() for _ in range(min(limit, sum(map(len, self._waiting))))]
            for source in {captured.source for captured in taken}:
                self._wanted[source].notify()
            if not taken and self._error is not None:
                error, self._error = self._error, None
                raise error
            return taken

    def _pop(self) -> Captured:
        count = len(self._waiting)
        turn = next(
            (self._next + step) % count
            for step in range(count)
            if self._waiting[(self._next + step) % count]
        )
        self._next = (turn + 1) % count
        return self._waiting[turn].popleft()

    def finish(self, source: int, error: BaseException | None = None) -> None:
        """A source has no more frames; with an error, no other source's are taken in either."""
        with self._lock:
            self._open[source] = False
            if error is not None:
                self._error = self._error or error
                self._open = [False] * len(self._open)
                self._closed = True
            self._wake_all()

    def close(self) -> None:
        """Nobody takes any more: what waits is let go."""
        with self._lock:
            self._closed = True
            self._open = [False] * len(self._open)
            for waiting in self._waiting:
                waiting.clear()
            self._error = None
            self._wake_all()

    def _wake_all(self) -> None:
        for condition in (self._arrived, *self._wanted):
            condition.notify_all()
