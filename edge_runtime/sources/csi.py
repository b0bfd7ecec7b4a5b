"""CSI cameras: through picamera2 on a Raspberry Pi, through GStreamer on a Jetson."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_runtime.errors import SourceError
from edge_runtime.sources.asking import Format, asked_for, camera_settings, plausible_fps
from edge_runtime.sources.base import SourceOptions
from edge_runtime.sources.driver_clock import DriverClock
from edge_runtime.sources.frame_pool import FramePool
from edge_runtime.sources.health import CAMERA_FROZEN_S
from edge_runtime.sources.live import Camera, Capture


def csi_camera(index: int, options: SourceOptions) -> Camera:
    """The CSI camera of this kind of board, by the device profile.

    Raises:
        SourceError: the profile knows no CSI camera.
    """
    kind = camera_settings(options).kind
    if kind == "picamera2":
        return PiCamera(index, options)
    if kind == "nvargus":
        return ArgusCamera(index, options)
    raise SourceError(
        f"csi:{index}: this machine's profile has no CSI camera; name the board's with --profile, "
        "or the camera's /dev/video*."
    )


class PiCamera:
    """A CSI camera of a Raspberry Pi, by its number in `rpicam-hello --list-cameras`."""

    frozen_s = CAMERA_FROZEN_S

    def __init__(self, index: int, options: SourceOptions) -> None:
        self.name = options.name or f"CSI camera {index}"
        self._index, self._options = index, options

    def open(self) -> PiCapture:
        """Raises SourceError: picamera2 or the camera is missing, or it does not start."""
        module = _picamera2()
        asked = asked_for(self._options)
        camera = None
        try:
            present = module.Picamera2.global_camera_info()
            if self._index >= len(present):
                found = ", ".join(str(each.get("Model", "?")) for each in present) or "none"
                raise SourceError(
                    f"{self.name} does not open: the system finds these CSI cameras: {found}; "
                    "check the ribbon cable and `rpicam-hello --list-cameras`."
                )
            camera = module.Picamera2(self._index)
            # "RGB888" is libcamera's name for bytes in the order blue, green, red.
            main = {"size": (asked.width, asked.height), "format": "RGB888"}
            configuration = camera.create_video_configuration(
                main=main, controls={"FrameRate": float(asked.fps)}
            )
            camera.configure(configuration)
            camera.start()
        except (RuntimeError, IndexError, OSError, ValueError) as exc:
            if camera is not None:
                camera.close()
            if isinstance(exc, SourceError):
                raise
            raise SourceError(
                f"{self.name} does not open: {exc}; is another program using it?"
            ) from exc
        return PiCapture(camera, asked, self._options.timeout_s)

    def interrupt(self) -> None:
        """Nothing to do: a grab returns with the next picture, or at the driver's timeout."""


class PiCapture:
    """An open camera of picamera2. See `Capture`."""

    def __init__(self, camera: Any, asked: Format, timeout_s: float) -> None:
        self._camera, self._timeout_s = camera, timeout_s
        self._clock = DriverClock()
        self._request: Any = None
        width, height = camera.camera_configuration()["main"]["size"]
        self.fps: float | None = _within_limits(camera, asked.fps)
        self.granted = Format(int(width), int(height), self.fps or 0.0).granted(asked)

    def grab(self) -> float | None:
        self._release()
        try:
            job = self._camera.capture_request(wait=False)
            self._request = job.get_result(timeout=self._timeout_s)
        except (FutureTimeoutError, RuntimeError, OSError):
            return None
        stamp_ns = self._request.get_metadata().get("SensorTimestamp", 0)
        return self._clock.captured_s(stamp_ns / 1e9, time.perf_counter())

    def retrieve(self) -> np.ndarray | None:
        return np.ascontiguousarray(self._request.make_array("main")[..., :3])

    def close(self) -> None:
        # Of a camera that is gone, nothing more is expected.
        with contextlib.suppress(RuntimeError, OSError):
            self._release()
            self._camera.stop()
        with contextlib.suppress(RuntimeError, OSError):
            self._camera.close()

    def _release(self) -> None:
        # A request that is not given back is a buffer that the camera lacks.
        if self._request is not None:
            self._request.release()
            self._request = None


