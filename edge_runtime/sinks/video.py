"""The annotated video."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np

from edge_runtime.annotate import annotated
from edge_runtime.errors import SinkError
from edge_runtime.files import open_permissions, storage_errors
from edge_runtime.loop.region import Region
from edge_runtime.pipeline import Result
from edge_runtime.preprocess import Preprocess

# Where the source has no rate of its own: pictures, and cameras that tell none.
DEFAULT_FPS = 10.0

# By the file's ending: codec, and under which ending FFmpeg writes it so that it plays up to the
# moment its process was killed. Under .mp4 the index comes last, and without it nothing plays;
# .ismv is the same container in fragments, each with its own index.
SUFFIXES = {".mp4": ("mp4v", ".ismv"), ".avi": ("MJPG", ".avi"), ".mkv": ("mp4v", ".mkv")}

# So long a picture may stand still, when a live source gave none.
_LONGEST_STILL_S = 10.0
_FULL_BYTES = 1 << 20


class VideoSink:
    """Writes frames with their answers.

    The file appears under its name with the first frame, and is playable from its first fragment
    on, whatever ends the process.
    """

    def __init__(
        self, path: Path, *, fps: float, live: bool = False, region: Region | None = None
    ) -> None:
        """Args:
            fps: frames a second of the video.
            live: keep real time: a picture stands until the next one was captured.
            region: what the model sees, drawn as a rectangle.

        Raises:
            SinkError: for a file name of another kind.
            StorageError: for a folder that cannot be written into.
        """
        if path.suffix.lower() not in SUFFIXES:
            raise SinkError(f"{path}: a video ends in {', '.join(SUFFIXES)}.")
        if path.is_dir():
            raise SinkError(f"{path}: is a folder; name a file.")
        self._path, self._fps, self._live, self._region = path, fps, live, region
        self._writer: cv2.VideoWriter | None = None
        self._fit: Preprocess | None = None
        self._first_s = 0.0
        self._written = 0
        self._codec, suffix = SUFFIXES[path.suffix.lower()]
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(
                prefix=f".{path.stem}.", suffix=f".part{suffix}", dir=path.parent
            )
            os.close(handle)
        self._part = Path(name)

    def write(self, result: Result) -> None:
        picture = annotated(result, region=self._region)
        if self._writer is None:
            self._writer = self._open(picture)
            self._first_s = result.frame.captured_s
        if self._fit is not None and picture.shape != self._fit.input_shape:
            # Pictures of a folder differ in size; a video has one.
            picture = self._fit(picture)
        for _ in range(self._repeats(result.frame.captured_s)):
            self._writer.write(picture)
            self._written += 1

    def _repeats(self, captured_s: float) -> int:
        """How often this picture comes, so that the video is in time with the source."""
        if not self._live:
            return 1
        due = round((captured_s - self._first_s) * self._fps) + 1
        missing = due - self._written
        longest = int(_LONGEST_STILL_S * self._fps)
        if missing > longest:  # begin to count anew, or the gap would be made up for later
            self._first_s += (missing - longest) / self._fps
        return max(0, min(missing, longest))

    def close(self) -> None:
        """Raises SinkError when the disk was full."""
        with contextlib.suppress(OSError):
            self._part.unlink(missing_ok=True)
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        with storage_errors(self._path):
            # OpenCV says nothing of a write that failed.
            full = shutil.disk_usage(self._path.parent).free < _FULL_BYTES
            if full or self._path.stat().st_size == 0:
                raise SinkError(f"{self._path}: the disk is full; the video ends before the run.")

    def _open(self, picture: np.ndarray) -> cv2.VideoWriter:
        height, width = picture.shape[:2]
        code = cv2.VideoWriter.fourcc(*self._codec)
        writer = cv2.VideoWriter(str(self._part), code, self._fps, (width, height))
        if not writer.isOpened():
            raise SinkError(f"{self._path}: OpenCV cannot write this video; try .avi instead.")
        with storage_errors(self._path):
            # The writer has it open and goes on writing into it under its final name.
            self._part.chmod(open_permissions())
            self._part.replace(self._path)
        self._fit = Preprocess(width=width, height=height, fit="letterbox", channels="bgr")
        return writer
