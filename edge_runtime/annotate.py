"""Drawing an answer onto a copy of its frame."""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np

from edge_runtime.loop.region import Region
from edge_runtime.loop.results import Result
from edge_runtime.text import printable

_WHITE = (255, 255, 255)
_BAR = (80, 200, 80)
_UNSURE_BAR = (60, 160, 240)
_REGION = (240, 240, 80)
_SURE = 0.8


def annotated(result: Result, *, region: Region | None = None) -> np.ndarray:
    """A copy of the frame with its answer, score as a bar, and rate along its lower edge.

    Args:
        result: its frame is left as it is.
        region: what the model saw of it, drawn as a rectangle.

    Returns:
        uint8, the same shape as the frame.
    """
    out = np.array(result.frame.bgr, order="C", copy=True)
    height, width = out.shape[:2]
    if region is not None:
        _outline(out, region)
    text_px = max(10, min(height // 14, width // 16))
    strip = out[max(0, height - 2 * text_px) :]
    strip[:] = strip // 3  # dark enough under any picture for white letters
    bar = max(2, text_px // 6)
    text = result.unanswered
    if (answer := result.answer) is not None:
        sure = answer.score >= _SURE and not answer.abstained
        # A NaN has no length.
        length = int(width * answer.score) if answer.score >= 0 else 0
        color = _BAR if sure else _UNSURE_BAR
        cv2.rectangle(out, (0, height - bar), (length, height), color, -1)
        text = f"{printable(answer.label)}  {answer.score:.0%}"
    baseline = height - bar - text_px // 2
    _put(out, text, (text_px // 2, baseline), text_px)
    if result.fps:
        rate = f"{result.fps:.0f} fps"
        _put(out, rate, (width - int(text_px * 0.6 * len(rate)), baseline), text_px * 2 // 3)
    return out


def outlined(picture_bgr: np.ndarray, region: Region) -> np.ndarray:
    """A copy of a picture, uint8 (height, width, 3), with the region as a rectangle."""
    out = np.array(picture_bgr, order="C", copy=True)
    _outline(out, region)
    return out


def _outline(out: np.ndarray, region: Region) -> None:
    height, width = out.shape[:2]
    left, top, right, bottom = region.corners(height, width)
    cv2.rectangle(out, (left, top), (right - 1, bottom - 1), _REGION, max(1, width // 400))


def _put(out: np.ndarray, text: str, origin: tuple[int, int], text_px: int) -> None:
    face = _font()
    if face is not None:
        cv2.putText(out, text, origin, _WHITE, face, text_px)  # type: ignore[call-overload]
        return
    cv2.putText(out, text, origin, cv2.FONT_HERSHEY_SIMPLEX, text_px / 30, _WHITE, 1, cv2.LINE_AA)


@cache
def _font() -> Any:
    """OpenCV 5 has a font with more than ASCII; before, there are only Hershey's strokes."""
    return cv2.FontFace("sans") if hasattr(cv2, "FontFace") else None
