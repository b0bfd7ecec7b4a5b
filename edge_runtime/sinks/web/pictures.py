"""Pictures for people to look at."""

from __future__ import annotations

import cv2
import numpy as np

from edge_runtime.annotate import annotated, outlined
from edge_runtime.errors import SinkError
from edge_runtime.loop.region import Region
from edge_runtime.pipeline import Result
from edge_runtime.preprocess import resize_exact

# A live view need not be finer than a page is wide, and is encoded many times a second.
VIEW_WIDTH = 960
_VIEW_QUALITY, _SNAPSHOT_QUALITY = 72, 92


def view(result: Result, region: Region | None) -> bytes:
    """The live view, as JPEG: the frame with the region that the model sees."""
    picture = result.frame.bgr
    if region is not None:
        picture = outlined(picture, region)  # before it is resized: it may be in pixels
    height, width = picture.shape[:2]
    if width > VIEW_WIDTH:
        picture = resize_exact(
            picture, width=VIEW_WIDTH, height=max(1, height * VIEW_WIDTH // width)
        )
    return jpeg(picture, _VIEW_QUALITY)


def snapshot(result: Result, region: Region | None) -> bytes:
    """A picture to keep, as JPEG: the whole frame with its answer."""
    return jpeg(annotated(result, region=region), _SNAPSHOT_QUALITY)


def jpeg(picture_bgr: np.ndarray, quality: int) -> bytes:
    """Raises SinkError for a picture that JPEG cannot hold: a side above 65,535."""
    try:
        good, data = cv2.imencode(".jpg", picture_bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    except cv2.error as exc:
        raise SinkError(f"a picture of {picture_bgr.shape} is no JPEG") from exc
    if not good:
        raise SinkError(f"a picture of {picture_bgr.shape} is no JPEG")
    return data.tobytes()
