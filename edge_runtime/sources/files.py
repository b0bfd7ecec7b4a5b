"""Sources that are files: a video, a folder of pictures, a picture."""

from __future__ import annotations

import os
import time
from pathlib import Path

import cv2
import numpy as np

from edge_runtime.errors import ImageError, SourceError
from edge_runtime.images import IMAGE_SUFFIXES, decode_image, is_image_name
from edge_runtime.sources.asking import plausible_fps
from edge_runtime.sources.base import Frame, Readable, SourceOptions
from edge_runtime.sources.frame_pool import FramePool
from edge_runtime.sources.health import Watch

# Each holds frames in memory.
_MOST_DECODING_THREADS = 16


class VideoFile(Readable):
    """All frames of a video file, in order.

    One frame is held back until its follower has been decoded: when a file is cut off in the
    middle of a frame, FFmpeg patches that frame up and delivers it as if it were whole.
    """

    def __init__(self, path: Path, options: SourceOptions = SourceOptions()) -> None:
        super().__init__(options.name or str(path))
        self._path = path
        self.files = (path,)
        # A video may stand still, and its frames are as old as they are.
        self._watch = Watch(self.name, options, default=frozenset({"black"}))
        self._capture = video_capture(path)
        self._pool = FramePool()
        self._delivered = 0
        self._held = self._decode()
        if self._held is None:
            self._capture.release()
            raise not_a_video(path)
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.frame_count = count if count > 0 else None
        self.fps = plausible_fps(self._capture.get(cv2.CAP_PROP_FPS))

    def read(self) -> Frame | None:
        if self._held is None:
            return None
        image, follower = self._held, self._decode()
        self._held = follower
        if follower is None:
            self._require_complete(self._delivered + 1)
        now = time.perf_counter()
        condition, event = self._watch.frame(image, captured_s=now, arrived_s=now)
        if event:
            self.on_event(event)
        frame = Frame(image, self._delivered, now, condition=condition, source=self.name)
        self._delivered += 1
        return frame

    def close(self) -> None:
        self._held = None
        self._capture.release()

    def _decode(self) -> np.ndarray | None:
        return self._pool.read(self._capture)

    def _require_complete(self, decoded: int) -> None:
        # Headers estimate: real files deliver a frame or two fewer than theirs says.
        if self.frame_count and decoded < self.frame_count - 2 - self.frame_count // 100:
            raise SourceError(
                f"{self._path}: is cut off or damaged: ended after {decoded} of "
                f"{self.frame_count} frames; the last one was not answered."
            )
        if self.frame_count and decoded < self.frame_count:
            self.skipped.append(
                f"{self._path}: ended after {decoded} of the {self.frame_count} frames that its "
                "header promises; some whole files do, and a file whose end is cut off does"
            )


class Pictures(Readable):
    """Picture files as frames: those of a folder, sorted by name, or a single one."""

    def __init__(self, path: Path, options: SourceOptions = SourceOptions()) -> None:
        super().__init__(options.name or str(path))
        self._watch = Watch(self.name, options, default=frozenset())
        self._only = path if path.is_file() else None
        self.files = picture_files(path)
        self.frame_count = len(self.files)
        self._files = iter(self.files)
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
            now = time.perf_counter()
            condition, event = self._watch.frame(image, captured_s=now, arrived_s=now)
            if event:
                self.on_event(event)
            self._delivered += 1
            return Frame(image, self._delivered - 1, now, str(file), condition, self.name)
        if not self._delivered and self.skipped:
            first = self.skipped[0].removeprefix("skipped ")
            raise SourceError(f"{self.name}: none of its pictures is readable: {first}")
        return None

    def close(self) -> None:
        self._files = iter(())


def picture_files(path: Path) -> list[Path]:
    """The pictures of a folder and its subfolders, sorted by name; or the one that it is itself.

    Raises:
        SourceError: the folder holds none.
    """
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if is_image_name(p))
    if not files:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise SourceError(f"{path}: holds no pictures ({kinds}).")
    return files


def video_capture(path: Path) -> cv2.VideoCapture:
    """Open a video file.

    Raises:
        SourceError: when it does not open.
    """
    # OpenCV crashes the whole process on such a name.
    try:
        str(path).encode()
    except UnicodeEncodeError as exc:
        shown = os.fsencode(path).decode(errors="replace")
        raise SourceError(f"{shown}: its name is not UTF-8; rename it.") from exc
    capture = cv2.VideoCapture(
        str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, _decoding_threads()]
    )
    if not capture.isOpened():
        raise not_a_video(path)
    return capture


def _decoding_threads() -> int:
    # FFmpeg decodes as many frames at once as it has threads, and while one is being looked at the
    # others wait for it: with a thread for each core, a sixth of the frames a second was lost.
    return min(_MOST_DECODING_THREADS, 2 * (os.cpu_count() or 1))


def not_a_video(path: Path) -> SourceError:
    """The error for a file that gives no frame."""
    return SourceError(
        f"{path}: does not open as a video (damaged, cut off, or not a video); "
        "play it in a player to check, or record it again."
    )
