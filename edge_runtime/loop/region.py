"""The part of the picture that the model looks at."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from edge_runtime.errors import OptionError

_NUMBER = r"\s*(\d+(?:\.\d+)?)(%?)\s*"


@dataclass(frozen=True)
class Region:
    """A rectangle in fractions of the frame or in pixels.

    Attributes:
        x, y, width, height: left, top, and size.
        fractions: whether they are fractions of the frame, which fit any resolution.
    """

    x: float
    y: float
    width: float
    height: float
    fractions: bool

    @classmethod
    def parse(cls, text: str) -> Region:
        """Read `X,Y,W,H` in pixels or, each with `%`, in percent of the frame.

        Raises:
            OptionError: when it is neither, or empty, or reaches beyond the frame in percent.
        """
        found = re.fullmatch(",".join([_NUMBER] * 4), text)
        if found is None or len({found[i] for i in (2, 4, 6, 8)}) != 1:
            raise OptionError(
                f"--region {text!r}: write X,Y,WIDTH,HEIGHT, all in pixels (100,50,640,480) or all "
                "in percent of the frame (10%,5%,50%,50%)."
            )
        numbers = [float(found[i]) for i in (1, 3, 5, 7)]
        fractions = found[2] == "%"
        x, y, width, height = [n / 100 for n in numbers] if fractions else numbers
        if width <= 0 or height <= 0:
            raise OptionError(f"--region {text!r}: is empty; width and height must be above 0.")
        if fractions and (x + width > 1 + 1e-9 or y + height > 1 + 1e-9):
            raise OptionError(f"--region {text!r}: reaches beyond 100 % of the frame.")
        return cls(x, y, width, height, fractions)

    def corners(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Left, top, right, bottom in pixels of a frame of that size.

        Raises:
            OptionError: when the region does not lie in such a frame.
        """
        across, down = (width, height) if self.fractions else (1, 1)
        left, top = round(self.x * across), round(self.y * down)
        right = round((self.x + self.width) * across)
        bottom = round((self.y + self.height) * down)
        if self.fractions:  # a sliver is at least a pixel, and inside
            left, top = min(left, width - 1), min(top, height - 1)
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        if right > width or bottom > height:
            raise OptionError(
                f"--region {left},{top},{right - left},{bottom - top} does not lie in a frame of "
                f"{width} x {height} pixels."
            )
        return left, top, right, bottom

    def crop(self, frame_bgr: np.ndarray) -> np.ndarray:
        """That part of the frame: a view, no copy. Raises OptionError as `corners`."""
        left, top, right, bottom = self.corners(*frame_bgr.shape[:2])
        return frame_bgr[top:bottom, left:right]
