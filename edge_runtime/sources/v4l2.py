"""Cameras of Linux' V4L2: USB cameras, and whatever else is a /dev/video*."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from edge_runtime.errors import SourceError
from edge_runtime.sources.asking import Format, asked_for, camera_settings, plausible_fps
from edge_runtime.sources.base import SourceOptions
from edge_runtime.sources.driver_clock import DriverClock
from edge_runtime.sources.frame_pool import FramePool
from edge_runtime.sources.health import CAMERA_FROZEN_S
from edge_runtime.sources.jpeg import MJPG, decoded

_NODE = re.compile(r"/dev/video(\d{1,4})")


class V4l2Camera:
    """A camera by its device node, or by a link to one such as /dev/v4l/by-id/*.

    A link is followed anew at each opening: a camera that was plugged in again may be another
    /dev/video*, while the link still names it.
    """

    frozen_s = CAMERA_FROZEN_S

    def __init__(self, device: str, options: SourceOptions) -> None:
        node = _NODE.fullmatch(device)
        self.name = options.name or (f"camera {node[1]}" if node else device)
        self._device, self._options = device, options

    def open(self) -> V4l2Capture:
        """Raises SourceError: when it does not open."""
        index = node_index(self._device)
        if index is None:
            raise SourceError(f"{_titled(self.name)} does not open: {_absent(self._device)}")
        # Elsewhere than on Linux, cameras have an index too, and OpenCV chooses how to open it.
        backend = cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY
        capture = cv2.VideoCapture(index, backend)
        if not capture.isOpened():
            raise SourceError(
                f"{_titled(self.name)} does not open: {_why_not(index, self._options)}"
            )
        return V4l2Capture(capture, asked_for(self._options, fourcc=self._options.fourcc))

    def interrupt(self) -> None:
        """Nothing to do: a grab returns with the next picture, or at the driver's timeout."""


class V4l2Capture:
    """An open V4L2 camera. See `Capture`."""

    def __init__(self, capture: cv2.VideoCapture, asked: Format) -> None:
        self._capture, self._clock, self._pool = capture, DriverClock(), FramePool()
        if asked.fourcc:  # first: which sizes and rates there are depends on it
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*asked.fourcc))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, asked.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, asked.height)
        capture.set(cv2.CAP_PROP_FPS, asked.fps)
        self.fps = plausible_fps(capture.get(cv2.CAP_PROP_FPS))
        granted = Format(
            int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            self.fps or 0.0,
            _fourcc(capture.get(cv2.CAP_PROP_FOURCC)),
        )
        self.granted = granted.granted(asked)
        # Where the backend gives them (Linux' does), the JPEGs themselves.
        is_mjpg = int(capture.get(cv2.CAP_PROP_FOURCC)) == MJPG
        self._encoded = is_mjpg and capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)

    def grab(self) -> float | None:
        if not self._capture.grab():
            return None
        stamp_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
        return self._clock.captured_s(stamp_s, time.perf_counter())

    def retrieve(self) -> np.ndarray | None:
        if not self._encoded:
            return self._pool.retrieve(self._capture)
        came, jpeg = self._capture.retrieve()
        return decoded(jpeg) if came else None

    def close(self) -> None:
        self._capture.release()


def node_index(device: str) -> int | None:
    """The index of a device node or of the link to one; `None` when it leads to none."""
    found = _NODE.fullmatch(device) or _NODE.fullmatch(os.path.realpath(device))
    return int(found[1]) if found else None


def _fourcc(value: float) -> str:
    letters = int(value).to_bytes(4, "little", signed=value < 0)
    return letters.decode("ascii", errors="replace").strip("\0 ") if value else ""


def _titled(name: str) -> str:
    return name[:1].upper() + name[1:] if name.startswith("camera ") else name


def _absent(device: str) -> str:
    kind = "is no link to a /dev/video*" if os.path.lexists(device) else "there is no such camera"
    return f"{kind}; present: {_present()}."


def _present() -> str:
    links = sorted(str(p) for p in Path("/dev/v4l/by-id").glob("*"))
    nodes = sorted(str(p) for p in Path("/dev").glob("video*"))
    return ", ".join([*nodes, *links]) or "no camera at all"


def _why_not(index: int, options: SourceOptions) -> str:
    device = Path(f"/dev/video{index}")
    if not device.exists():
        return f"there is no {device}; present: {_present()}."
    if not os.access(device, os.R_OK | os.W_OK):
        return f"no permission for {device}; add your user to group video and log in again."
    csi = camera_settings(options).kind != "v4l2"
    hint = " A CSI camera opens as: csi" if csi else ""
    return f"{device} is busy or delivers no pictures; close other programs that use it.{hint}"
