"""One picture, one tensor: the resize that every part shares."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_runtime.errors import ImageError
from edge_runtime.preprocess import Preprocess, resize_exact

SIDES = st.integers(min_value=1, max_value=97)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(h=SIDES, w=SIDES, th=SIDES, tw=SIDES, fit=st.sampled_from(["stretch", "crop", "letterbox"]))
def test_any_size_becomes_the_input_size(h, w, th, tw, fit):
    frame = noise(h, w)
    before = frame.copy()
    made = Preprocess(width=tw, height=th, fit=fit)(frame)
    assert made.shape == (th, tw, 3)
    assert made.dtype == np.uint8
    assert made.flags.c_contiguous
    assert (frame == before).all()
    assert not np.shares_memory(made, frame)


def test_two_to_one_is_the_mean_of_four_pixels():
    frame = noise(64, 64)
    blocks = frame.reshape(32, 2, 32, 2, 3).astype(np.float64).mean(axis=(1, 3))
    made = resize_exact(frame, width=32, height=32)
    assert np.abs(made - blocks).max() <= 0.5


def test_large_reductions_do_not_alias():
    """A one-pixel checkerboard is grey from afar; plain bilinear would keep black or white."""
    board = (np.indices((512, 512)).sum(axis=0) % 2 * 255).astype(np.uint8)
    frame = cv2.merge([board, board, board])
    made = resize_exact(frame, width=100, height=100)
    assert made.min() >= 120
    assert made.max() <= 135


def test_frames_are_bgr_and_inputs_are_rgb():
    frame = np.zeros((8, 8, 3), np.uint8)
    frame[..., 2] = 200  # red, in OpenCV's order
    assert (Preprocess(width=4, height=4)(frame)[..., 0] == 200).all()
    assert (Preprocess(width=4, height=4, channels="bgr")(frame)[..., 2] == 200).all()


def test_crop_keeps_the_middle():
    frame = np.zeros((10, 30, 3), np.uint8)
    frame[:, 10:20] = 255
    assert (Preprocess(width=10, height=10, fit="crop")(frame) == 255).all()


def test_letterbox_keeps_all_and_pads_with_black():
    frame = np.full((10, 20, 3), 255, np.uint8)
    made = Preprocess(width=20, height=20, fit="letterbox")(frame)
    assert (made[5:15] == 255).all()
    assert (made[:5] == 0).all()
    assert (made[15:] == 0).all()


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(np.zeros((8, 8), np.uint8), id="grey"),
        pytest.param(np.zeros((8, 8, 4), np.uint8), id="alpha"),
        pytest.param(np.zeros((8, 8, 3), np.float32), id="float"),
        pytest.param(np.zeros((0, 8, 3), np.uint8), id="empty"),
        pytest.param(None, id="none"),
    ],
)
def test_what_is_no_frame_is_refused(frame):
    with pytest.raises(ImageError, match="frame"):
        Preprocess(width=4, height=4)(frame)


@pytest.mark.parametrize("wrong", [{"width": 0}, {"height": 99999}, {"fit": "squash"}])
def test_a_wrong_description_is_refused(wrong):
    with pytest.raises(ValidationError):
        Preprocess(**{"width": 4, "height": 4, **wrong})
