"""Drawing an answer onto a copy of its frame."""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np

from edge_runtime.classifier import Prediction
from edge_runtime.text import printable

_WHITE = (255, 255, 255)
_BAR = (80, 200, 80)
_UNSURE_BAR = (60, 160, 240)
_SURE = 0.8


def annotated(frame_bgr: np.ndarray, prediction: Prediction, *, fps: float = 0.0) -> np.ndarray:
    """A copy of the frame with label, score as a bar, and frames a second along its lower edge.

    Args:
        frame_bgr: uint8, shape (height, width, 3); left as it is.

    Returns:
        uint8, the same shape.
    """
    out = np.array(frame_bgr, order="C", copy=True)
    height, width = out.shape[:2]
    text_px = max(10, min(height // 14, width // 16))
    strip = out[max(0, height - 2 * text_px) :]
    strip[:] = strip // 3  # dark enough under any picture for white letters
    bar = max(2, text_px // 6)
    color = _BAR if prediction.score >= _SURE else _UNSURE_BAR
    cv2.rectangle(out, (0, height - bar), (int(width * prediction.score), height), color, -1)
    text = f"{printable(prediction.label)}  {prediction.score:.0%}"
    baseline = height - bar - text_px // 2
    _put(out, text, (text_px // 2, baseline), text_px)
    if fps:
        rate = f"{fps:.0f} fps"
        _put(out, rate, (width - int(text_px * 0.6 * len(rate)), baseline), text_px * 2 // 3)
    return out


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
