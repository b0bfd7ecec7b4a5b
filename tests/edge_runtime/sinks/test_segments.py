"""The annotated video in pieces."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from edge_runtime.errors import OptionError, SinkError
from edge_runtime.pipeline import Result
from edge_runtime.sinks.segments import SegmentedSink, SegmentFiles, Segments
from edge_runtime.sinks.video import VideoSink


def frames_of(path: Path) -> int:
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


def segmented(
    path: Path, segments: Segments, notes: list[str] | None = None, *, live: bool = False
) -> SegmentedSink:
    return SegmentedSink(
        path,
        segments,
        lambda one, note: VideoSink(one, fps=10.0, live=live, on_note=note),
        fps=10.0,
        live=live,
        on_note=(notes if notes is not None else []).append,
    )


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_a_file_is_cut_by_its_own_time(tmp_path: Path, result: Callable[..., Result], suffix: str):
    notes: list[str] = []
    path = tmp_path / f"out{suffix}"
    sink = segmented(path, Segments(1.0), notes)
    for index in range(25):
        sink.write(result(index, captured_s=index / 1000))  # decoded faster than it was filmed
    sink.close()
    pieces = [tmp_path / f"out-00000{n}{suffix}" for n in (1, 2, 3)]
    assert names(tmp_path) == [p.name for p in pieces]
    assert [frames_of(p) for p in pieces] == [10, 10, 5]
    assert notes == [f"wrote 3 segments: out-000001{suffix} to out-000003{suffix}"]


def test_a_camera_is_cut_by_the_clock_and_numbers_go_on_after_a_restart(
    tmp_path: Path, result: Callable[..., Result]
):
    for _ in range(2):
        sink = segmented(tmp_path / "out.mp4", Segments(2.0), live=True)
        for index in range(10):
            sink.write(result(index, captured_s=index * 0.3))
        sink.close()
    assert names(tmp_path) == [f"out-00000{n}.mp4" for n in (1, 2, 3, 4)]
    assert frames_of(tmp_path / "out-000001.mp4") == 19  # 0.0 to 1.8 s, ten a second


def test_the_newest_stay_and_nothing_else_is_touched(tmp_path: Path, result: Callable[..., Result]):
    others = ["out.mp4", "out-1.mp4", "out-0000001x.mp4", "other-000001.mp4", "out-000001.avi"]
    for name in others:
        (tmp_path / name).write_text("mine")
    sink = segmented(tmp_path / "out.mp4", Segments(1.0, keep=2))
    for index in range(45):
        sink.write(result(index))
    sink.close()
    assert set(names(tmp_path)) == {*others, "out-000004.mp4", "out-000005.mp4"}


def test_a_quota_in_bytes(tmp_path: Path, result: Callable[..., Result]):
    sink = segmented(tmp_path / "out.avi", Segments(1.0))
    for index in range(40):
        sink.write(result(index))
    sink.close()
    one = (tmp_path / "out-000001.avi").stat().st_size
    files = SegmentFiles(tmp_path / "out.avi")
    files.make_room(Segments(1.0, most_bytes=2 * one + one // 2))
    assert [number for number, _ in files.present()] == [3, 4]
    files.make_room(Segments(1.0, most_bytes=0))
    assert files.present() == []


def test_what_is_no_segment_is_not_ours(tmp_path: Path):
    (tmp_path / "out-000001.mp4").symlink_to("/etc/passwd")
    (tmp_path / "out-000002.mp4").mkdir()
    files = SegmentFiles(tmp_path / "out.mp4")
    assert files.present() == []
    assert files.owns(tmp_path / "out-000123.mp4")
    assert not files.owns(tmp_path / "out-123.mp4")
    assert not files.owns(tmp_path / "elsewhere" / "out-000123.mp4")


def test_a_segment_that_fails_ends_early_and_the_next_is_tried(
    tmp_path: Path, result: Callable[..., Result]
):
    class Failing:
        def __init__(self, path: Path, note: Callable[[str], None]) -> None:
            self._path, self._note = path, note

        def write(self, result: Result) -> None:
            self._path.write_text("half")

        def close(self) -> None:
            if self._path.name.endswith("2.mp4"):
                self._note("no space left")
                raise SinkError("no space left.")

    notes: list[str] = []
    sink = SegmentedSink(
        tmp_path / "out.mp4", Segments(1.0), Failing, fps=10.0, live=False, on_note=notes.append
    )
    for index in range(30):
        sink.write(result(index))
    with pytest.raises(SinkError, match="1 segment could not be finished"):
        sink.close()
    assert notes == [
        "no space left",
        "no space left; the next segments are tried",
        f"{tmp_path / 'out-000003.mp4'}: segments are written again",
        "wrote 3 segments: out-000001.mp4 to out-000003.mp4",
    ]
    sink.close()  # again, and silent


@pytest.mark.parametrize("limits", [Segments(1.0, keep=3), Segments(1.0, most_bytes=3000)])
def test_on_a_full_disk_good_recordings_stay(
    tmp_path: Path,
    result: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    limits: Segments,
):
    def full(file: int, chunk: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    good = [f"out-00000{n}.mp4" for n in (2, 3, 4)]
    for name in good:
        (tmp_path / name).write_bytes(b"x" * 1000)
    notes: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr("edge_runtime.sinks.spool.os.write", full)
        sink = SegmentedSink(
            tmp_path / "out.mp4",
            limits,
            lambda one, note: VideoSink(one, fps=10.0),
            fps=10.0,
            live=False,
            on_note=notes.append,
        )
        for index in range(50):
            sink.write(result(index))
        with pytest.raises(SinkError, match="5 segments could not be finished"):
            sink.close()
    assert names(tmp_path) == good  # and no empty file beside them
    (note,) = notes
    assert note == (
        f"{tmp_path / 'out-000005.mp4'}: No space left on device; nothing of it was written; "
        "the next segments are tried"
    )


def test_what_was_cut_short_goes_before_what_is_whole(tmp_path: Path):
    files = [tmp_path / f"out-00000{n}.mp4" for n in (1, 2, 3, 4)]
    for file in files:
        file.write_bytes(b"x" * 10)
    files[1].write_bytes(b"")
    SegmentFiles(tmp_path / "out.mp4").make_room(Segments(1.0, keep=2), failed={files[2]})
    assert names(tmp_path) == ["out-000001.mp4", "out-000004.mp4"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("60", 60.0), ("1.5", 1.5), ("10m", 600.0), ("1h", 3600.0)]
)
def test_times(text: str, seconds: float):
    assert Segments.parse(text).seconds == seconds


@pytest.mark.parametrize(
    ("segment", "quota", "complaint"),
    [
        ("0.5s", None, "segment '0.5s': write a time"),
        ("soon", None, "segment 'soon': write a time"),
        ("60", "much", "video-quota 'much': write a size"),
    ],
)
def test_other_text_is_refused(segment: str, quota: str | None, complaint: str):
    with pytest.raises(OptionError, match=complaint):
        Segments.parse(segment, None, quota)
