"""Picture files: finding them, and decoding them into frames."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import cv2
import numpy as np

from edge_runtime.errors import ImageError
from edge_runtime.image_header import read_header

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
MAX_FILE_BYTES = 256 << 20
# A few kilobytes can claim gigabytes of pixels.
MAX_PIXELS = 1 << 27


def is_image_name(path: Path) -> bool:
    """Whether the file's name says that it is a picture that edgeproof reads."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def decode_image(path: str | Path) -> np.ndarray:
    """Decode a picture file as a camera would give it.

    EXIF orientation is applied; 16-bit, grey, palette and CMYK become 8-bit BGR. Of a picture with
    alpha the colours count, and how transparent they are does not.

    Returns:
        uint8, shape (height, width, 3), BGR.

    Raises:
        ImageError: when the file cannot be read, is cut off, or is not a picture.
    """
    return decode_bytes(read_image_file(Path(path)), name=str(path))


def read_image_file(path: Path) -> bytes:
    """A picture file's bytes, not decoded.

    Raises:
        ImageError: when the file cannot be read, or is larger than any picture, or no file.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for
            raise ImageError(f"{path}: is no regular file.")
        if found.st_size > MAX_FILE_BYTES:
            raise ImageError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB; scale it down.")
        return path.read_bytes()
    except OSError as exc:
        raise ImageError(f"{path}: cannot be read: {exc.strerror or exc}.") from exc


def decode_bytes(data: bytes, *, name: str) -> np.ndarray:
    """Decode a picture from memory; `name` is what the error calls it. See `decode_image`."""
    if not data:
        raise ImageError(f"{name}: is empty.")
    header = read_header(data)
    if header and header.pixels > MAX_PIXELS:
        raise ImageError(
            f"{name}: {header.width} x {header.height} pixels are more than the {MAX_PIXELS} "
            "allowed; scale it down."
        )
    try:
        frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as exc:
        raise ImageError(f"{name}: not decodable: {_reason(exc)}.") from exc
    if frame is None:
        raise ImageError(f"{name}: not a readable picture (damaged, cut off, or of another type).")
    return frame


def _reason(exc: cv2.error) -> str:
    text = str(getattr(exc, "err", "") or exc).strip().splitlines()[-1]
    if "MAX_IMAGE" in text or "pixels" in text:
        return f"more than the {os.environ['OPENCV_IO_MAX_IMAGE_PIXELS']} pixels allowed"
    return text
