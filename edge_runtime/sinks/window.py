"""A window with the live picture, where OpenCV has a window system."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2

from edge_runtime.annotate import annotated
from edge_runtime.errors import SinkError
from edge_runtime.loop.region import Region
from edge_runtime.pipeline import Result, Sink
from edge_runtime.sinks.opening import SinkOpening, SinkOptions

TITLE = "edgeproof (q quits)"
_NO_WINDOWS = (
    "--display needs an OpenCV with a window system, and the one installed is headless. Swap it: "
    "pip uninstall opencv-python-headless, then pip install opencv-python."
)
_NO_SCREEN = "--display needs a screen: neither DISPLAY nor WAYLAND_DISPLAY is set here."


@dataclass(frozen=True)
class WindowOptions(SinkOptions):
    """A window for each source."""

    display: bool

    def open(self, opening: SinkOpening) -> Sequence[Sink]:
        region = opening.options.region
        windows = []
        for source in opening.sources:
            window = WindowSink(
                opening.stop.set, title=opening.titled(source, TITLE), region=region
            )
            # In the loop's own thread: window systems want the main one.
            windows.append(opening.of_source(window, source))
        return windows


class WindowSink:
    """Shows frames with their answers; the key q, or closing the window, ends the run."""

    def __init__(
        self, on_quit: Callable[[], None], *, title: str = TITLE, region: Region | None = None
    ) -> None:
        """Args:
            on_quit: called when the user has seen enough.
            region: what the model sees, drawn as a rectangle.

        Raises:
            SinkError: where no window can be shown.
        """
        if not cv2.currentUIFramework():
            raise SinkError(_NO_WINDOWS)
        # Without this look, Qt ends the whole process.
        on_x = sys.platform.startswith("linux")
        if on_x and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise SinkError(_NO_SCREEN)
        self._on_quit, self._title, self._region = on_quit, title, region
        self._shown = False

    def write(self, result: Result) -> None:
        if not self._shown or not result.is_repeat:
            cv2.imshow(self._title, annotated(result, region=self._region))
        key = cv2.waitKey(1) & 0xFF
        closed = self._shown and cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1
        self._shown = True
        if key == ord("q") or closed:
            self._on_quit()

    def close(self) -> None:
        if self._shown:
            with contextlib.suppress(cv2.error):  # closed by the user
                cv2.destroyWindow(self._title)
            self._shown = False
