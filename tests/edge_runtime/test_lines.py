"""Lines on a disk that is really full: survived, counted, told; and no line is ever cut."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_runtime.errors import StorageError
from edge_runtime.sinks.lines import LineFile


def line(number: int) -> str:
    return json.dumps({"number": number, "filler": "x" * 500})


def test_a_full_disk_is_survived_counted_and_told(small_disk: Path):
    notes: list[str] = []
    path, ballast = small_disk / "answers.jsonl", small_disk / "ballast"
    ballast.write_bytes(bytes(30_000))
    lines = LineFile(path, notes.append)
    for number in range(100):
        lines.write(line(number))
    before = lines.lost
    assert 0 < before < 100
    assert len(notes) == 1 and "No space left" in notes[0]
    ballast.unlink()
    for number in range(100, 120):
        lines.write(line(number))
    assert lines.lost == before
    assert len(notes) == 2 and f"{before} lines were lost" in notes[1]
    with pytest.raises(StorageError, match=f"{before} lines were lost"):
        lines.close()
    written = [json.loads(text)["number"] for text in path.read_text().splitlines()]
    assert written == [*range(100 - before), *range(100, 120)]
    lines.close()  # again, and silent


def test_a_run_on_a_full_disk_goes_on(small_disk: Path, colour_bundle: Path, colour_video: Path):
    jsonl = small_disk / "answers.jsonl"
    (small_disk / "ballast").write_bytes(bytes(60_000))
    arguments = ["run", colour_bundle, "--source", colour_video, "--jsonl", jsonl]
    done = subprocess.run(
        [sys.executable, "-m", "edgeproof", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "30 frames in" in done.stdout
    assert done.returncode == 1
    assert "lines are lost" in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("edgeproof: ") and "lines were lost" in last
    assert "Traceback" not in done.stderr
    for text in jsonl.read_text().splitlines():
        json.loads(text)


def test_a_disk_that_was_never_full_says_nothing(tmp_path: Path):
    lines = LineFile(tmp_path / "a" / "b.jsonl", pytest.fail)
    lines.write("one")
    lines.close()
    assert (tmp_path / "a" / "b.jsonl").read_text() == "one\n"
    with pytest.raises(StorageError, match="closed"):
        lines.write("two")


def test_a_pipe_takes_lines_too(tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    lines = LineFile(pipe, pytest.fail)
    lines.write("hello")
    lines.close()
    assert os.read(reader, 100) == b"hello\n"
    os.close(reader)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("one\ntwo\n", "one\ntwo\nmore\n", id="whole"),
        pytest.param('one\n{"tw', "one\nmore\n", id="cut-off"),
        pytest.param('{"tw', "more\n", id="no-whole-line"),
        pytest.param("one\na note", "one\na note\nmore\n", id="other-text"),
        pytest.param("", "more\n", id="empty"),
        pytest.param("one\n{" + "x" * 9000, "one\nmore\n", id="long-half-line"),
        pytest.param(None, "more\n", id="no-file"),
    ],
)
def test_going_on_after_what_is_there(tmp_path: Path, before: str | None, after: str):
    path = tmp_path / "answers.jsonl"
    if before is not None:
        path.write_text(before)
    lines = LineFile(path, pytest.fail, append=True)
    lines.write("more")
    lines.close()
    assert path.read_text() == after
