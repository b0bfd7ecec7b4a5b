"""What the sinks show of an answer, of none, and of what befalls a source."""

import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.annotate import annotated
from edge_runtime.classifier import Prediction
from edge_runtime.errors import SinkError
from edge_runtime.loop.region import Region
from edge_runtime.loop.results import UNKNOWN, Answer, Result, Stages
from edge_runtime.sinks import JsonLinesSink, OneSourceSink, TerminalSink, VideoSink
from edge_runtime.sources import Frame, SourceEvent

LABELS = ("cat", "dog")


def result(
    index: int = 0,
    *,
    scores: tuple[float, float] = (0.9, 0.1),
    abstain: bool = False,
    condition: str = "ok",
    source: str = "camera 0",
    captured_s: float = 0.0,
) -> Result:
    picture = np.full((48, 64, 3), 90, np.uint8)
    frame = Frame(picture, index, captured_s, condition=condition, source=source)
    if condition != "ok":
        return Result(frame, None, 12.0, 30.0)
    row = np.array(scores, np.float32)
    best = int(row.argmax())
    prediction = Prediction(LABELS[best], best, float(row[best]), row, 1.0, 2.0)
    label, place = (UNKNOWN, None) if abstain else (LABELS[best], best)
    return Result(
        frame,
        prediction,
        age_ms=12.0,
        fps=30.0,
        answer=Answer(label, place, float(row[best]), row),
        stages=Stages(1.0, 2.0, 3.0, 4.0, 1),
        captured_at=1e9,
    )


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_json_lines_of_answers_of_none_and_of_events(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    sink = JsonLinesSink(path, LABELS)
    sink.write(result())
    sink.write(result(1, abstain=True))
    sink.write(result(2, condition="black"))
    sink.write(result(3, scores=(float("nan"), float("nan")), abstain=True))
    sink.event(SourceEvent("lost", 0.0, "it stopped delivering", "camera 0"))
    sink.close()
    sure, unknown, black, nan, event = lines(path)
    assert (sure["label"], sure["score"], sure["source"], sure["time"]) == (
        *("cat", 0.9, "camera 0"),
        1e9,
    )
    assert sure["top"] == [["cat", 0.9], ["dog", 0.1]]
    stages = ("capture_ms", "wait_ms", "preprocess_ms", "infer_ms")
    assert [sure[stage] for stage in stages] == [1, 2, 3, 4]
    assert "model" not in sure and "condition" not in sure
    assert (unknown["label"], unknown["abstained"]) == ("unknown", True)
    assert unknown["model"] == ["cat", 0.9]
    assert black["condition"] == "black"
    assert not {"label", "score", "infer_ms"} & set(black)
    assert nan["score"] is None
    assert (event["event"], event["source"]) == ("lost", "camera 0")


def test_the_first_labels_of_many(tmp_path: Path):
    labels = tuple(f"label {i}" for i in range(100))
    row = np.random.default_rng(0).permutation(100).astype(np.float32) / 100
    best = int(row.argmax())
    prediction = Prediction(labels[best], best, float(row[best]), row, 1, 1)
    frame = Frame(np.zeros((2, 2, 3), np.uint8), 0, 0.0)
    answer = Answer(labels[best], best, float(row[best]), row)
    sink = JsonLinesSink(tmp_path / "a.jsonl", labels)
    sink.write(Result(frame, prediction, 1.0, 0.0, answer=answer))
    sink.close()
    expected = [[labels[i], round(float(row[i]), 6)] for i in row.argsort()[::-1][:5]]
    assert lines(tmp_path / "a.jsonl")[0]["top"] == expected


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_has_a_line_for_each_change_of_each_source():
    out, err = io.StringIO(), io.StringIO()
    sink = TerminalSink(out, err, name_sources=True)
    for index in range(3):
        sink.write(result(index, source="left"))
        sink.write(result(index, source="right", scores=(0.2, 0.8)))
    sink.write(result(3, source="left", condition="frozen"))
    sink.event(SourceEvent("lost", 0.0, "gone\x1b[2J", "left"))
    sink.close()
    shown = out.getvalue().splitlines()
    assert len(shown) == 3
    assert shown[0].startswith("left  frame 0  cat 90.0%")
    assert shown[1].startswith("right  frame 0  dog 80.0%")
    assert "(frozen frame)" in shown[2]
    assert err.getvalue() == "left: lost: gone\N{REPLACEMENT CHARACTER}[2J\n"


def test_a_terminal_keeps_one_line_and_notes_above_it():
    out, err = Terminal(), io.StringIO()
    sink = TerminalSink(out, err)
    for index in range(50):
        sink.write(result(index))
    sink.note("the disk is full")
    sink.close()
    assert out.getvalue().count("\n") == 1
    assert "frame 49" in out.getvalue()
    assert err.getvalue() == "the disk is full\n"


@pytest.mark.parametrize(
    "shown",
    [
        result(),
        result(abstain=True),
        result(condition="black"),
        result(scores=(float("nan"), float("nan")), abstain=True),
    ],
    ids=["sure", "unknown", "no-news", "nan"],
)
def test_pictures_say_what_there_is_to_say(shown: Result):
    before = shown.frame.bgr.copy()
    plain = annotated(shown)
    assert plain.shape == before.shape
    assert (plain[-10:] != before[-10:]).any()
    assert (shown.frame.bgr == before).all()
    marked = annotated(shown, region=Region.parse("10%,10%,50%,50%"))
    assert (marked[5, 10] != plain[5, 10]).any()


def frames_of(path: Path) -> int:
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        count += 1
    return count


@pytest.mark.parametrize("ending", [".mp4", ".avi", ".mkv"])
def test_a_cameras_video_is_in_real_time(tmp_path: Path, ending: str):
    path = tmp_path / f"a{ending}"
    sink = VideoSink(path, fps=10.0, live=True)
    for captured_s in (100.0, 100.1, 100.5, 100.51, 101.0):
        sink.write(result(captured_s=captured_s))
    sink.close()
    assert frames_of(path) == 11
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_long_gap_is_not_made_up_for(tmp_path: Path):
    sink = VideoSink(tmp_path / "a.avi", fps=10.0, live=True)
    for captured_s in (0.0, 3600.0, 3600.1):
        sink.write(result(captured_s=captured_s))
    sink.close()
    assert frames_of(tmp_path / "a.avi") == 1 + 100 + 1


def test_a_video_for_each_source(tmp_path: Path):
    paths = {name: tmp_path / f"{name}.avi" for name in ("left", "right")}
    sinks = [OneSourceSink(VideoSink(path, fps=10.0), name) for name, path in paths.items()]
    for name in ("left", "left", "right"):
        for sink in sinks:
            sink.write(result(source=name))
    for sink in sinks:
        sink.close()
    assert [frames_of(path) for path in paths.values()] == [2, 1]


def test_without_frames_there_is_no_video(tmp_path: Path):
    sink = VideoSink(tmp_path / "a.mp4", fps=10.0)
    sink.close()
    sink.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [".mp4", ".avi"])
def test_a_disk_that_fills_up_ends_the_video_and_is_told(small_disk: Path, ending: str):
    notes: list[str] = []
    path = small_disk / f"a{ending}"
    sink = VideoSink(path, fps=10.0, on_note=notes.append)
    rng = np.random.default_rng(0)
    for index in range(400):
        noisy = result(index)
        noisy.frame.bgr[:] = rng.integers(0, 256, noisy.frame.bgr.shape)
        sink.write(noisy)
    with pytest.raises(SinkError, match=r"a\.(mp4|avi): "):
        sink.close()
    sink.close()  # again, and silent
    assert 0 < frames_of(path) < 400 or ending == ".avi"
    assert len(notes) == (ending == ".mp4")
    assert all("No space left" in note for note in notes)


@pytest.mark.parametrize("ending", [".mp4", ".avi", ".mkv"])
def test_a_disk_that_is_nearly_full_is_no_error(small_disk: Path, ending: str):
    sink = VideoSink(small_disk / f"a{ending}", fps=10.0)
    for index in range(5):
        sink.write(result(index))
    sink.close()
    assert frames_of(small_disk / f"a{ending}") == 5
