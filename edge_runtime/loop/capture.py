"""A thread for each source that puts its frames into the inbox."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np

from edge_runtime.clip import Clip, FrameTimer
from edge_runtime.loop.inbox import Captured, Inbox
from edge_runtime.sources import Frame, Source


class Capture:
    """Reads one source until it ends or nobody wants frames any more."""

    def __init__(
        self,
        source: Source,
        number: int,
        inbox: Inbox,
        *,
        stride: int = 1,
        answer_repeats: bool = False,
        clip: Clip | None = None,
    ) -> None:
        """Args:
        number: which of the loop's sources it is.
        stride: every so many frames one is put into the inbox.
        answer_repeats: whether a live source's picture is news also where it is, byte for byte,
            the one before.
        clip: of a model of clips: frames are taken at its rate, by when they were captured.
        """
        self._clip, self._timer = clip, FrameTimer(clip) if clip else None
        self._answered: np.ndarray | None = None
        self._judge_repeats = source.live and not answer_repeats
        self._source, self._number, self._inbox, self._stride = source, number, inbox, stride
        self._due = 0
        self.thread = threading.Thread(
            target=self._run, name=f"edgeproof-capture-{number}", daemon=True
        )

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            while self._inbox.wait_until_wanted(self._number):
                before = time.perf_counter()
                frame = self._source.read()
                if frame is None:
                    break
                if frame.index < self._due and frame.condition == "ok":
                    continue
                at_s = self._at_s(frame)
                if frame.condition == "ok" and self._timer and not self._timer.wants(at_s):
                    continue
                # Counted on the source's own index: a camera that drops frames keeps its pace.
                self._due = frame.index - frame.index % self._stride + self._stride
                took_ms = (time.perf_counter() - before) * 1e3
                captured = Captured(self._judged(frame), self._number, took_ms, at_s)
                if not self._inbox.put(captured):
                    break
        except BaseException as exc:  # raised again where answers are taken
            error = exc
        finally:
            self._inbox.finish(self._number, error)

    def _at_s(self, frame: Frame) -> float:
        """When a frame was captured; a file's frames are decoded faster, or slower, than that."""
        if self._source.live or self._clip is None:
            return frame.captured_s
        # Pictures of a folder have no rate: each is a step of the clip.
        return frame.index / (self._source.fps or self._clip.fps)

    def _judged(self, frame: Frame) -> Frame:
        """The frame, "repeated" where it shows what was answered last.

        Judged here and not in the source: only what was really taken can be repeated.
        """
        if frame.condition != "ok" or not self._judge_repeats:
            return frame
        if self._answered is not None and _same(frame.bgr, self._answered):
            return replace(frame, condition="repeated")
        self._answered = frame.bgr
        return frame

    def close(self, deadline_s: float) -> bool:
        """Let the source go; whether that was possible before the deadline (`perf_counter`)."""
        # Closing ends a read that waits for a camera, and may itself wait for the driver.
        closer = threading.Thread(target=self._close, name="edgeproof-close", daemon=True)
        closer.start()
        for thread in (closer, self.thread):
            thread.join(max(0.0, deadline_s - time.perf_counter()))
        return not (closer.is_alive() or self.thread.is_alive())

    def _close(self) -> None:
        if not self._source.live:
            # A file is read within milliseconds.
            self.thread.join()
        self._source.close()


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two pictures are equal; noise tells most apart by one row."""
    if one.shape != other.shape:
        return False
    middle = len(one) // 2
    return np.array_equal(one[middle], other[middle]) and np.array_equal(one, other)
