"""Decoding pictures, whole and damaged."""

import contextlib
import io
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from edge_runtime.errors import ImageError
from edge_runtime.image_header import read_header
from edge_runtime.images import decode_bytes, decode_image, is_image_name
from edge_runtime.preprocess import Fit, Preprocess

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.98])
def test_a_cut_off_file_is_no_picture(tmp_path: Path, suffix: str, kept: float):
    data = cv2.imencode(suffix, PICTURE)[1].tobytes()
    file = tmp_path / f"cut{suffix}"
    file.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ImageError, match="cut"):
        decode_image(file)


def test_text_named_jpg_is_no_picture(tmp_path: Path):
    file = tmp_path / "notes.jpg"
    file.write_text("these are not pixels")
    with pytest.raises(ImageError, match=r"notes\.jpg"):
        decode_image(file)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff"], ids=["empty", "only-a-marker"])
def test_next_to_nothing_is_no_picture(data: bytes):
    with pytest.raises(ImageError):
        decode_bytes(data, name="x.jpg")


def encoded(image: Image.Image, kind: str, **settings: Any) -> bytes:
    """A picture's bytes as Pillow writes them."""
    out = io.BytesIO()
    image.save(out, kind, **settings)
    return out.getvalue()


def frame_rgb(data: bytes) -> np.ndarray:
    """What is decoded, in RGB order."""
    frame = decode_bytes(data, name="x")
    assert frame.dtype == np.uint8
    assert frame.shape[2:] == (3,)
    return frame[..., ::-1]


