"""Decoding pictures, whole and damaged."""

import contextlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import ImageError
from edge_runtime.images import decode_bytes, decode_image, is_image_name

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


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(PICTURE[..., 0], id="grey"),
        pytest.param(np.dstack([PICTURE, PICTURE[..., 0]]), id="alpha"),
        pytest.param(PICTURE.astype(np.uint16) * 257, id="16-bit"),
    ],
)
def test_every_kind_becomes_eight_bit_bgr(image: np.ndarray):
    frame = decode_bytes(cv2.imencode(".png", image)[1].tobytes(), name="x.png")
    assert frame.shape == (40, 60, 3)
    assert frame.dtype == np.uint8


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_a_picture_or_an_error(data: bytes):
    with contextlib.suppress(ImageError):
        assert decode_bytes(data, name="x").ndim == 3


def test_a_header_that_claims_gigabytes_is_refused():
    png = bytearray(cv2.imencode(".png", PICTURE)[1].tobytes())
    png[16:24] = (100_000).to_bytes(4, "big") * 2
    with pytest.raises(ImageError):
        decode_bytes(bytes(png), name="bomb.png")


def test_hidden_files_and_other_suffixes_are_not_pictures():
    assert is_image_name(Path("A.JPG"))
    assert not is_image_name(Path("._A.jpg"))
    assert not is_image_name(Path("a.txt"))
