"""Frames share memory only with frames that nobody holds any more."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.sources import open_source
from edge_runtime.sources.frame_pool import FramePool


@pytest.fixture
def capture(colour_video: Path) -> cv2.VideoCapture:
    return cv2.VideoCapture(str(colour_video))


def place(frame: np.ndarray) -> int:
    return int(frame.__array_interface__["data"][0])


def test_memory_is_used_again_once_nobody_holds_the_frame(capture: cv2.VideoCapture):
    pool = FramePool()
    places = set()
    for _ in range(20):
        frame = pool.read(capture)
        assert frame is not None
        places.add(place(frame))
        del frame
    assert len(places) == 1


def test_a_frame_that_is_kept_is_never_written_over(colour_video: Path):
    kept = [frame.bgr for frame in open_source(colour_video)]
    alone = cv2.VideoCapture(str(colour_video))
    assert len({place(frame) for frame in kept}) == len(kept) == 30
    assert all(np.array_equal(frame, alone.read()[1]) for frame in kept)


@pytest.mark.parametrize(
    "part",
    [
        lambda frame: frame[2:9, 3:8],
        lambda frame: frame[::-1][1:].transpose(1, 0, 2),
        memoryview,
        lambda frame: np.frombuffer(frame, np.uint8),
    ],
)
def test_a_part_of_a_frame_keeps_it_as_well(capture: cv2.VideoCapture, part):
    pool = FramePool()
    frame = pool.read(capture)
    seen = part(frame)
    before, taken = np.array(seen), place(frame)
    del frame
    others = [pool.read(capture) for _ in range(25)]
    assert taken not in {place(other) for other in others if other is not None}
    assert np.array_equal(np.array(seen), before)


def test_pictures_of_another_size_get_memory_of_their_own(capture: cv2.VideoCapture):
    pool = FramePool()
    first = pool.read(capture)
    assert first is not None
    shape = first.shape
    del first
    large = Sized((48, 64, 3))
    assert pool.read(large).shape == (48, 64, 3)
    assert pool.read(large).shape == (48, 64, 3)
    again = pool.read(capture)
    assert again is not None
    assert again.shape == shape


def test_no_frame_is_none(capture: cv2.VideoCapture):
    capture.release()
    assert FramePool().read(capture) is None
    assert FramePool().retrieve(capture) is None


class Sized:
    """As a capture whose camera has changed its size."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._shape = shape

    def read(self, image: np.ndarray | None = None) -> tuple[bool, np.ndarray]:
        fits = image is not None and image.shape == self._shape
        return True, image if fits else np.zeros(self._shape, np.uint8)
