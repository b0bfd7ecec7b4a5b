"""The one way a picture becomes a model's input, in training, calibration and camera code alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from edge_runtime.errors import ImageError

Fit = Literal["stretch", "crop", "letterbox"]

MAX_SIDE = 4096


@dataclass(frozen=True)
class Window:
    """A rectangle of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to cut it out of an array."""
        bottom, right = self.top + self.height, self.left + self.width
        return slice(self.top, bottom), slice(self.left, right)


class Preprocess(BaseModel):
    """How a picture becomes the model's input. Scaling and normalisation live in the model.

    Attributes:
        width: columns of the input, in pixels.
        height: rows of the input, in pixels.
        fit: `stretch` ignores the aspect ratio; `crop` keeps the middle that has the input's
            aspect ratio; `letterbox` keeps all and pads with black.
        channels: order of the channels in the tensor. Frames are always BGR, as OpenCV has them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(ge=1, le=MAX_SIDE)
    height: int = Field(ge=1, le=MAX_SIDE)
    fit: Fit = "stretch"
    channels: Literal["rgb", "bgr"] = "rgb"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of one input: (height, width, 3)."""
        return (self.height, self.width, 3)

    def __call__(self, frame_bgr: np.ndarray) -> np.ndarray:
        """Turn one frame into one input.

        Args:
            frame_bgr: uint8, shape (any height, any width, 3).

        Returns:
            uint8, shape `input_shape`, contiguous. Never shares memory with the frame.

        Raises:
            ImageError: when the frame is not uint8 of that shape, or is empty.
        """
        _require_frame(frame_bgr)
        match self.fit:
            case "stretch":
                sized = resize_exact(frame_bgr, width=self.width, height=self.height)
            case "crop":
                middle = _crop_to_aspect(frame_bgr, self.width, self.height)
                sized = resize_exact(middle, width=self.width, height=self.height)
            case "letterbox":
                sized = _letterbox(frame_bgr, self.width, self.height)
        if self.channels == "rgb":
            return cv2.cvtColor(sized, cv2.COLOR_BGR2RGB)
        return np.array(sized, order="C", copy=True)

    def windows(self, height: int, width: int) -> tuple[Window, Window]:
        """Which part of a frame of that size is seen, and which part of the input shows it."""
        frame, whole = Window(0, 0, height, width), Window(0, 0, self.height, self.width)
        match self.fit:
            case "stretch":
                return frame, whole
            case "crop":
                return _middle(height, width, self.width, self.height), whole
            case "letterbox":
                return frame, _inner(height, width, self.width, self.height)


def resize_exact(image: np.ndarray, *, width: int, height: int) -> np.ndarray:
    """Resize to the same bytes on every processor, without aliasing for moderate aspect changes.

    Halves while both sides stay at least twice the target (at 2:1 bilinear is the mean of four
    pixels), then one last step. `INTER_LINEAR_EXACT` is fixed-point arithmetic: plain
    `INTER_LINEAR` differs between x86-64 and ARM in a fifth of the bytes.
    """
    h, w = image.shape[:2]
    while w >= 2 * width and h >= 2 * height:
        w, h = w // 2, h // 2
        image = cv2.resize(image, (w, h), interpolation=cv2.INTER_LINEAR_EXACT)
    if (w, h) != (width, height):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
    return image


def _require_frame(frame_bgr: np.ndarray) -> None:
    if not isinstance(frame_bgr, np.ndarray):
        raise ImageError(f"A frame is a numpy array, not {type(frame_bgr).__name__}.")
    if frame_bgr.dtype != np.uint8 or frame_bgr.ndim != 3 or frame_bgr.shape[2] != 3:
        raise ImageError(
            "A frame is uint8 of shape (height, width, 3) in BGR order; "
            f"got {frame_bgr.dtype} of shape {frame_bgr.shape}."
        )
    if 0 in frame_bgr.shape:
        raise ImageError(f"A frame has at least one pixel; got shape {frame_bgr.shape}.")


def _crop_to_aspect(image: np.ndarray, width: int, height: int) -> np.ndarray:
    h, w = image.shape[:2]
    return image[_middle(h, w, width, height).slices]


def _middle(h: int, w: int, width: int, height: int) -> Window:
    # Integers only: a float rounding one way here and another there would shift the whole crop.
    keep_w = min(w, max(1, h * width // height))
    keep_h = min(h, max(1, w * height // width))
    return Window((h - keep_h) // 2, (w - keep_w) // 2, keep_h, keep_w)


def _letterbox(image: np.ndarray, width: int, height: int) -> np.ndarray:
    h, w = image.shape[:2]
    inner = _inner(h, w, width, height)
    out = np.zeros((height, width, 3), np.uint8)
    out[inner.slices] = resize_exact(image, width=inner.width, height=inner.height)
    return out


def _inner(h: int, w: int, width: int, height: int) -> Window:
    inner_w = min(width, max(1, (w * height + h // 2) // h))
    inner_h = min(height, max(1, (h * width + w // 2) // w))
    return Window((height - inner_h) // 2, (width - inner_w) // 2, inner_h, inner_w)
