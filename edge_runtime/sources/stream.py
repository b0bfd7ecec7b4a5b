"""Network cameras: RTSP, and MJPEG over HTTP, through OpenCV's FFmpeg."""

from __future__ import annotations

import os
import socket
import time

import cv2
import numpy as np

from edge_runtime.errors import SourceError
from edge_runtime.sources.address import host_of, scheme_of, shown
from edge_runtime.sources.asking import Format, plausible_fps
from edge_runtime.sources.base import SourceOptions
from edge_runtime.sources.frame_pool import FramePool
from edge_runtime.sources.health import STREAM_FROZEN_S
from edge_runtime.sources.jpeg import MJPG, decoded
from edge_runtime.sources.sockets import connections, shut
from edge_runtime.sources.stream_clock import ArrivalClock, StampClock, StreamClock

_KNOCK_S = 2.0
# FFmpeg reads up to a few seconds ahead to find out what a stream holds; these are passed over.
_BACKLOG_FRAMES = 300


class NetworkCamera:
    """A camera by its address. The address itself is kept to what opens it, and never shown."""

    frozen_s = STREAM_FROZEN_S

    def __init__(self, url: str, options: SourceOptions) -> None:
        self.name = options.name or shown(url)
        self._url, self._options = url.strip(), options
        self._connections: set[tuple[int, str]] = set()

    def open(self) -> StreamCapture:
        """Raises SourceError: when it does not open."""
        # FFmpeg at its most talkative prints addresses; OpenCV reads this before it first opens.
        os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"
        stamped = scheme_of(self._url) in ("rtsp", "rtsps")
        # Over HTTP the JPEGs themselves: they are decoded only where they are looked at, and whole.
        capture, encoded = self._captured(encoded=not stamped), not stamped
        if encoded and int(capture.get(cv2.CAP_PROP_FOURCC)) != MJPG:
            capture.release()
            capture, encoded = self._captured(encoded=False), False
        opened = StreamCapture(
            capture, stamped=stamped, encoded=encoded, timeout_s=self._options.timeout_s
        )
        if not opened.skip_backlog():
            opened.close()
            raise SourceError(f"{self.name} does not open: it answers, but sends no picture.")
        return opened

    def _captured(self, *, encoded: bool) -> cv2.VideoCapture:
        timeout_ms = int(self._options.timeout_s * 1e3)
        host = host_of(self._url)
        before = connections(host[1]) if host else set()
        capture = cv2.VideoCapture(
            self._url,
            cv2.CAP_FFMPEG,
            # As open parameters: set later they do nothing. One thread: each more holds back a
            # frame.
            [
                *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms),
                *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms),
                *(cv2.CAP_PROP_N_THREADS, 1),
                *((cv2.CAP_PROP_FORMAT, -1) if encoded else ()),
            ],
        )
        if not capture.isOpened():
            raise SourceError(f"{self.name} does not open: {self._why_not()}")
        self._connections = (connections(host[1]) if host else set()) - before
        return capture

    def interrupt(self) -> None:
        """End a grab that waits for the network in another thread."""
        for connection in self._connections:
            shut(connection)

    def _why_not(self) -> str:
        host = host_of(self._url)
        if host is None:
            return "its address is malformed; in user names and passwords write / ? # @ as %2F ..."
        try:
            socket.create_connection(host, timeout=min(_KNOCK_S, self._options.timeout_s)).close()
        except socket.gaierror:
            return f"no such host as {host[0]}; check the name, or give its number."
        except ConnectionRefusedError:
            return f"nothing listens on port {host[1]} there; check the port, and that it is on."
        except OSError as exc:
            return f"it cannot be reached ({exc.strerror or 'timed out'}); check the network."
        return "it answers, but gives no video; check path, user name and password."


class StreamCapture:
    """An open network stream. See `Capture`."""

    def __init__(
        self, capture: cv2.VideoCapture, *, stamped: bool, encoded: bool, timeout_s: float
    ) -> None:
        """Args:
        stamped: whether the stream's time stamps mean anything.
        encoded: whether the capture gives JPEGs as they came, and not pictures.
        """
        self._capture, self._timeout_s, self._stamped = capture, timeout_s, stamped
        self._encoded = encoded
        self._pool = FramePool()
        # What FFmpeg says of the rate of MJPEG over HTTP is made up.
        self.fps = plausible_fps(capture.get(cv2.CAP_PROP_FPS)) if stamped else None
        width, height = (
            int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        self.granted = str(Format(width, height, self.fps or 0.0))
        self._clock = self._new_clock()

    def skip_backlog(self) -> bool:
        """Read over what has piled up during the opening; False when there is no picture.

        That comes faster than it was filmed: by its stamps, or else by the usual rate.
        """
        before_s, stamp_before_s = time.perf_counter(), 0.0
        for _ in range(_BACKLOG_FRAMES):
            if self.grab() is None:
                return False
            now_s, stamp_s = time.perf_counter(), self._stamp_s()
            filmed_s = stamp_s - stamp_before_s if self._stamped else 1 / (self.fps or 25.0)
            if filmed_s > 0 and now_s - before_s > 0.7 * filmed_s:
                break
            before_s, stamp_before_s = now_s, stamp_s
        self._clock = self._new_clock()  # the rhythm of the backlog is not the stream's
        return True

    def grab(self) -> float | None:
        begun = time.perf_counter()
        if not self._capture.grab():
            return None
        now = time.perf_counter()
        # After a timeout FFmpeg may still give what its decoder held, and then hang again.
        if now - begun >= 0.95 * self._timeout_s:
            return None
        return self._clock.captured_s(now, self._stamp_s())

    def retrieve(self) -> np.ndarray | None:
        if not self._encoded:
            return self._pool.retrieve(self._capture)
        whole, jpeg = self._capture.retrieve()
        return decoded(jpeg) if whole else None

    def close(self) -> None:
        self._capture.release()

    def _new_clock(self) -> StreamClock:
        return StampClock() if self._stamped else ArrivalClock()

    def _stamp_s(self) -> float:
        return float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1e3
