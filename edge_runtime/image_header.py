"""What the first bytes of a picture say of it, without decoding: kind, size, colours.

OpenCV has a limit of its own, but reads it when it is first loaded, which may have been before us.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

Colours = Literal["grey", "colour", "palette", "CMYK"]

_PNG_COLOURS: dict[int, tuple[Colours, bool]] = {
    0: ("grey", False),
    2: ("colour", False),
    3: ("palette", False),
    4: ("grey", True),
    6: ("colour", True),
}
# Markers that stand alone, without a length: TEM, RST0 to RST7, SOI.
_JPEG_ALONE = {0x01, *range(0xD0, 0xD9)}
# Start of frame: C0 to CF but for DHT, JPG and DAC.
_JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_COLOURS: dict[int, Colours] = {1: "grey", 4: "CMYK"}


@dataclass(frozen=True)
class ImageHeader:
    """What a picture says of itself.

    Attributes:
        width: in pixels, before any EXIF orientation; height likewise.
        alpha: whether it says how transparent each pixel is.
        bits: of each channel, or of a palette's index.
    """

    kind: Literal["JPEG", "PNG", "BMP", "WebP"]
    width: int
    height: int
    colours: Colours
    alpha: bool
    bits: int

    @property
    def pixels(self) -> int:
        """How many there are when it is decoded."""
        return self.width * self.height


def read_header(data: bytes) -> ImageHeader | None:
    """Read the header of a JPEG, PNG, BMP or WebP; `None` for all else, and what is cut off."""
    try:
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg(data)
        if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR":
            return _png(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data)
        if data.startswith(b"BM"):
            return _bmp(data)
    except (struct.error, IndexError, KeyError):
        return None
    return None


def _png(data: bytes) -> ImageHeader:
    width, height, bits, colour_type = struct.unpack_from(">IIBB", data, 16)
    colours, alpha = _PNG_COLOURS[colour_type]
    return ImageHeader("PNG", width, height, colours, alpha, bits)


def _jpeg(data: bytes) -> ImageHeader | None:
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            at += 1  # decoders skip what is between the segments
            continue
        marker = data[at + 1]
        if marker in _JPEG_FRAMES:
            bits, height, width, channels = struct.unpack_from(">BHHB", data, at + 4)
            colours = _JPEG_COLOURS.get(channels, "colour")
            return ImageHeader("JPEG", width, height, colours, False, bits)
        if marker == 0xDA:  # pixels begin, and no frame was declared
            return None
        if marker in (0x00, 0xFF):  # no marker, and filling before one
            at += 1
        elif marker in _JPEG_ALONE:
            at += 2
        else:
            at += 2 + max(2, struct.unpack_from(">H", data, at + 2)[0])
    return None


def _webp(data: bytes) -> ImageHeader | None:
    match data[12:16]:
        case b"VP8X":
            width = 1 + int.from_bytes(data[24:27], "little")
            height = 1 + int.from_bytes(data[27:30], "little")
            alpha = bool(data[20] & 0x10)
        case b"VP8L":
            (packed,) = struct.unpack_from("<I", data, 21)
            width, height = 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
            alpha = bool(packed >> 28 & 1)
        case b"VP8 ":
            width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
            alpha = False
        case _:
            return None
    return ImageHeader("WebP", width, height, "colour", alpha, 8)


def _bmp(data: bytes) -> ImageHeader:
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    if header_bytes == 12:  # of OS/2
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    else:
        # A negative height: rows from top to bottom.
        width, height, _, bits = struct.unpack_from("<iiHH", data, 18)
    colours: Colours = "palette" if bits <= 8 else "colour"
    return ImageHeader("BMP", abs(width), abs(height), colours, False, min(bits, 8))
