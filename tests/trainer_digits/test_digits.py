"""The demo's own data: real digits, each in one part only, drawn alike as photograph and video."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.errors import StorageError
from edge_runtime.images import decode_image
from trainer import digits
from trainer.digits import draw_scene, random_scene, source_digits, write_photos, write_video

PARTS = ("train", "val", "test", "video")


@pytest.fixture
def few(monkeypatch):
    """A handful of digits instead of all: the files are what is tested, not their number."""
    monkeypatch.setattr(digits, "_SPLIT", {"train": 2, "val": 1, "test": 1})


def a_scene(seed: int = 0):
    return random_scene(source_digits("test")[seed % 10][0], np.random.default_rng(seed))


def test_every_handwritten_digit_is_in_exactly_one_part():
    parts = {part: source_digits(part) for part in PARTS}
    drawn = [glyph for by_class in parts.values() for glyphs in by_class for glyph in glyphs]
    assert len(drawn) == 1797
    # Compared as multisets: a digit in two parts would push another one out.
    from sklearn.datasets import load_digits

    wanted = sorted((image / 16).astype(np.float32).tobytes() for image in load_digits().images)
    assert sorted(glyph.tobytes() for glyph in drawn) == wanted
    assert all(len(glyphs) >= 10 for by_class in parts.values() for glyphs in by_class)


def test_another_seed_splits_otherwise():
    first, second = (source_digits("train", seed=seed)[0] for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_photos_lie_in_class_folders_and_decode(tmp_path: Path, few):
    write_photos(tmp_path / "photos", renderings=3)
    for part, number in {"train": 6, "val": 1, "test": 1}.items():
        folders = sorted((tmp_path / "photos" / part).iterdir())
        assert [folder.name for folder in folders] == list("0123456789")
        assert all(len(list(folder.glob("*.png"))) == number for folder in folders)
    first = decode_image(tmp_path / "photos/train/0/0000.png")
    assert first.shape == (120, 160, 3)
    again = decode_image(tmp_path / "photos/train/0/0001.png")
    assert not np.array_equal(first, again)  # the same digit, another rendering


def test_the_same_seed_draws_the_same_photos(tmp_path: Path, few):
    for name, seed in {"a": 5, "b": 5, "c": 6}.items():
        write_photos(tmp_path / name, seed=seed, renderings=1)
    a, b, c = ((tmp_path / name / "test/7/0000.png").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_photos_never_mix_with_what_is_there(tmp_path: Path, few):
    (tmp_path / "photos").mkdir()
    with pytest.raises(StorageError, match="exists already"):
        write_photos(tmp_path / "photos")


def test_the_video_has_one_label_per_frame_and_shows_every_class(tmp_path: Path):
    truth = write_video(tmp_path / "clip.mp4", seconds=13, fps=2)
    capture = cv2.VideoCapture(str(tmp_path / "clip.mp4"))
    frames = []
    while (frame := capture.read()[1]) is not None:
        frames.append(frame)
    assert len(frames) == len(truth) == 26
    assert frames[0].shape[1::-1] == digits.VIDEO_WH
    assert set(truth) == set("0123456789")
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_the_video_moves_smoothly():
    scenes = [scene for _, scene in digits._video_scenes(25, 20.0, 0)]
    steps = np.diff([[*s.center_xy, s.height, s.tilt_deg / 100] for s in scenes], axis=0)
    assert 0 < np.abs(steps).max() < 0.06
    assert np.abs(steps).sum() > 0.3


def test_a_video_that_cannot_be_written_is_one_clear_line(tmp_path: Path):
    with pytest.raises(StorageError, match=r"clip\.nonsense: OpenCV cannot write this video"):
        write_video(tmp_path / "clip.nonsense", seconds=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seed", range(12))
def test_the_digit_stays_inside_the_frame(seed: int):
    scene = a_scene(seed)
    without_ink = digits.replace(scene, ink_bgr=scene.paper_bgr, chalk=False)
    ink = np.abs(
        draw_scene(digits.replace(scene, chalk=False), width=320, height=240).astype(int)
        - draw_scene(without_ink, width=320, height=240)
    ).max(axis=-1)
    assert ink.max() > 60
    assert max(ink[0].max(), ink[-1].max(), ink[:, 0].max(), ink[:, -1].max()) < 20


@pytest.mark.parametrize("seed", range(4))
def test_photograph_and_video_frame_of_one_scene_look_alike(seed: int):
    scene = a_scene(seed)
    photo = draw_scene(scene, width=160, height=120)
    frame = cv2.resize(
        draw_scene(scene, width=640, height=480), (160, 120), interpolation=cv2.INTER_AREA
    )
    assert np.abs(photo.astype(int) - frame).mean() < 6
