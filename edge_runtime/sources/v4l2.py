"""Cameras of Linux' V4L2: USB cameras, and whatever else is a /dev/video*."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import cv2

from edge_runtime.errors import SourceError
from edge_runtime.sources.base import Frame, Readable


class V4l2Camera(Readable):
    """A camera by its V4L2 index (elsewhere than on Linux: by OpenCV's own choice)."""

    live = True

    def __init__(self, index: int) -> None:
        super().__init__(f"camera {index}")
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


def _why_no_camera(index: int) -> str:
    device = Path(f"/dev/video{index}")
    if device.exists():
        if not os.access(device, os.R_OK | os.W_OK):
            return f"no permission for {device}; add your user to group video and log in again."
        return f"{device} is busy or delivers no pictures; close other programs that use it."
    present = sorted(str(p) for p in Path("/dev").glob("video*"))
    return f"there is no {device}; present: {', '.join(present) or 'no camera at all'}."
