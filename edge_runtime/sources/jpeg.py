"""A camera's JPEGs, decoded only where they are whole.

OpenCV's V4L2 decodes a broken one into the picture before it, and so does FFmpeg: a picture half
new, half old, and without a word.
"""

from __future__ import annotations

import cv2
import numpy as np

MJPG = cv2.VideoWriter.fourcc(*"MJPG")

_END = np.array([[0xFF, 0xD9]], np.uint8)
# What libjpeg paints where data ran out, in every channel (jdhuff.c: "uniform gray"), up to the
# last block that it decodes, at the bottom right: cameras' sizes are multiples of it. No sensor's
# noise leaves a block so even.
_NO_DATA = 128
_LAST_BLOCK_HW = (8, 8)


def decoded(jpeg: np.ndarray) -> np.ndarray | None:
    """The picture of a JPEG, uint8 BGR (height, width, 3); `None` where its end is missing.

    Args:
        jpeg: its bytes as they came, uint8 (1, bytes). Without Huffman tables, as USB cameras
            send them, the standard's are taken; nothing is missed if only the end marker is not
            there, which some cameras never write.
    """
    jpeg = jpeg.reshape(1, -1)
    image = _imdecode(jpeg)
    if image is None:
        image = _imdecode(np.concatenate([jpeg, _END], axis=1))
    return None if image is None or _is_cut(image) else image


def _is_cut(image: np.ndarray) -> bool:
    rows, columns = _LAST_BLOCK_HW
    return bool((image[-rows:, -columns:] == _NO_DATA).all())


def _imdecode(jpeg: np.ndarray) -> np.ndarray | None:
    try:
        return cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    except cv2.error:  # nothing at all, or larger than OpenCV decodes
        return None
