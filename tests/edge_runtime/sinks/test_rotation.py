"""Lines in files that give way to new ones, and on the disk when they were promised to be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import OptionError, StorageError
from edge_runtime.sinks import lines as lines_module
from edge_runtime.sinks.lines import LineFile
from edge_runtime.sinks.rotation import Rotation, Sync, put_aside


def numbers(path: Path) -> list[int]:
    return [json.loads(line)["n"] for line in path.read_text().splitlines()]


def write(file: LineFile, first: int, end: int, *, time_s: float = 0.0) -> None:
    for number in range(first, end):
        file.write(json.dumps({"n": number, "time": time_s, "filler": "x" * 60}))


@pytest.mark.parametrize("sync", ["never", "second", "line"])
def test_by_size_the_newest_files_stay_and_no_line_is_lost(tmp_path: Path, sync: Sync):
    path = tmp_path / "a.jsonl"
    file = LineFile(path, pytest.fail, rotate=Rotation(most_bytes=1000, keep=3), sync=sync)
    write(file, 0, 100)
    file.close()
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["a.jsonl", "a.jsonl.1", "a.jsonl.2", "a.jsonl.3"]
    assert all(p.stat().st_size <= 1000 for p in tmp_path.iterdir())
    kept = [n for name in reversed(names) for n in numbers(tmp_path / name)]
    assert kept == list(range(kept[0], 100)) and len(kept) >= 30


def test_by_time_also_over_restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, now = tmp_path / "a.jsonl", [1000.0]
    monkeypatch.setattr(lines_module.time, "time", lambda: now[0])
    hourly = Rotation.parse("1h")
    file = LineFile(path, pytest.fail, append=True, rotate=hourly)
    write(file, 0, 2, time_s=1000.0)
    file.close()
    now[0] += 1800
    file = LineFile(path, pytest.fail, append=True, rotate=hourly)
    write(file, 2, 3)
    now[0] += 1800
    write(file, 3, 4)
    now[0] -= 10_000  # a clock set back is no reason to wait three hours
    write(file, 4, 5)
    now[0] += 3600
    write(file, 5, 6)
    file.close()
    assert numbers(tmp_path / "a.jsonl.2") == [0, 1, 2]
    assert numbers(tmp_path / "a.jsonl.1") == [3, 4]
    assert numbers(path) == [5]


def test_a_first_line_that_says_no_time(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    for first in ("no json", '{"time": "noon"}', "[" * 5000, '{"other": 1}'):
        path.write_text(first + "\n")
        file = LineFile(path, pytest.fail, append=True, rotate=Rotation(most_s=60))
        write(file, 0, 1)
        file.close()
        assert not path.with_name("a.jsonl.1").exists()


def test_what_was_killed_anywhere_in_between_loses_nothing(tmp_path: Path):
    path = tmp_path / "a"
    for name in ("a", "a.1", "a.3"):  # killed after a.2 had become a.3
        (tmp_path / name).write_text(name)
    put_aside(path, 3)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        "a.1": "a",
        "a.2": "a.1",
        "a.3": "a.3",
    }
    put_aside(path, 3)
    assert (tmp_path / "a.3").read_text() == "a.1"


def test_a_folder_that_takes_no_new_files_lets_this_one_grow(tmp_path: Path):
    notes: list[str] = []
    path = tmp_path / "a.jsonl"
    blocked = tmp_path / ".a.jsonl.next"
    blocked.mkdir()
    file = LineFile(path, notes.append, rotate=Rotation(most_bytes=1000))
    write(file, 0, 50)
    assert len(notes) == 1 and "cannot be rotated" in notes[0]
    blocked.rmdir()
    write(file, 50, 51)
    file.close()
    assert numbers(tmp_path / "a.jsonl.1") == list(range(50))
    assert numbers(path) == [50]


def test_a_pipe_is_not_rotated_and_needs_no_disk(tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(OptionError, match="cannot be rotated"):
        LineFile(pipe, pytest.fail, rotate=Rotation(most_bytes=1000))
    file = LineFile(pipe, pytest.fail, sync="line")
    file.write("hello")
    file.close()
    assert os.read(reader, 100) == b"hello\n"
    os.close(reader)


def test_within_a_second_it_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    synced: list[int] = []
    monkeypatch.setattr(lines_module.os, "fsync", synced.append)
    monkeypatch.setattr(lines_module, "_SYNC_S", 0.05)
    file = LineFile(tmp_path / "a", pytest.fail, sync="second")
    synced.clear()
    write(file, 0, 200)
    deadline = time.monotonic() + 5
    while not synced:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(synced) < 100
    file.close()


def test_each_line_is_on_the_disk_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    synced: list[int] = []
    monkeypatch.setattr(lines_module.os, "fsync", synced.append)
    file = LineFile(tmp_path / "a", pytest.fail, sync="line")
    synced.clear()
    write(file, 0, 7)
    assert len(synced) == 7
    file.close()


def test_killed_while_rotating_every_line_is_whole(tmp_path: Path):
    code = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from edge_runtime.sinks.lines import LineFile\n"
        "from edge_runtime.sinks.rotation import Rotation\n"
        "f = LineFile(Path(sys.argv[1]), print, rotate=Rotation(most_bytes=2000, keep=1000))\n"
        "for n in range(10**9):\n"
        "    f.write(json.dumps({'n': n}))\n"
        "    if n == 500: print('ready', flush=True)\n"
    )
    path = tmp_path / "a.jsonl"
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout and child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    count = max((int(p.suffix[1:]) for p in tmp_path.glob("a.jsonl.*")), default=0)
    order = [tmp_path / f"a.jsonl.{n}" for n in range(count, 0, -1)]
    files = [*order, *([path] if path.exists() else [])]
    kept = [n for file in files if file.exists() for n in numbers(file)]
    assert kept == list(range(len(kept))) and len(kept) > 500


@pytest.mark.parametrize(
    ("text", "most_bytes", "most_s"),
    [
        ("10MB", 10_000_000, None),
        ("64KiB", 65536, None),
        ("1.5 mb", 1_500_000, None),
        ("90s", None, 90.0),
        ("7d", None, 604_800.0),
    ],
)
def test_sizes_and_times(text: str, most_bytes: int | None, most_s: float | None):
    rotation = Rotation.parse(text)
    assert (rotation.most_bytes, rotation.most_s) == (most_bytes, most_s)


@given(st.text(max_size=20))
def test_other_text_is_refused_in_one_line(text: str):
    try:
        rotation = Rotation.parse(text)
    except OptionError as exc:
        assert "\n" not in str(exc)
    else:
        assert (rotation.most_bytes or rotation.most_s or 0) > 0


@pytest.mark.parametrize("keep", [0, -1, 1001])
def test_how_many_can_be_kept(keep: int):
    with pytest.raises(OptionError, match="1 to 1000"):
        Rotation.parse("1h", keep)


def test_where_no_file_can_be_put_aside_nothing_half_made_stays(tmp_path: Path):
    (tmp_path / "a.jsonl.1").mkdir()
    notes: list[str] = []
    path = tmp_path / "a.jsonl"
    file = LineFile(path, notes.append, rotate=Rotation(most_bytes=1000, keep=1))
    write(file, 0, 30)
    file.close()
    assert numbers(path) == list(range(30))
    assert len(notes) == 1 and "cannot be rotated" in notes[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jsonl", "a.jsonl.1"]


@pytest.mark.parametrize("append", [False, True])
def test_a_pipe_that_nobody_reads_is_refused_at_once(tmp_path: Path, append: bool):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(StorageError, match="is a pipe that nobody reads; start its reader first"):
        LineFile(pipe, pytest.fail, append=append)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    file = LineFile(pipe, pytest.fail, append=append)
    write(file, 0, 2)
    file.close()
    assert os.read(reader, 1000).count(b"\n") == 2
    os.close(reader)
