"""The status file: whole at every moment, and honest about what runs."""

import json
import os
import threading
from pathlib import Path

import pytest

from edge_runtime import Classifier, open_source, run
from edge_runtime.errors import SinkError, StorageError
from edge_runtime.sinks.status import StatusSink

WHAT = {"bundle": "colours", "variant": "tflite-float32", "engine": "litert"}


def test_it_says_how_the_run_did(colour_bundle: Path, colour_video: Path, tmp_path: Path):
    file = tmp_path / "state" / "status.json"
    sink = StatusSink(file, what_runs=WHAT, live=False)
    begun = json.loads(file.read_text())
    assert (begun["frames"], begun["pid"], begun["ended"]) == (0, os.getpid(), False)
    run(Classifier(colour_bundle), open_source(colour_video), [sink])
    told = json.loads(file.read_text())
    assert told["frames"] == told["answered"] == 30
    assert told["ended"] is True
    assert [answer["label"] for answer in told["answers"]] == ["blue"] * 5
    assert all(0.9 < answer["score"] <= 1 for answer in told["answers"])
    assert told["fps"] > 0
    assert told["age_ms"] > 0
    assert told["variant"] == "tflite-float32"
    assert list(file.parent.iterdir()) == [file]


def test_a_reader_never_sees_half_of_it(
    colour_bundle: Path, colour_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("edge_runtime.sinks.status._EVERY_S", 0.0)
    file = tmp_path / "status.json"
    sink = StatusSink(file, what_runs=WHAT, live=False)
    read, stop = [], threading.Event()

    def look() -> None:
        while not stop.is_set():
            read.append(json.loads(file.read_text())["frames"])

    thread = threading.Thread(target=look)
    thread.start()
    run(Classifier(colour_bundle), open_source(colour_video), [sink])
    stop.set()
    thread.join()
    assert read == sorted(read)
    assert read


def test_a_disk_that_goes_away_is_said_once(
    colour_bundle: Path, colour_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("edge_runtime.sinks.status._EVERY_S", 0.0)
    notes: list[str] = []
    folder = tmp_path / "gone"
    sink = StatusSink(folder / "status.json", what_runs=WHAT, live=False, on_note=notes.append)
    (folder / "status.json").unlink()
    folder.rmdir()
    summary = run(Classifier(colour_bundle), open_source(colour_video), [sink])
    assert summary.frames == 30
    assert len(notes) == 1
    assert "No such file or directory; the status grows old" in notes[0]


def test_a_place_that_cannot_be(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="a part of that path is a file, not a folder"):
        StatusSink(tmp_path / "file" / "status.json", what_runs=WHAT, live=False)


def test_what_is_no_regular_file_is_refused_and_stays(tmp_path: Path):
    target = tmp_path / "mine.txt"
    target.write_text("mine")
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "dangling", "folder", "pipe"):
        before = (tmp_path / name).lstat()
        with pytest.raises(SinkError, match=f"{name}: is there and is no regular file"):
            StatusSink(tmp_path / name, what_runs=WHAT, live=False)
        assert (tmp_path / name).lstat().st_ino == before.st_ino
    with pytest.raises(SinkError, match="/dev/full: is there and is no regular file"):
        StatusSink(Path("/dev/full"), what_runs=WHAT, live=False)
    assert target.read_text() == "mine" and not (tmp_path / "nowhere").exists()
