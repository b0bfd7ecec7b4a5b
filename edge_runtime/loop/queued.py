"""A sink in a thread of its own, behind a bounded queue: nothing waits for it, however slow."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from edge_runtime.errors import EdgeproofError, SinkError
from edge_runtime.loop.results import Result, Sink
from edge_runtime.sources import SourceEvent
from edge_runtime.text import count_of, one_line

# A stop is answered within a second, of which this is for what still waits.
STOPPED_S = 0.35
# How often a sink that goes on losing results says so again.
_REMIND_S = 60.0
_POLL_S = 0.1


@dataclass
class SinkCount:
    """What became of the results that a sink was given.

    Attributes:
        taken: how many it took; also those that it failed with.
        dropped: how many gave way to newer ones, as it was too slow, or were left at the end.
        failed: how many calls of it failed.
        why: what the last of them failed with.
        hung: whether it was still busy when the run had to end.
        undelivered: how many messages it took on and could not deliver.
    """

    taken: int = 0
    dropped: int = 0
    failed: int = 0
    why: str = ""
    hung: bool = False
    undelivered: int = 0


class QueuedSink:
    """Hands results on in a thread of its own; when its queue is full, the oldest gives way.

    All calls of the sink, `close` too, come from that one thread. A call that fails is said once,
    and the next result is tried again: what passes by itself needs nobody.

    Attributes:
        name: what people call it, such as `mqtt`.
        count: what became of the results so far.
        finish_s: how long it may take to do what waits when the run is stopped.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        name: str,
        capacity: int = 256,
        pixels: bool = False,
        finish_s: float = STOPPED_S,
        patient_until: threading.Event | None = None,
        fatal: bool = False,
        on_note: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Args:
        sink: if it has `wants(result) -> bool`, it is asked first, in the caller's thread: it
            must answer at once, and what it does not want takes no place in the queue. If it has
            `undelivered`, that is counted at the end.
        capacity: how many results and events may wait.
        pixels: keep the frames' pictures; a queue of 720p frames takes 2.7 MB for each.
        finish_s: how long it may take to do what waits when the run is stopped.
        patient_until: until that is set, wait for room instead of dropping anything; for files,
            whose frames can wait.
        fatal: a failure is raised again by the next `write`, and ends the run.
        on_note: told, once, when it begins to fail; and each minute while it drops results.
        """
        self.name, self.count = name, SinkCount()
        self._sink, self._capacity, self._pixels = sink, capacity, pixels
        self._patient_until, self._fatal, self._on_note = patient_until, fatal, on_note
        self.finish_s = finish_s
        self._wants: Callable[[Result], bool] = getattr(sink, "wants", lambda result: True)
        self._event: Callable[[SourceEvent], None] | None = getattr(sink, "event", None)
        self._waiting: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._ending, self._ended_s = False, 0.0
        self._error: BaseException | None = None
        self._reminded_s = float("-inf")
        self._thread = threading.Thread(target=self._run, name=f"edgeproof-{name}", daemon=True)
        self._thread.start()

    def write(self, result: Result) -> None:
        """Queue a result.

        Raises:
            BaseException: what the sink failed with, if that is fatal.
        """
        if self._fatal and self._error is not None:
            error, self._error = self._error, None
            raise error
        try:
            wanted = self._wants(result)
        except Exception as exc:
            self._take_failure(exc)
            return
        if wanted:
            kept = result if self._pixels else result.without_pixels()
            self.post(partial(self._sink.write, kept))

    def event(self, event: SourceEvent) -> None:
        """Queue an event, if the sink takes any."""
        if self._event is not None:
            self.post(partial(self._event, event))

    def post(self, action: Callable[[], None]) -> None:
        """Have something done in the sink's thread, in its turn."""
        with self._changed:
            while self._is_patient() and len(self._waiting) >= self._capacity:
                self._changed.wait(_POLL_S)
            if self._ending:
                self.count.dropped += 1
                return
            full = len(self._waiting) >= self._capacity
            if full:
                self._waiting.popleft()
                self.count.dropped += 1
            self._waiting.append(action)
            self._changed.notify_all()
        if full:
            self._remind()

    def end(self) -> None:
        """Nothing more will come; what waits is still done. Returns at once."""
        with self._changed:
            if not self._ending:
                self._ending, self._ended_s = True, time.perf_counter()
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Whether within that time its thread has done all that it had to do."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def close(self) -> None:
        """End, wait until `finish_s` after the end began, and leave behind what hangs.

        Safe to call twice.

        Raises:
            EdgeproofError: when a call of the sink failed, or closing it.
            BaseException: if that is fatal, whatever it was.
        """
        self.end()
        if not self.wait(max(0.0, self._ended_s + self.finish_s - time.perf_counter())):
            self._abandon()
        error, self._error = self._error, None
        if isinstance(error, EdgeproofError) or (error is not None and self._fatal):
            raise error
        if error is not None:
            raise SinkError(f"{self.name}: {_words(error)}")

    def _abandon(self) -> None:
        with self._changed:
            self.count.hung = True
            self.count.dropped += len(self._waiting)
            self._waiting.clear()

    def _run(self) -> None:
        while (action := self._next()) is not None:
            try:
                action()
            except Exception as exc:  # whatever a sink's library raises must not end its thread
                self._take_failure(exc)
            self.count.taken += 1
        try:
            self._sink.close()
        except Exception as exc:
            self._error = exc
        self.count.undelivered = getattr(self._sink, "undelivered", 0)

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._waiting and not self._ending:
                self._changed.wait()
            if not self._waiting:
                return None
            action = self._waiting.popleft()
            if self._patient_until is not None:
                self._changed.notify_all()
            return action

    def _is_patient(self) -> bool:
        stop = self._patient_until
        return stop is not None and not stop.is_set() and not self._ending

    def _take_failure(self, error: Exception) -> None:
        self.count.failed += 1
        self.count.why = _words(error)
        self._error = error
        if self.count.failed == 1 and not self._fatal:
            self._on_note(f"{self.name}: {self.count.why}; the run goes on")

    def _remind(self) -> None:
        now = time.monotonic()
        if now - self._reminded_s < _REMIND_S:
            return
        self._reminded_s = now
        lost = count_of(self.count.dropped, "result")
        self._on_note(f"{self.name}: too slow: {lost} dropped so far; the run goes on")


def _words(error: BaseException) -> str:
    return one_line(str(error) or type(error).__name__).rstrip(".")
