"""Memory for decoded frames, used again and again."""

from __future__ import annotations

import sys

import cv2
import numpy as np

# More than the loop holds at once; who keeps more frames than that gets fresh memory for the rest.
_FRAMES = 16


class FramePool:
    """Decodes a capture's frames into memory that nobody holds any more.

    Fresh memory for a 720p frame is 2.7 MB in 675 pages, each of which the kernel clears and maps
    when it is first written to: a third of the loop's time in the kernel.

    Whoever keeps a frame, or a view of a part of it, keeps its memory: it is used again only when
    its reference count says that the pool is the last to hold it.
    """

    def __init__(self) -> None:
        self._frames: list[np.ndarray] = []
        alone = [np.empty(0)]
        self._alone = sys.getrefcount(alone[0])

    def read(self, capture: cv2.VideoCapture) -> np.ndarray | None:
        """The next frame, uint8 BGR (height, width, 3); `None` when there is none."""
        ok, image = capture.read(self._free())
        return self._kept(image) if ok else None

    def retrieve(self, capture: cv2.VideoCapture) -> np.ndarray | None:
        """The frame grabbed last, as `read` gives it."""
        ok, image = capture.retrieve(self._free())
        return self._kept(image) if ok else None

    def _free(self) -> np.ndarray | None:
        frames = self._frames
        for number in range(len(frames)):
            if sys.getrefcount(frames[number]) == self._alone:
                return frames[number]
        return None

    def _kept(self, image: np.ndarray) -> np.ndarray:
        # Another size than before: OpenCV has made it new, and the old ones will not fit again.
        self._frames = [f for f in self._frames if f.shape == image.shape]
        known = any(frame is image for frame in self._frames)
        if not known and len(self._frames) < _FRAMES:
            self._frames.append(image)
        return image
