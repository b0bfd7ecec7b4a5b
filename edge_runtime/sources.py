"""Where frames come from: a video file, pictures, a V4L2 camera."""

from __future__ import annotations

import os
import re
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from edge_runtime.errors import ImageError, SourceError
from edge_runtime.images import IMAGE_SUFFIXES, decode_image, is_image_name


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a source.

    Attributes:
        bgr: uint8, shape (height, width, 3).
        index: counted from 0, over everything that the source delivered.
        captured_s: `time.perf_counter()` when it had been captured or decoded.
        name: file it came from, where each frame is its own file.
    """

    bgr: np.ndarray
    index: int
    captured_s: float
    name: str | None = None


class Source(Protocol):
    """A stream of frames; iterate over it or call `read`.

    Attributes:
        name: what a person calls it.
        live: frames come at their own time, and only the newest is worth an answer.
        frame_count: how many are to be expected; `None` for a camera.
        fps: frames a second; `None` where there is no such thing.
        skipped: what was passed over or is missing, in words.
    """

    name: str
    live: bool
    frame_count: int | None
    fps: float | None
    skipped: list[str]

    def read(self) -> Frame | None:
        """The next frame; `None` at the end.

        Raises:
            SourceError: when the source ends before its time.
        """

    def close(self) -> None:
        """Let the camera or file go. Safe to call twice."""

    def __iter__(self) -> Iterator[Frame]: ...


class _Readable(ABC):
    name: str
    live: bool = False
    frame_count: int | None = None
    fps: float | None = None
    skipped: list[str]

    @abstractmethod
    def read(self) -> Frame | None:
        """See `Source.read`."""

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.read()) is not None:
            yield frame


class VideoFile(_Readable):
    """All frames of a video file, in order.

    One frame is held back until its follower has been decoded: when a file is cut off in the
    middle of a frame, FFmpeg patches that frame up and delivers it as if it were whole.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.skipped: list[str] = []
        _require_utf8(path)
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        self._delivered = 0
        self._held = self._decode() if self._capture.isOpened() else None
        if self._held is None:
            self._capture.release()
            raise SourceError(
                f"{path}: does not open as a video (damaged, cut off, or not a video); "
                "play it in a player to check, or record it again."
            )
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.frame_count = count if count > 0 else None
        self.fps = fps if 0 < fps < 1000 else None

    def read(self) -> Frame | None:
        if self._held is None:
            return None
        image, follower = self._held, self._decode()
        self._held = follower
        if follower is None:
            self._require_complete(self._delivered + 1)
        frame = Frame(image, self._delivered, time.perf_counter())
        self._delivered += 1
        return frame

    def close(self) -> None:
        self._held = None
        self._capture.release()

    def _decode(self) -> np.ndarray | None:
        ok, image = self._capture.read()
        return image if ok else None

    def _require_complete(self, decoded: int) -> None:
        # Headers estimate: real files deliver a frame or two fewer than theirs says.
        if self.frame_count and decoded < self.frame_count - 2 - self.frame_count // 100:
            raise SourceError(
                f"{self.name}: is cut off or damaged: ended after {decoded} of "
                f"{self.frame_count} frames; the last one was not answered."
            )
        if self.frame_count and decoded < self.frame_count:
            self.skipped.append(
                f"{self.name}: ended after {decoded} of the {self.frame_count} frames that its "
                "header promises; some whole files do, and a file whose end is cut off does"
            )


class Pictures(_Readable):
    """Picture files as frames: those of a folder, sorted by name, or a single one."""

    live = False

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.skipped: list[str] = []
        self._only = path if path.is_file() else None
        files = [path] if self._only else sorted(p for p in path.rglob("*") if is_image_name(p))
        if not files:
            kinds = ", ".join(sorted(IMAGE_SUFFIXES))
            raise SourceError(f"{path}: holds no pictures ({kinds}).")
        self.frame_count = len(files)
        self._files = iter(files)
        self._delivered = 0

    def read(self) -> Frame | None:
        for file in self._files:
            try:
                image = decode_image(file)
            except ImageError as exc:
                if self._only:
                    raise SourceError(str(exc)) from exc
                self.skipped.append(f"skipped {exc}")
                continue
            frame = Frame(image, self._delivered, time.perf_counter(), name=str(file))
            self._delivered += 1
            return frame
        if not self._delivered and self.skipped:
            first = self.skipped[0].removeprefix("skipped ")
            raise SourceError(f"{self.name}: none of its pictures is readable: {first}")
        return None

    def close(self) -> None:
        self._files = iter(())


class V4l2Camera(_Readable):
    """A camera by its V4L2 index (elsewhere than on Linux: by OpenCV's own choice)."""

    live = True

    def __init__(self, index: int) -> None:
        self.name = f"camera {index}"
        self.skipped: list[str] = []
        backend = cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY
        # A buffer of one: the next frame is the newest, not one of four old ones.
        self._capture = cv2.VideoCapture(index, backend, [cv2.CAP_PROP_BUFFERSIZE, 1])
        if not self._capture.isOpened():
            raise SourceError(f"Camera {index} does not open: {_why_no_camera(index)}")
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if 0 < fps < 1000 else None
        self._delivered = 0

    def read(self) -> Frame | None:
        ok, image = self._capture.read()
        if not ok:
            raise SourceError(
                f"{self.name}: stopped delivering after {self._delivered} frames; "
                "is it still plugged in?"
            )
        frame = Frame(image, self._delivered, time.perf_counter())
        self._delivered += 1
        return frame

    def close(self) -> None:
        self._capture.release()


def open_source(spec: str | int | Path) -> Source:
    """Open what the user named.

    Args:
        spec: a camera index (`0`, `"0"`, `/dev/video0`), a folder of pictures, a picture or a
            video file.

    Raises:
        SourceError: when it does not exist or does not open.
    """
    text = str(spec)
    if not text.strip():
        raise SourceError("--source is empty; it takes a camera index, a file or a folder.")
    if camera := re.fullmatch(r"(?:/dev/video)?(\d{1,4})", text):
        return V4l2Camera(int(camera[1]))
    if "://" in text:  # not printed: it may hold a password
        raise SourceError(
            "A network address is not a source of this version: it reads a camera index, "
            "a video file, a folder of pictures or a picture."
        )
    path = Path(spec) if isinstance(spec, Path) else Path(text)
    if path.is_dir() or (path.is_file() and is_image_name(path)):
        return Pictures(path)
    if path.exists():
        return VideoFile(path)
    raise SourceError(
        f"{text}: no such file or folder; --source takes a camera index, a video file, "
        "a folder of pictures or a picture."
    )


def _require_utf8(path: Path) -> None:
    # OpenCV crashes the whole process on such a name.
    try:
        str(path).encode()
    except UnicodeEncodeError as exc:
        shown = os.fsencode(path).decode(errors="replace")
        raise SourceError(f"{shown}: its name is not UTF-8; rename it.") from exc


def _why_no_camera(index: int) -> str:
    device = Path(f"/dev/video{index}")
    if device.exists():
        if not os.access(device, os.R_OK | os.W_OK):
            return f"no permission for {device}; add your user to group video and log in again."
        return f"{device} is busy or delivers no pictures; close other programs that use it."
    present = sorted(str(p) for p in Path("/dev").glob("video*"))
    return f"there is no {device}; present: {', '.join(present) or 'no camera at all'}."
