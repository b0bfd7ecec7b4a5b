"""Recordings: a video or a folder of pictures, read frame by frame with the time of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from edge_runtime.errors import ImageError, SourceError
from edge_runtime.images import decode_image
from edge_runtime.sources.asking import plausible_fps
from edge_runtime.sources.files import picture_files, video_capture
from edge_runtime.sources.frame_pool import FramePool

DEFAULT_FPS = 30.0
PICTURES_FPS = 1.0


class Recording(Protocol):
    """Frames with their times.

    Attributes:
        fps: frames a second, on average.
        frame_count: how many there are; `None` where that is not known.
        skipped: what could not be read, in words.
        files: what it is read from.
    """

    fps: float
    frame_count: int | None
    skipped: list[str]
    files: Sequence[Path]

    def grab(self) -> float | None:
        """Go on to the next frame; its time in seconds from the first, `None` at the end."""

    def retrieve(self) -> np.ndarray | None:
        """The frame grabbed last: uint8 BGR (height, width, 3); `None` if unreadable."""

    def file(self) -> str | None:
        """The file of the frame grabbed last, where each has its own."""

    def rewind(self) -> None:
        """Start over."""

    def close(self) -> None:
        """Let its files go."""


class VideoRecording:
    """A video file. See `Recording`.

    Args:
        fps: to play it at another rate than its own.
        times_s: when each frame was taken, from the first, in place of the file's own times.

    Raises:
        SourceError: when it does not open.
    """

    def __init__(
        self, path: Path, *, fps: float | None = None, times_s: Sequence[float] | None = None
    ) -> None:
        self._path, self._times_s = path, times_s
        self.files: Sequence[Path] = (path,)
        self._capture = video_capture(path)
        self._pool = FramePool()
        own = plausible_fps(self._capture.get(cv2.CAP_PROP_FPS))
        self._stamped = fps is None and times_s is None
        self.fps = fps or own or DEFAULT_FPS
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.frame_count = count if count > 0 else None
        self.skipped: list[str] = []
        self._grabbed = 0
        self._first_s = self._last_s = 0.0

    def grab(self) -> float | None:
        if self._times_s is not None and self._grabbed >= len(self._times_s):
            return None
        if not self._capture.grab():
            self._note_early_end()
            return None
        number, self._grabbed = self._grabbed, self._grabbed + 1
        self._last_s = self._time_s(number)
        return self._last_s

    def retrieve(self) -> np.ndarray | None:
        return self._pool.retrieve(self._capture)

    def file(self) -> str | None:
        return None

    def rewind(self) -> None:
        # Seeking is inexact in many files; opening again is not.
        self._capture.release()
        self._capture = video_capture(self._path)
        self._grabbed = 0

    def close(self) -> None:
        self._capture.release()

    def _note_early_end(self) -> None:
        # Headers estimate: whole files may end a little before.
        missing = (self.frame_count or 0) - self._grabbed
        if self._times_s is None and missing > 2 + self._grabbed // 100 and not self.skipped:
            self.skipped.append(
                f"{self._path}: ended after {self._grabbed} of {self.frame_count} frames; is it "
                "cut off?"
            )

    def _time_s(self, number: int) -> float:
        if self._times_s is not None:
            return self._times_s[number]
        if not self._stamped:
            return number / self.fps
        stamp_s = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1e3
        if number == 0:
            self._first_s = stamp_s
            return 0.0
        stamp_s -= self._first_s
        # Damaged files repeat stamps or jump back.
        return stamp_s if stamp_s > self._last_s else self._last_s + 1 / self.fps


class PicturesRecording:
    """Picture files, each a frame. See `Recording`.

    Args:
        files: in the order in which they are played.
        times_s: when each was taken, from the first; `None` for one every 1/fps seconds.
    """

    frame_count: int | None

    def __init__(
        self,
        files: Sequence[Path],
        *,
        fps: float | None = None,
        times_s: Sequence[float] | None = None,
    ) -> None:
        self.files, self._times_s = files, times_s
        span_s = times_s[-1] if times_s else 0.0
        self.fps = fps or ((len(files) - 1) / span_s if span_s > 0 else PICTURES_FPS)
        self.frame_count = len(files)
        self.skipped: list[str] = []
        self._number = -1
        self._closed = False

    @classmethod
    def of_folder(cls, folder: Path, *, fps: float | None = None) -> PicturesRecording:
        """All pictures of a folder, or a single one. Raises SourceError: there is none."""
        return cls(picture_files(folder), fps=fps)

    def grab(self) -> float | None:
        if self._closed or self._number + 1 >= len(self.files):
            return None
        self._number += 1
        return self._times_s[self._number] if self._times_s else self._number / self.fps

    def retrieve(self) -> np.ndarray | None:
        try:
            return decode_image(self.files[self._number])
        except ImageError as exc:
            reason = f"skipped {exc}"
            if reason not in self.skipped:
                self.skipped.append(reason)
            return None

    def file(self) -> str | None:
        return str(self.files[self._number])

    def rewind(self) -> None:
        self._number = -1

    def close(self) -> None:
        self._closed = True


def open_recording(
    path: Path, *, fps: float | None = None, times_s: Sequence[float] | None = None
) -> Recording:
    """A video file, a folder of pictures or a picture as a recording.

    Raises:
        SourceError: when it is absent or does not open.
    """
    if not path.exists():
        raise SourceError(f"{path}: no such file or folder to replay.")
    if path.is_dir():
        files = picture_files(path)
        if times_s is not None:
            if len(times_s) > len(files):
                raise SourceError(f"{path}: holds {len(files)} pictures for {len(times_s)} times.")
            files = files[: len(times_s)]
        return PicturesRecording(files, fps=fps, times_s=times_s)
    return VideoRecording(path, fps=fps, times_s=times_s)
