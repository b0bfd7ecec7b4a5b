"""What one picture file is: size, colours, and in a few hundred bytes what it looks like."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_runtime.errors import ImageError
from edge_runtime.image_header import ImageHeader, read_header
from edge_runtime.images import decode_bytes, read_image_file
from trainer.data.check.looks import Look, look_of
from trainer.folders import Part, Picture

# Grey pictures that are stored in colour differ between the channels by rounding alone.
_GREY_LEVELS = 3


@dataclass(frozen=True, eq=False)
class Facts:
    """What was found in one file.

    Attributes:
        path: POSIX path below the set's folder.
        part: the user's part; `None` where there is no split.
        header: what its first bytes say; `None` where they say nothing known.
        why: why it cannot be decoded; `None` where it can.
        hw: height and width in pixels, upright; (0, 0) where it cannot be decoded.
        is_grey: whether all its pixels are grey, however they are stored.
        pixels: hash of the decoded pixels; empty where it cannot be decoded.
        look: what it looks like; `None` where it cannot be decoded.
    """

    path: str
    label: int
    part: Part | None
    size_bytes: int
    header: ImageHeader | None
    why: str | None
    hw: tuple[int, int]
    is_grey: bool
    pixels: bytes
    look: Look | None


def read_facts(root: Path, picture: Picture, part: Part | None) -> Facts:
    """Read and decode one file."""
    file = root / picture.path
    try:
        data = read_image_file(file)
    except ImageError as exc:
        return _unreadable(picture, part, 0, None, file, exc)
    header = read_header(data)
    try:
        frame_bgr = decode_bytes(data, name=str(file))
    except ImageError as exc:
        return _unreadable(picture, part, len(data), header, file, exc)
    height, width = frame_bgr.shape[:2]
    # Two pictures of one colour may have equal bytes and different shapes.
    digest = hashlib.blake2b(f"{height} {width} ".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(frame_bgr).data)
    look, thumbnail_rgb = look_of(frame_bgr)
    channels = thumbnail_rgb.astype(np.int16)
    spread = np.max(channels.max(axis=2) - channels.min(axis=2))
    return Facts(
        path=picture.path,
        label=picture.label,
        part=part,
        size_bytes=len(data),
        header=header,
        why=None,
        hw=(height, width),
        is_grey=bool(spread <= _GREY_LEVELS),
        pixels=digest.digest(),
        look=look,
    )


def _unreadable(
    picture: Picture,
    part: Part | None,
    size_bytes: int,
    header: ImageHeader | None,
    file: Path,
    exc: ImageError,
) -> Facts:
    why = str(exc).removeprefix(f"{file}: ").rstrip(".")
    return Facts(
        path=picture.path,
        label=picture.label,
        part=part,
        size_bytes=size_bytes,
        header=header,
        why=why,
        hw=(0, 0),
        is_grey=False,
        pixels=b"",
        look=None,
    )
