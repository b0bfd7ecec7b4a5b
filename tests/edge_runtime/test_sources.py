"""Sources: what opens, what does not, and what is cut off."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.errors import SourceError
from edge_runtime.sources import Pictures, SourceOptions, VideoFile, open_source


def test_a_video_gives_every_frame_in_order(colour_video: Path):
    source = open_source(colour_video)
    frames = list(source)
    assert [frame.index for frame in frames] == list(range(30))
    assert source.frame_count == 30
    assert not source.live
    mostly = [int(frame.bgr.mean(axis=(0, 1)).argmax()) for frame in frames]
    assert mostly == [2] * 10 + [1] * 10 + [0] * 10  # BGR


def test_a_video_cut_off_in_a_frame_says_so_after_the_whole_ones(colour_video: Path):
    data = colour_video.read_bytes()
    cut = colour_video.with_name("cut.avi")
    cut.write_bytes(data[: len(data) // 2])
    source = open_source(cut)
    delivered = 0
    with pytest.raises(SourceError, match=r"cut\.avi: is cut off.*of 30 frames"):
        for _ in source:
            delivered += 1
    assert 0 < delivered < 30


@pytest.mark.parametrize("data", [b"", b"RIFF", b"this is text\n" * 100])
def test_what_is_no_video_does_not_open(tmp_path: Path, data: bytes):
    file = tmp_path / "clip.mp4"
    file.write_bytes(data)
    with pytest.raises(SourceError, match=r"clip\.mp4: does not open as a video"):
        open_source(file)


def test_pictures_come_sorted_and_bad_ones_are_named(colour_folder: Path):
    (colour_folder / "notes.jpg").write_text("no pixels")
    source = open_source(colour_folder)
    assert isinstance(source, Pictures)
    names = [Path(frame.name or "").name for frame in source]
    assert names == ["blue.png", "green.png", "red.png"]
    assert len(source.skipped) == 1
    assert "notes.jpg" in source.skipped[0]


def test_a_single_picture(colour_folder: Path):
    assert len(list(open_source(colour_folder / "red.png"))) == 1


def test_a_single_bad_picture_is_an_error(tmp_path: Path):
    (tmp_path / "x.png").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"x\.png"):
        list(open_source(tmp_path / "x.png"))


def test_a_folder_of_bad_pictures_is_an_error(tmp_path: Path):
    (tmp_path / "x.png").write_bytes(b"x")
    with pytest.raises(SourceError, match="none of its pictures"):
        list(open_source(tmp_path))


def test_an_empty_folder_is_an_error(tmp_path: Path):
    with pytest.raises(SourceError, match="no pictures"):
        open_source(tmp_path)


@pytest.mark.parametrize("spec", [97, "97", "/dev/video97"])
def test_a_camera_that_is_not_there(spec):
    with pytest.raises(SourceError, match="Camera 97 does not open: there is no /dev/video97"):
        open_source(spec)


def test_a_missing_file():
    with pytest.raises(SourceError, match=r"nothing\.mp4: no such file"):
        open_source("nothing.mp4")


def test_closing_twice_is_harmless(colour_video: Path):
    source = VideoFile(colour_video)
    source.close()
    source.close()
    assert source.read() is None


def test_a_black_video_frame_is_named_and_a_still_video_is_not(tmp_path: Path, picture):
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    for number in range(100):  # ten seconds, all of them the same but for three
        writer.write(np.zeros((48, 64, 3), np.uint8) if 50 <= number < 53 else picture(0))
    writer.release()
    events = []
    source = open_source(clip)
    source.on_event = lambda event: events.append((event.kind, event.source))
    named = [frame.index for frame in source if frame.condition == "black"]
    assert named == [50, 51, 52]
    assert events == [("black", str(clip)), ("recovered", str(clip))]
    unjudged = open_source(clip, SourceOptions(judge=frozenset()))
    assert {frame.condition for frame in unjudged} == {"ok"}


def test_a_picture_is_answered_however_black_it_is(tmp_path: Path):
    cv2.imwrite(str(tmp_path / "night.png"), np.zeros((48, 64, 3), np.uint8))
    assert [frame.condition for frame in open_source(tmp_path)] == ["ok"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        pytest.param({"width": 0}, "width: must be a whole number", id="width"),
        pytest.param({"fps": float("nan")}, "fps: must be a number above 0", id="fps"),
        pytest.param({"fourcc": "MJPEG"}, "'MJPEG' is no pixel format", id="fourcc"),
        pytest.param({"reopen_tries": 1.5}, "reopen_tries: must be a whole", id="tries"),
        pytest.param({"judge": frozenset({"late"})}, "judge: knows no 'late'", id="judge"),
    ],
)
def test_wrong_options_are_named(wrong, words):
    with pytest.raises(SourceError, match=words):
        SourceOptions(**wrong)


def test_a_name_of_ones_own(colour_folder: Path):
    source = open_source(colour_folder, SourceOptions(name="shelf"))
    assert {frame.source for frame in source} == {source.name} == {"shelf"}


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("asl_milk.mkv", 51),  # one fewer than its header says
        ("bottle-detection.mp4", 1189),
        ("newtonscradle.gif", 36),
        ("frigate_test_motion_video-1.mp4", 813),
    ],
)
def test_real_videos_to_their_last_frame(data_folder: Path, name: str, frames: int):
    assert sum(1 for _ in open_source(data_folder / "videos" / name)) == frames


@pytest.mark.real_data
def test_a_real_video_cut_off(data_folder: Path, tmp_path: Path):
    data = (data_folder / "videos" / "asl_yes.mkv").read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(SourceError, match="cut off"):
        list(open_source(cut))


@pytest.mark.real_data
def test_odd_pictures_decode(data_folder: Path):
    for file in sorted((data_folder / "images").rglob("*.*")):
        if file.suffix in {".png", ".bmp", ".jpg"}:
            frame = next(iter(open_source(file))).bgr
            assert frame.dtype == np.uint8
            assert frame.shape == cv2.imread(str(file)).shape
