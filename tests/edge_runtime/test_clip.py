"""Clips: frames chosen by their times, whatever the rate, and nothing across a gap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moving import write_video

from edge_runtime.clip import (
    Clip,
    ClipBuffer,
    FrameTimer,
    film_strip,
    is_video_name,
    read_clip,
)
from edge_runtime.errors import ImageError
from edge_runtime.loop.feeding import ClipFeeder
from edge_runtime.loop.inbox import Captured
from edge_runtime.preprocess import Preprocess
from edge_runtime.sources import Frame

CLIP = Clip(frames=4, fps=8)
PREPROCESS = Preprocess(width=8, height=8)


def at(value: int) -> np.ndarray:
    """A frame that says which it is."""
    return np.full((8, 8, 3), value, np.uint8)


def chosen(timer: FrameTimer, times: np.ndarray) -> list[float]:
    return [float(t) for t in times if timer.wants(float(t))]


@pytest.mark.parametrize("fps", [8.0, 15.0, 24.0, 25.0, 29.97, 30.0, 60.0, 120.0])
def test_the_timer_keeps_the_clips_rate_and_the_nearest_frames(fps: float):
    times = np.arange(round(10 * fps)) / fps
    taken = chosen(FrameTimer(CLIP), times)
    assert len(taken) == pytest.approx(80, abs=1)
    grid = np.arange(len(taken)) / CLIP.fps
    assert np.abs(np.array(taken) - grid).max() <= 0.5 / fps + 1e-9


def test_a_jittering_camera_does_not_drift():
    rng = np.random.default_rng(0)
    times = np.arange(3000) / 30 + rng.uniform(-0.01, 0.01, 3000)
    taken = chosen(FrameTimer(CLIP), times)
    assert len(taken) == pytest.approx(800, abs=2)


@pytest.mark.parametrize("fps", [2.5, 5.0, 7.9])
def test_a_slow_camera_is_taken_whole(fps: float):
    times = np.arange(40) / fps
    assert chosen(FrameTimer(CLIP), times) == times.tolist()


def test_after_a_gap_the_timer_begins_anew():
    timer = FrameTimer(CLIP)
    assert [timer.wants(t) for t in (0.0, 0.01, 5.0, 5.01)] == [True, False, True, False]
    assert timer.wants(1.0)  # time went backwards: another recording


@settings(max_examples=50, deadline=None)
@given(st.floats(6.0, 120.0), st.integers(2, 16), st.floats(2.0, 30.0), st.floats(0, 1e6))
def test_a_clip_is_the_frames_nearest_to_its_own_times(
    fps: float, frames: int, clip_fps: float, start_s: float
):
    clip = Clip(frames=frames, fps=clip_fps)
    if 1 / fps > clip.gap_s:
        return
    buffer = ClipBuffer(clip)
    times = start_s + np.arange(int((clip.span_s + 1) * fps) + 2) / fps
    whole = 0
    for number, t in enumerate(times):
        frame = np.array([[[number % 256, number // 256, 0]]], np.uint8)
        made = buffer.add(frame, float(t))
        if made is None:
            assert times[number] - times[0] < clip.span_s
            continue
        whole += 1
        found = made[:, 0, 0, 0].astype(int) + 256 * made[:, 0, 0, 1].astype(int)
        assert made.shape == (frames, 1, 1, 3)
        assert found[-1] == number
        wanted = t - clip.span_s + np.arange(frames) / clip_fps
        past = times[: number + 1]
        best = np.abs(past[None] - wanted[:, None]).min(axis=1)
        assert np.abs(past[found] - wanted) == pytest.approx(best, abs=1e-6)
    assert whole > 0
    assert len(buffer) <= (clip.span_s + 0.5 / clip.fps) * fps + 3


@pytest.mark.parametrize("pause", [0.6, 10.0, -0.2])
def test_nothing_is_put_together_across_a_gap(pause: float):
    buffer = ClipBuffer(CLIP)
    for number in range(8):
        last = buffer.add(at(number), number / 8)
    assert last is not None
    after = 7 / 8 + pause
    made = [buffer.add(at(100 + number), after + number / 8) for number in range(4)]
    assert [m is None for m in made] == [True, True, True, False]
    assert made[-1] is not None
    assert made[-1][:, 0, 0, 0].tolist() == [100, 101, 102, 103]


def captured(number: int, at_s: float, *, source: int = 0, condition="ok") -> Captured:
    frame = Frame(at(number), number, at_s, condition=condition)
    return Captured(frame, source, 0.0, at_s)


def test_a_file_answers_every_frame_from_the_first_whole_clip_on():
    feeder = ClipFeeder(CLIP, [False])
    fed = feeder.feed([captured(n, n / 8) for n in range(6)], lambda bgr: bgr)
    assert [f.captured.frame.condition for f in fed] == ["filling"] * 3 + ["ok"] * 3
    assert [f.input is None for f in fed] == [True] * 3 + [False] * 3
    assert fed[-1].input is not None
    assert fed[-1].input[:, 0, 0, 0].tolist() == [2, 3, 4, 5]


def test_of_a_camera_only_the_newest_clip_is_asked_about():
    feeder = ClipFeeder(CLIP, [True])
    feeder.feed([captured(n, n / 8) for n in range(4)], lambda bgr: bgr)
    fed = feeder.feed([captured(n, n / 8) for n in range(4, 9)], lambda bgr: bgr)
    assert [f.captured.frame.index for f in fed] == [8]
    assert fed[0].input is not None
    assert fed[0].input[:, 0, 0, 0].tolist() == [5, 6, 7, 8]


def test_a_frame_that_is_no_news_ends_the_moment():
    feeder = ClipFeeder(CLIP, [False])
    frames = [captured(n, n / 8) for n in range(4)]
    black = captured(4, 4 / 8, condition="black")
    after = [captured(n, n / 8) for n in range(5, 9)]
    fed = feeder.feed([*frames, black, *after], lambda bgr: bgr)
    assert [f.input is None for f in fed] == [*[True] * 3, False, True, *[True] * 3, False]


def test_cameras_do_not_mix():
    feeder = ClipFeeder(CLIP, [False, False])
    frames = [captured(10 * s + n, n / 8, source=s) for n in range(4) for s in (0, 1)]
    whole = [f for f in feeder.feed(frames, lambda bgr: bgr) if f.input is not None]
    assert [f.input[:, 0, 0, 0].tolist() for f in whole if f.input is not None] == [
        [0, 1, 2, 3],
        [10, 11, 12, 13],
    ]


def numbered_video(path: Path, frames: int, fps: float) -> Path:
    return write_video(
        path, [np.full((16, 16, 3), 5 * n, np.uint8) for n in range(frames)], fps=fps
    )


@pytest.mark.parametrize("fps", [16.0, 24.0, 32.0])
def test_a_clip_of_a_video_is_its_middle_at_the_clips_rate(tmp_path: Path, fps: float):
    frames = round(fps) + 1  # a second
    made = read_clip(numbered_video(tmp_path / "v.avi", frames, fps), CLIP, PREPROCESS)
    levels = made.mean(axis=(1, 2, 3))
    apart = np.diff(levels) / 5
    assert made.shape == (4, 8, 8, 3)
    assert apart == pytest.approx([fps / CLIP.fps] * 3, abs=0.6)
    assert levels.mean() / 5 == pytest.approx((frames - 1) / 2, abs=0.8)


def test_of_a_shorter_video_the_ends_stand_still(tmp_path: Path):
    made = read_clip(numbered_video(tmp_path / "v.avi", 3, 24.0), CLIP, PREPROCESS)
    assert made.mean(axis=(1, 2, 3)) == pytest.approx([0, 0, 10, 10], abs=2)


@pytest.mark.parametrize("content", [b"", b"no video at all"])
def test_what_is_no_video_is_said_so(tmp_path: Path, content: bytes):
    (tmp_path / "v.mp4").write_bytes(content)
    with pytest.raises(ImageError, match=r"v\.mp4"):
        read_clip(tmp_path / "v.mp4", CLIP, PREPROCESS)


def test_names_of_videos():
    assert is_video_name(Path("a.MP4"))
    assert not is_video_name(Path("a.jpg"))
    assert not is_video_name(Path(".a.mp4"))


def test_people_see_a_film_strip():
    clip = np.stack([at(n) for n in range(9)])
    assert film_strip(clip)[0, ::8, 0].tolist() == [0, 3, 5, 8]
    assert film_strip(at(3)) is not None
    assert film_strip(at(3)).shape == (8, 8, 3)


@pytest.mark.parametrize(("frames", "fps"), [(1, 8), (65, 8), (4, 0), (4, float("nan"))])
def test_a_senseless_clip_is_refused(frames: int, fps: float):
    with pytest.raises(ValueError, match="Clip"):
        Clip(frames=frames, fps=fps)
