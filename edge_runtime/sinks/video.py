"""The annotated video."""

from __future__ import annotations

import contextlib
from pathlib import Path

import cv2
import numpy as np

from edge_runtime.annotate import annotated
from edge_runtime.errors import SinkError
from edge_runtime.files import staged_file, storage_errors
from edge_runtime.pipeline import Result
from edge_runtime.preprocess import Preprocess

# Where the source has no rate of its own: pictures, and cameras that tell none.
DEFAULT_FPS = 10.0

SUFFIXES = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "mp4v"}


class VideoSink:
    """Writes frames with their answers; the file appears under its name when it is whole."""

    def __init__(self, path: Path, *, fps: float) -> None:
        """Raises SinkError for a file name of another kind, StorageError for a closed folder."""
        if path.suffix.lower() not in SUFFIXES:
            raise SinkError(f"{path}: a video ends in {', '.join(SUFFIXES)}.")
        if path.is_dir():
            raise SinkError(f"{path}: is a folder; name a file.")
        self._path = path
        self._fps = fps
        self._stack = contextlib.ExitStack()
        self._part = self._stack.enter_context(staged_file(path))
        self._writer: cv2.VideoWriter | None = None
        self._fit: Preprocess | None = None

    def write(self, result: Result) -> None:
        picture = annotated(result.frame.bgr, result.prediction, fps=result.fps)
        if self._writer is None:
            self._writer = self._open(picture)
        if self._fit is not None and picture.shape != self._fit.input_shape:
            # Pictures of a folder differ in size; a video has one.
            picture = self._fit(picture)
        self._writer.write(picture)

    def close(self) -> None:
        if self._writer is None:
            # Nothing came: the empty temporary file goes, and no video appears.
            with contextlib.suppress(_NothingWritten):
                self._stack.__exit__(_NothingWritten, _NothingWritten(), None)
            return
        self._writer.release()
        with storage_errors(self._path):
            if self._part.exists() and self._part.stat().st_size == 0:
                raise SinkError(f"{self._path}: nothing was written; is the disk full?")
        self._stack.close()

    def _open(self, picture: np.ndarray) -> cv2.VideoWriter:
        height, width = picture.shape[:2]
        code = cv2.VideoWriter.fourcc(*SUFFIXES[self._path.suffix.lower()])
        writer = cv2.VideoWriter(str(self._part), code, self._fps, (width, height))
        if not writer.isOpened():
            raise SinkError(f"{self._path}: OpenCV cannot write this video; try .avi instead.")
        self._fit = Preprocess(width=width, height=height, fit="letterbox", channels="bgr")
        return writer


class _NothingWritten(Exception):
    pass
