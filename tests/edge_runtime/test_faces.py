"""Faces are found by OpenCV's own YuNet code and made unrecognisable; without it nothing is kept.

The detector is one that takes red patches for faces (tests/helpers/red_faces.py).
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.errors import OptionError, SinkError
from edge_runtime.faces import BlurredSink, FaceBlur
from edge_runtime.loop.results import Result
from edge_runtime.sinks import CollectingSink
from edge_runtime.sources import Frame

pytest.importorskip("onnx")
from red_faces import write_red_face_detector

if not hasattr(cv2, "FaceDetectorYN"):
    pytest.skip("this OpenCV has no FaceDetectorYN", allow_module_level=True)


@pytest.fixture(scope="module")
def blur(tmp_path_factory: pytest.TempPathFactory) -> FaceBlur:
    return FaceBlur(write_red_face_detector(tmp_path_factory.mktemp("model") / "red.onnx"))


def with_face(height: int, width: int, face: tuple[int, int, int, int]) -> np.ndarray:
    """A grey picture with a red chequerboard."""
    picture = np.full((height, width, 3), 90, np.uint8)
    left, top, right, bottom = face
    patch = picture[top:bottom, left:right]
    patch[:] = (10, 10, 200)
    patch[(np.add.outer(np.arange(bottom - top), np.arange(right - left)) // 2 % 2) == 0] = (
        *(30, 30, 250),
    )
    return picture


@pytest.mark.parametrize(
    ("size", "face"),
    [
        pytest.param((240, 320), (96, 80, 160, 144), id="small-picture"),
        pytest.param((1080, 1920), (800, 400, 1000, 600), id="scaled-down-to-look"),
        pytest.param((239, 317), (253, 175, 317, 239), id="in-the-corner-of-odd-sizes"),
        pytest.param((40, 30), (5, 5, 25, 35), id="smaller-than-a-cell"),
    ],
)
def test_a_face_is_blurred_and_the_rest_stays(
    blur: FaceBlur, size: tuple[int, int], face: tuple[int, int, int, int]
):
    picture = with_face(*size, face)
    before = picture.copy()
    out = blur.blurred(picture)
    assert (picture == before).all()
    left, top, right, bottom = face
    patch = out[top:bottom, left:right].astype(int)
    # Every second pixel differed by 50 levels in red; only where boxes meet is anything left.
    assert np.abs(np.diff(patch[..., 2], axis=1)).mean() < 8
    far = np.ones(size, bool)
    margin = max(right - left, 64)
    far[max(0, top - margin) : bottom + margin, max(0, left - margin) : right + margin] = False
    assert (out[far] == before[far]).all()


def test_no_face_no_change(blur: FaceBlur):
    picture = np.full((240, 320, 3), 90, np.uint8)
    assert blur.find(picture) == []
    assert (blur.blurred(picture) == picture).all()


@pytest.mark.parametrize("content", [None, b"junk", b""], ids=["absent", "junk", "empty"])
def test_without_a_detector_it_refuses(tmp_path: Path, content: bytes | None):
    model = tmp_path / "yunet.onnx"
    if content is not None:
        model.write_bytes(content)
    with pytest.raises(OptionError, match=r"--blur-faces .*face_detection_yunet_2023mar\.onnx"):
        FaceBlur(model)


def test_another_networks_file_is_refused(tmp_path: Path, onnx_bytes):
    model = tmp_path / "other.onnx"
    model.write_bytes(onnx_bytes())
    with pytest.raises(OptionError, match="is no YuNet face detector"):
        FaceBlur(model)


def result(index: int) -> Result:
    frame = Frame(with_face(240, 320, (96, 80, 160, 144)), index, 0.0, source="camera 0")
    return Result(frame, None, 0.0, 0.0)


class Pictures(CollectingSink):
    def __init__(self) -> None:
        super().__init__()
        self.pictures: list[np.ndarray] = []

    def wants(self, result: Result) -> bool:
        return result.frame.index % 2 == 0

    def write(self, result: Result) -> None:
        self.pictures.append(result.frame.bgr)


def test_a_sink_is_given_blurred_pictures_of_what_it_wants(
    blur: FaceBlur, monkeypatch: pytest.MonkeyPatch
):
    searches: list[int] = []
    find = blur.find
    monkeypatch.setattr(blur, "find", lambda bgr: searches.append(1) or find(bgr))
    one, other = Pictures(), Pictures()
    sinks = [BlurredSink(sink, blur, asks=True) for sink in (one, other)]
    for index in range(100, 104):
        given = result(index)
        for sink in sinks:
            sink.write(given)
    assert len(one.pictures) == len(other.pictures) == 2
    assert len(searches) == 2  # two sinks cost one search
    assert all((p != result(0).frame.bgr).any() for p in one.pictures)
    pixelless = result(104).without_pixels()
    sinks[0].write(pixelless)
    assert one.pictures[-1].size == 0


def test_a_failing_detector_lets_nothing_through(blur: FaceBlur, monkeypatch: pytest.MonkeyPatch):
    class Broken:
        def setInputSize(self, size: tuple[int, int]) -> None:
            raise cv2.error("broken")

    monkeypatch.setattr(blur, "_detector", Broken())
    sink = Pictures()
    with pytest.raises(SinkError, match="Faces cannot be looked for"):
        BlurredSink(sink, blur, asks=True).write(result(200))
    assert sink.pictures == []
