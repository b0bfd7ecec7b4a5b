"""What a camera is asked for, and how what it granted is put into words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from devices import CameraSettings, detect, profile_for
from edge_runtime.sources.base import SourceOptions


@cache
def _own_settings() -> CameraSettings:
    return profile_for(detect()).camera


def camera_settings(options: SourceOptions) -> CameraSettings:
    """The camera settings of the profile given, or of this machine's."""
    return options.camera or _own_settings()


@dataclass(frozen=True)
class Format:
    """Size, rate and pixel format; `fps` 0 and `fourcc` "" where nobody says."""

    width: int
    height: int
    fps: float
    fourcc: str = ""

    def __str__(self) -> str:
        rate = f" at {self.fps:g} fps" if self.fps else ""
        return f"{self.width}x{self.height}{rate}{f' as {self.fourcc}' if self.fourcc else ''}"

    def granted(self, asked: Format) -> str:
        """What was granted, and what had been asked for where that differs."""
        same = (self.width, self.height) == (asked.width, asked.height)
        same &= not asked.fourcc or self.fourcc == asked.fourcc
        # Drivers round: 29.97 is 30, and a camera with 15 but no 30 is another matter.
        same &= abs(self.fps - asked.fps) <= 0.02 * asked.fps
        return str(self) if same else f"{self}; asked for {asked}"


def asked_for(options: SourceOptions, *, fourcc: str = "") -> Format:
    """What to ask a camera for: the options, and the profile where they say nothing."""
    settings = camera_settings(options)
    return Format(
        options.width or settings.width,
        options.height or settings.height,
        options.fps or settings.fps,
        fourcc,
    )


def plausible_fps(value: float) -> float | None:
    """A rate as OpenCV gives it, where it can be one."""
    return float(value) if 0 < value < 1000 else None
