"""Replays: a recording's own timing, every scripted fault, and scripts that say something wrong."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.errors import SourceError
from edge_runtime.sources import Frame, Source, SourceOptions, open_source
from edge_runtime.sources.recording import open_recording
from edge_runtime.sources.replay import Replay
from edge_runtime.sources.script import Fault, Script

FAST = SourceOptions(realtime=False)


@pytest.fixture
def recorded(tmp_path: Path, picture) -> Path:
    """A folder with a recording of 40 pictures, 20 a second, to write scripts into."""
    writer = cv2.VideoWriter(
        str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (64, 48)
    )
    for number in range(40):
        writer.write(picture(number % 3, seed=number))
    writer.release()
    return tmp_path


def script(folder: Path, text: str, name: str = "script.toml") -> str:
    (folder / name).write_text(text, encoding="utf-8", errors="surrogateescape")
    return f"replay:{folder / name}"


def played(source: Source) -> tuple[list[Frame], list[str]]:
    events: list[str] = []
    source.on_event = lambda event: events.append(event.kind)
    return list(source), events


def fault(**what: object) -> str:
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in what.items())
    return f'video = "clip.avi"\n[[fault]]\n{lines}\n'


def test_it_keeps_the_recordings_time(recorded: Path):
    source = open_source(f"replay:{recorded / 'clip.avi'}", SourceOptions(frames=15))
    begun = time.perf_counter()
    frames, events = played(source)
    assert source.live
    assert time.perf_counter() - begun >= 0.69  # 14 gaps of 50 ms
    assert frames[-1].index == 14
    assert events == []
    gaps = np.diff([frame.captured_s for frame in frames]) / np.diff([f.index for f in frames])
    assert gaps == pytest.approx(np.full(len(gaps), 0.05), abs=1e-3)
    assert frames[0].captured_s >= begun


def test_a_slow_reader_gets_the_newest(recorded: Path):
    source = open_source(f"replay:{recorded / 'clip.avi'}")
    ages = []
    for frame in source:
        ages.append(time.perf_counter() - frame.captured_s)
        time.sleep(0.2)
    assert source.dropped > 20
    assert sorted(ages)[len(ages) // 2] < 0.5  # and not the seconds that it lags behind


def test_as_fast_as_it_goes_for_as_long_as_wanted(recorded: Path):
    options = SourceOptions(realtime=False, frames=500)
    source = open_source(f"replay:{recorded / 'clip.avi'}", options)
    frames, _ = played(source)
    assert not source.live
    assert [frame.index for frame in frames] == list(range(500))
    assert source.dropped == 0
    assert source.frame_count == 500
    assert np.array_equal(frames[0].bgr, frames[40].bgr)  # from the start again


def test_dropped_frames_are_gaps(recorded: Path):
    spec = script(recorded, fault(kind="drop", at=5, frames=3))
    source = open_source(spec, FAST)
    frames, _ = played(source)
    assert [frame.index for frame in frames] == [n for n in range(40) if n not in (5, 6, 7)]
    assert source.dropped == 3


def test_a_fault_may_come_again(recorded: Path):
    spec = script(recorded, fault(kind="drop", at=5, every=10))
    frames, _ = played(open_source(spec, FAST))
    assert sorted(set(range(40)) - {frame.index for frame in frames}) == [5, 15, 25, 35]


def test_black_frames_are_named(recorded: Path):
    frames, events = played(
        open_source(script(recorded, fault(kind="black", at_s=0.5, frames=4)), FAST)
    )
    assert [frame.index for frame in frames if frame.condition == "black"] == [10, 11, 12, 13]
    assert events == ["black", "recovered"]


def test_a_frozen_camera_is_named_after_a_while(recorded: Path):
    spec = script(recorded, fault(kind="frozen", at=10, frames=20))
    frames, events = played(open_source(spec, SourceOptions(realtime=False, frozen_s=0.5)))
    assert len(frames) == 40
    assert np.array_equal(frames[9].bgr, frames[29].bgr)
    assert [frame.index for frame in frames if frame.condition == "frozen"] == list(range(19, 30))
    assert events == ["frozen", "recovered"]


def test_late_frames_are_stale(recorded: Path):
    spec = script(recorded, fault(kind="late", at=10, frames=2, seconds=1.5))
    frames, events = played(open_source(spec, FAST))
    stale = [frame for frame in frames if frame.condition == "stale"]
    assert [frame.index for frame in stale] == [10, 11]
    assert events == ["stale", "recovered"]
    assert time.perf_counter() - stale[0].captured_s > 1.5


def test_a_stall_is_told_and_what_it_swallowed_is_gone(recorded: Path):
    spec = script(recorded, fault(kind="stall", at=10, seconds=0.5))
    frames, events = played(open_source(spec, SourceOptions(realtime=False, stall_s=0.3)))
    assert [frame.index for frame in frames] == [*range(10), *range(20, 40)]
    assert events == ["stalled", "recovered"]


def test_a_stall_takes_its_time(recorded: Path):
    spec = script(recorded, fault(kind="stall", at=3, seconds=0.8))
    source = open_source(spec, SourceOptions(stall_s=0.3, frames=22))
    begun, told_s = time.perf_counter(), []
    source.on_event = lambda event: told_s.append((event.kind, event.at_s - begun))
    assert [frame.index for frame in source][:4] == [0, 1, 2, 19]
    assert [kind for kind, _ in told_s] == ["stalled", "recovered"]
    assert told_s[0][1] >= 0.39
    assert told_s[1][1] - told_s[0][1] > 0.3  # told while it lasts, not when it is over


def test_unplugged_and_plugged_in_again(recorded: Path):
    spec = script(recorded, fault(kind="unplug", at=10, seconds=0.4))
    frames, events = played(open_source(spec, FAST))
    assert [frame.index for frame in frames] == [*range(10), *range(18, 40)]
    assert events == ["lost", "reopening", "reopened"]
    once = open_source(spec, SourceOptions(realtime=False, reopen=False))
    with pytest.raises(SourceError, match="stopped delivering after 10 frames"):
        list(once)


def test_pictures_with_a_line_for_each(colour_folder: Path):
    lines = [
        {"at_s": 100.0, "picture": "red.png"},
        {"at_s": 100.1, "picture": "green.png", "fault": "black"},
        {"at_s": 100.3, "picture": "blue.png", "fault": "late", "seconds": 2},
    ]
    spec = script(colour_folder, "\n".join(map(json.dumps, lines)), "script.jsonl")
    source = open_source(spec, SourceOptions(realtime=False, frames=6))
    frames, _ = played(source)
    assert [Path(frame.name or "").stem for frame in frames] == ["red", "green", "blue"] * 2
    assert [frame.condition for frame in frames] == ["ok", "black", "stale"] * 2


def test_a_video_with_times_of_its_own(recorded: Path):
    lines = [{"video": "clip.avi"}, *({"at_s": n * n / 100} for n in range(8))]
    spec = script(recorded, "\n".join(map(json.dumps, lines)), "script.jsonl")
    frames, _ = played(open_source(spec))
    begun = frames[0].captured_s
    expected = [frame.index**2 / 100 for frame in frames]
    assert [f.captured_s - begun for f in frames] == pytest.approx(expected, abs=1e-6)


def test_a_folder_of_pictures_as_json(colour_folder: Path):
    about = {"pictures": ".", "fps": 50, "frames": 9, "fault": [{"kind": "drop", "at": 0}]}
    spec = script(colour_folder, json.dumps(about), "script.json")
    (colour_folder / "broken.jpg").write_text("x")
    source = open_source(spec, FAST)
    frames, _ = played(source)
    assert [frame.index for frame in frames] == [2, 3, 4, 6, 7, 8]  # 0 dropped; 1, 5 broken
    assert "broken.jpg" in source.skipped[0]
    assert len(source.skipped) == 1


def test_nothing_readable_is_an_error(tmp_path: Path):
    (tmp_path / "a.png").write_text("no pixels")
    with pytest.raises(SourceError, match=r"nothing in it is readable: skipped .*a\.png"):
        list(open_source(f"replay:{tmp_path}", FAST))


def test_a_recording_that_is_cut_off_says_so(recorded: Path):
    data = (recorded / "clip.avi").read_bytes()
    (recorded / "cut.avi").write_bytes(data[: len(data) // 2])
    source = open_source(f"replay:{recorded / 'cut.avi'}", FAST)
    delivered = len(list(source))
    assert f"ended after {delivered} of 40 frames" in source.skipped[0]


def test_closing_ends_a_wait(recorded: Path):
    source = open_source(script(recorded, fault(kind="late", at=0, seconds=60)))
    threading.Timer(0.2, source.close).start()
    begun = time.perf_counter()
    assert source.read() is None
    assert time.perf_counter() - begun < 30
    source.close()
    assert source.read() is None


def test_a_file_in_real_time(recorded: Path):
    source = open_source(recorded / "clip.avi", SourceOptions(realtime=True))
    assert source.live
    begun = time.perf_counter()
    indices = [frame.index for frame in source]
    assert time.perf_counter() - begun >= 1.7
    assert indices[-1] > 30


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("video = ", "is not TOML", id="no-toml"),
        pytest.param("video = '\udcff'", "is not UTF-8", id="no-utf8"),
        pytest.param("", "names no recording", id="nothing"),
        pytest.param('video = "a"\npictures = "b"', "a video and pictures", id="both"),
        pytest.param('video = ""', "names no recording", id="empty-name"),
        pytest.param('video = "gone.mp4"', r"gone\.mp4: no such file", id="absent"),
        pytest.param('video = "clip.avi"\nspeed = 2', "speed: Extra inputs", id="unknown-key"),
        pytest.param(fault(kind="explode", at=1), r"fault\.0\.kind", id="unknown-fault"),
        pytest.param(fault(kind="drop"), "either at .* or at_s", id="no-place"),
        pytest.param(fault(kind="drop", at=-1), r"fault\.0\.at", id="negative"),
        pytest.param(fault(kind="stall", at=1), "stall needs seconds", id="no-seconds"),
        pytest.param(fault(kind="black", at=1, seconds=1), "takes no seconds", id="seconds"),
        pytest.param(fault(kind="drop", at=1, frames=5, every=2), "every goes with", id="every"),
    ],
)
def test_a_wrong_script_is_one_line(recorded: Path, text: str, words: str):
    with pytest.raises(SourceError, match=words) as error:
        open_source(script(recorded, text))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("", "holds no frame", id="empty"),
        pytest.param("nonsense", "line 1: is not JSON", id="no-json"),
        pytest.param('{"at_s": 0}\n{"at_s": 0}', "line 2: at_s is not after", id="order"),
        pytest.param('{"at_s": 0}', "names no recording", id="no-recording"),
        pytest.param('{"at_s": 0, "picture": "a.png"}\n{"at_s": 1}', "some have none", id="mixed"),
        pytest.param('{"at_s": NaN, "picture": "a.png"}', "line 1: at_s", id="nan"),
        pytest.param('{"at_s": 0, "picture": "a.png", "fault": "late"}', "seconds", id="fault"),
        pytest.param('{"video": "clip.avi"}\n[]', "line 2", id="no-object"),
    ],
)
def test_a_wrong_line_is_named(recorded: Path, text: str, words: str):
    with pytest.raises(SourceError, match=words):
        open_source(script(recorded, text, "script.jsonl"))


def test_a_script_made_in_python(recorded: Path):
    script = Script(faults=(Fault(kind="drop", at=0, frames=38),))
    source = Replay("mine", open_recording(recorded / "clip.avi"), script, FAST)
    assert [frame.index for frame in source] == [38, 39]


def test_a_replay_of_nothing():
    with pytest.raises(SourceError, match="replay: names nothing"):
        open_source("replay:")
    with pytest.raises(SourceError, match=r"nothing\.toml: cannot be read"):
        open_source("replay:nothing.toml")
    with pytest.raises(SourceError, match=r"nothing\.mp4: no such file"):
        open_source("replay:nothing.mp4")