def _within_limits(camera: Any, fps: float) -> float:
    """The rate that libcamera will keep: it clamps what was asked for to the sensor mode's."""
    limits_us = camera.camera_controls.get("FrameDurationLimits")
    if not limits_us or not limits_us[0] or not limits_us[1]:
        return float(fps)
    return float(min(max(fps, 1e6 / limits_us[1]), round(1e6 / limits_us[0], 2)))


class ArgusCamera:
    """A CSI camera of a Jetson, through the profile's GStreamer pipeline."""

    frozen_s = CAMERA_FROZEN_S

    def __init__(self, index: int, options: SourceOptions) -> None:
        self.name = options.name or f"CSI camera {index}"
        self._index, self._options = index, options

    @property
    def pipeline(self) -> str:
        """What GStreamer is given."""
        asked = asked_for(self._options)
        settings = replace(
            camera_settings(self._options),
            width=asked.width,
            height=asked.height,
            fps=round(asked.fps),
        )
        return settings.gstreamer(self._index)

    def open(self) -> Capture:
        """Raises SourceError: this OpenCV has no GStreamer, or the pipeline does not start."""
        if not has_gstreamer():
            raise SourceError(
                f"{self.name} does not open: CSI cameras of a Jetson come through GStreamer, "
                "which pip's OpenCV is built without. Use JetPack's: make the environment with "
                "--system-site-packages, and in it: pip uninstall opencv-python-headless"
            )
        capture = cv2.VideoCapture(self.pipeline, cv2.CAP_GSTREAMER)
        if not capture.isOpened():
            raise SourceError(
                f"{self.name} does not open: its pipeline does not start; see whether it does in "
                "gst-launch-1.0 (with fakesink for appsink), and restart nvargus-daemon: "
                f"{self.pipeline}"
            )
        return ArgusCapture(capture, asked_for(self._options))

    def interrupt(self) -> None:
        """Nothing to do: a grab returns with the next picture, or at the driver's timeout."""


class ArgusCapture:
    """A running GStreamer pipeline. See `Capture`."""

    def __init__(self, capture: cv2.VideoCapture, asked: Format) -> None:
        self._capture = capture
        self._pool = FramePool()
        self.fps = plausible_fps(capture.get(cv2.CAP_PROP_FPS))
        width, height = (
            int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        self.granted = Format(width, height, self.fps or 0.0).granted(asked)

    def grab(self) -> float | None:
        return time.perf_counter() if self._capture.grab() else None

    def retrieve(self) -> np.ndarray | None:
        return self._pool.retrieve(self._capture)

    def close(self) -> None:
        self._capture.release()


def has_gstreamer() -> bool:
    """Whether the OpenCV that is installed was built with GStreamer."""
    return bool(re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()))


def _picamera2() -> Any:
    try:
        import picamera2
    except ModuleNotFoundError as exc:
        if exc.name != "picamera2":
            raise SourceError(
                f"CSI cameras need picamera2, and that needs {exc.name}, which is missing; "
                "sudo apt install --reinstall python3-picamera2"
            ) from exc
        raise SourceError(_no_picamera2()) from exc
    except (ImportError, ValueError, AttributeError) as exc:
        # Its compiled parts are built for the system's numpy, and say so in either way.
        raise SourceError(
            f"CSI cameras need picamera2, which does not load here: {str(exc).splitlines()[0]}; "
            "it is built for the system's numpy: pip uninstall numpy in this environment may help."
        ) from exc
    return picamera2


def _no_picamera2() -> str:
    install = "sudo apt install python3-picamera2"
    settings = Path(sys.prefix) / "pyvenv.cfg"
    isolated = settings.is_file() and not re.search(
        r"include-system-site-packages\s*=\s*true", settings.read_text(errors="replace")
    )
    if isolated:
        return (
            "CSI cameras need picamera2, which comes with the system and not from PyPI, and this "
            "environment does not see the system's packages: make it anew with python3 -m venv "
            f"--system-site-packages (and if it still is missing: {install})."
        )
    return f"CSI cameras need picamera2, which comes with the system and not from PyPI: {install}"
