"""A camera's JPEG is a frame where it is whole, and none where its end is missing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.sources.jpeg import decoded

END = b"\xff\xd9"


def encoded(*, width: int = 320, height: int = 240, quality: int = 90, sampling: int = 0) -> bytes:
    ramp = np.linspace(20, 220, width, dtype=np.float32)[None, :, None]
    noise = np.random.default_rng(0).normal(0, 3, (height, width, 3))
    picture = np.clip(ramp + noise, 0, 255).astype(np.uint8)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    if sampling:
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    return cv2.imencode(".jpg", picture, options)[1].tobytes()


def decode(data: bytes) -> np.ndarray | None:
    return decoded(np.frombuffer(data, np.uint8).reshape(1, -1))


SAMPLINGS = [
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
]


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("size", [(320, 240), (640, 360), (1280, 720)])
def test_a_whole_one_is_decoded_and_one_without_its_end_is_not(size, sampling):
    data = encoded(width=size[0], height=size[1], sampling=sampling)
    whole = decode(data)
    assert whole is not None
    assert np.array_equal(whole, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
    for kept in (0.3, 0.6, 0.9, 0.99):
        cut = data[: int(len(data) * kept)]
        assert decode(cut) is None
        assert decode(cut + END) is None, "a camera may write the end of what it cut"


def test_a_missing_end_marker_alone_misses_nothing():
    data = encoded()
    assert data.endswith(END)
    assert np.array_equal(decode(data[:-2]), decode(data))
    assert np.array_equal(decode(data + bytes(4096)), decode(data)), "padded, as drivers do"


def test_a_grey_wall_is_whole():
    wall = np.random.default_rng(0).normal(128, 1.5, (240, 320, 3))
    data = cv2.imencode(".jpg", np.clip(wall, 0, 255).astype(np.uint8))[1].tobytes()
    assert decode(data) is not None


@given(st.binary(max_size=200), st.integers(0, 600))
def test_whatever_comes_is_a_picture_or_none(junk: bytes, kept: int):
    for data in (junk, encoded(width=32, height=32)[:kept] + junk):
        image = decode(data)
        assert image is None or image.shape[2] == 3