RGB = Image.fromarray(PICTURE)
ALPHA = PICTURE[..., 0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "settings"), [("JPEG", {"quality": 95}), ("PNG", {}), ("WEBP", {"lossless": True})]
)
def test_exif_orientation_is_applied(kind: str, settings: dict[str, Any], orientation: int):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    upright = frame_rgb(encoded(RGB, kind, **settings))
    turned = frame_rgb(encoded(RGB, kind, exif=exif, **settings))
    # What the eight mean: TIFF 6.0, tag 274.
    first_row_is_a_column = orientation > 4
    expected = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[:, ::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[::-1],
    }[orientation]
    assert turned.shape == ((60, 40, 3) if first_row_is_a_column else (40, 60, 3))
    assert (turned == expected).all()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(
            cv2.imencode(".png", PICTURE[..., ::-1].astype(np.uint16) * 256 + 255)[1].tobytes(),
            PICTURE,
            id="16-bit",
        ),
        pytest.param(
            cv2.imencode(".png", ALPHA.astype(np.uint16) * 256 + 128)[1].tobytes(),
            np.dstack([ALPHA] * 3),
            id="16-bit-grey",
        ),
        pytest.param(encoded(Image.fromarray(ALPHA), "PNG"), np.dstack([ALPHA] * 3), id="grey"),
        pytest.param(
            encoded(Image.fromarray(ALPHA > 90), "PNG"),
            np.dstack([np.where(ALPHA > 90, 255, 0)] * 3),
            id="one-bit",
        ),
        pytest.param(
            encoded(RGB.quantize(16), "PNG"),
            np.asarray(RGB.quantize(16).convert("RGB")),
            id="palette",
        ),
        pytest.param(
            encoded(RGB.quantize(16), "PNG", transparency=3),
            np.asarray(RGB.quantize(16).convert("RGB")),
            id="palette-with-a-clear-colour",
        ),
        # Transparency is left out; the colours beneath are what counts, as they are.
        pytest.param(
            encoded(Image.fromarray(np.dstack([PICTURE, ALPHA])), "PNG"), PICTURE, id="alpha"
        ),
        pytest.param(
            encoded(
                Image.fromarray(np.dstack([PICTURE, ALPHA])), "WEBP", lossless=True, exact=True
            ),
            PICTURE,
            id="alpha-webp",
        ),
        pytest.param(
            encoded(Image.fromarray(np.dstack([ALPHA, ALPHA // 2])), "PNG"),
            np.dstack([ALPHA] * 3),
            id="grey-alpha",
        ),
        pytest.param(encoded(RGB, "BMP"), PICTURE, id="bmp"),
    ],
)
def test_every_kind_becomes_eight_bit_bgr(data: bytes, expected: np.ndarray):
    assert (frame_rgb(data) == expected).all()


def test_cmyk_becomes_the_colours_that_it_prints():
    smooth = Image.fromarray(cv2.GaussianBlur(PICTURE, (9, 9), 0))
    data = encoded(smooth.convert("CMYK"), "JPEG", quality=98, subsampling=0)
    error = np.abs(frame_rgb(data).astype(int) - np.asarray(smooth))
    assert error.mean() < 3
    assert error.max() < 24


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_a_picture_or_an_error(data: bytes):
    with contextlib.suppress(ImageError):
        assert decode_bytes(data, name="x").ndim == 3


def test_a_header_that_claims_gigabytes_is_refused():
    png = bytearray(cv2.imencode(".png", PICTURE)[1].tobytes())
    png[16:24] = (100_000).to_bytes(4, "big") * 2
    with pytest.raises(ImageError):
        decode_bytes(bytes(png), name="bomb.png")


def test_a_picture_of_400_megapixels_is_refused_by_its_header():
    """It would be 1.2 GB; compressed, it is a few kilobytes."""
    side = 20_000
    row = bytes(1 + side // 8)
    pack = zlib.compressobj(1)
    pixels = b"".join(pack.compress(row * 100) for _ in range(side // 100)) + pack.flush()

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + check

    size = side.to_bytes(4, "big") * 2
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + bytes([1, 0, 0, 0, 0]))
    png += chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    with pytest.raises(
        ImageError, match="20000 x 20000 pixels are more than the 134217728 allowed"
    ):
        decode_bytes(png, name="huge.png")


@pytest.mark.parametrize(
    ("image", "kind", "settings"),
    [
        pytest.param(RGB, "JPEG", {}, id="jpeg"),
        pytest.param(RGB, "JPEG", {"progressive": True, "comment": b"\xff\xc0"}, id="progressive"),
        pytest.param(RGB.convert("L"), "JPEG", {}, id="grey-jpeg"),
        pytest.param(RGB.convert("CMYK"), "JPEG", {}, id="cmyk"),
        pytest.param(RGB, "PNG", {}, id="png"),
        pytest.param(RGB.quantize(16), "PNG", {}, id="palette"),
        pytest.param(RGB.convert("RGBA"), "PNG", {}, id="alpha"),
        pytest.param(RGB.convert("1"), "PNG", {}, id="one-bit"),
        pytest.param(RGB.convert("LA"), "PNG", {}, id="grey-alpha"),
        pytest.param(RGB, "WEBP", {}, id="webp"),
        pytest.param(RGB, "WEBP", {"lossless": True}, id="webp-lossless"),
        pytest.param(RGB.convert("RGBA"), "WEBP", {}, id="webp-alpha"),
        pytest.param(RGB, "BMP", {}, id="bmp"),
        pytest.param(RGB.quantize(16), "BMP", {}, id="bmp-palette"),
    ],
)
def test_a_header_says_what_pillow_says(image: Image.Image, kind: str, settings: dict[str, Any]):
    data = encoded(image, kind, **settings)
    header = read_header(data)
    assert header is not None
    by_pillow = Image.open(io.BytesIO(data))
    assert header.kind.upper() == kind
    assert (header.width, header.height) == by_pillow.size
    modes = {"L": "grey", "LA": "grey", "1": "grey", "P": "palette", "CMYK": "CMYK"}
    assert header.colours == modes.get(by_pillow.mode, "colour")
    assert header.alpha == (by_pillow.mode in ("RGBA", "LA"))


@given(st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF"]), st.binary())
def test_any_bytes_have_a_header_or_none(magic: bytes, data: bytes):
    read_header(magic + data)
    read_header(b"RIFF0000WEBPVP8X" + data)
    read_header(b"\x89PNG\r\n\x1a\n0000IHDR" + data)


@pytest.mark.parametrize("fit", ["stretch", "crop", "letterbox"])
def test_a_picture_of_one_pixel_becomes_an_input(fit: Fit):
    frame = decode_bytes(encoded(Image.new("RGB", (1, 1), (10, 20, 30)), "PNG"), name="1x1.png")
    made = Preprocess(width=24, height=24, fit=fit)(frame)
    assert (made == [10, 20, 30]).all()


def test_hidden_files_and_other_suffixes_are_not_pictures():
    assert is_image_name(Path("A.JPG"))
    assert not is_image_name(Path("._A.jpg"))
    assert not is_image_name(Path("a.txt"))
