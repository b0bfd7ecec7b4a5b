"""`edgeproof run` under what happens to a process that runs for a year."""

import array
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import termios
import time
from pathlib import Path

import cv2
import pytest

pytestmark = pytest.mark.end_to_end


def started(bundle: Path, source: str, *arguments: str | Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "edgeproof", "run", bundle, "--source", source, *arguments]
    return subprocess.Popen(
        [str(part) for part in command],
        # Whoever started these tests with nohup has every child ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_lines(jsonl: Path, count: int) -> None:
    until = time.monotonic() + 100
    while not jsonl.exists() or jsonl.read_bytes().count(b"\n") < count:
        assert time.monotonic() < until, "no answers came"
        time.sleep(0.02)


def frames_that_play(video: Path) -> int:
    capture, count = cv2.VideoCapture(str(video)), 0
    while capture.read()[0]:
        count += 1
    return count


@pytest.fixture
def endless(colour_video: Path, tmp_path: Path) -> str:
    """A camera at 10 frames a second, for an hour."""
    script = tmp_path / "endless.toml"
    script.write_text(f'video = "{colour_video.name}"\nframes = 36000\n')
    return f"replay:{script}"


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".avi"])
def test_after_a_kill_all_lines_are_whole_and_the_video_plays(
    colour_bundle: Path, colour_video: Path, endless: str, tmp_path: Path, ending: str
):
    jsonl, video = tmp_path / "answers.jsonl", tmp_path / f"annotated{ending}"
    outputs = ["--jsonl", jsonl, "--video", video, "--no-realtime", "--fps", "10"]
    process = started(colour_bundle, endless, *outputs)
    wait_for_lines(jsonl, 600)
    killed = time.time()
    process.kill()
    process.communicate()
    records = [json.loads(line) for line in jsonl.read_text().splitlines()]
    assert [r["frame"] for r in records] == list(range(len(records)))
    assert killed - records[-1]["time"] < 1  # to the last second
    assert frames_that_play(video) > 100
    process = started(colour_bundle, str(colour_video), "--video", video)
    assert process.communicate()[1] == ""
    assert frames_that_play(video) == 30


def test_a_slow_cameras_video_plays_after_a_kill(colour_bundle: Path, endless: str, tmp_path: Path):
    """A still scene of a few frames a second: FFmpeg would hold half a minute of it back."""
    jsonl, video = tmp_path / "answers.jsonl", tmp_path / "annotated.mp4"
    process = started(colour_bundle, endless, "--jsonl", jsonl, "--video", video)
    wait_for_lines(jsonl, 40)
    process.kill()
    process.communicate()
    assert frames_that_play(video) >= 24  # at most a fragment of twelve is missing


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_is_answered_within_a_second_with_all_flushed(
    colour_bundle: Path, endless: str, tmp_path: Path, stop: signal.Signals
):
    jsonl, video = tmp_path / "answers.jsonl", tmp_path / "annotated.mp4"
    process = started(colour_bundle, endless, "--jsonl", jsonl, "--video", video)
    wait_for_lines(jsonl, 10)
    asked = time.monotonic()
    process.send_signal(stop)
    out, err = process.communicate(timeout=60)
    took_s = time.monotonic() - asked
    print(f"answered after {took_s:.2f} s")
    assert process.returncode == 130, err
    records = [json.loads(line) for line in jsonl.read_text().splitlines()]
    assert f"{len(records)} frames in" in out
    # A video of a live source keeps real time: at least a picture for each answer, and it plays.
    assert frames_that_play(video) >= len(records) - 1


def test_a_stop_is_answered_while_a_camera_does_not(colour_bundle: Path):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"rtsp://127.0.0.1:{mute.getsockname()[1]}/x"
        process = started(colour_bundle, address, "--timeout", "30")
        with mute.accept()[0]:  # it has begun to connect, and hears nothing
            asked = time.monotonic()
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=60)
    assert time.monotonic() - asked < 5  # and not the thirty seconds of the timeout
    assert (process.returncode, err) == (130, "edgeproof: interrupted\n")


def test_a_long_replay_loses_nothing_and_leaks_nothing(colour_bundle: Path, tmp_path: Path):
    """The short version of benchmarks/soak.py."""
    repository = Path(__file__).parents[2]
    command = [sys.executable, repository / "benchmarks" / "soak.py", "replay"]
    done = subprocess.run(
        [*map(str, command), "--bundle", str(colour_bundle), "--frames", "20000"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": str(repository)},
    )
    assert done.returncode == 0, done.stderr
    assert "20000 of 20000 frames, nothing lost" in done.stdout


def test_a_terminal_that_somebody_stopped_holds_up_no_camera(
    colour_bundle: Path, colour_video: Path, tmp_path: Path
):
    script, jsonl = tmp_path / "fast.toml", tmp_path / "answers.jsonl"
    script.write_text(f'video = "{colour_video.name}"\nframes = 36000\nfps = 100.0\n')
    reader, writer = os.pipe()
    size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, b"." * (size - 500))  # room for the first few answers
    command = [sys.executable, "-m", "edgeproof", "run", str(colour_bundle)]
    command += ["--source", f"replay:{script}", "--jsonl", str(jsonl)]
    process = subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    wait_for_lines(jsonl, 400)  # forty answers, each a line of the terminal's
    held = array.array("i", [0])
    fcntl.ioctl(reader, termios.FIONREAD, held)
    assert held[0] > size - 100  # nothing goes into it any more
    wait_for_lines(jsonl, jsonl.read_bytes().count(b"\n") + 100)
    process.send_signal(signal.SIGTERM)
    with os.fdopen(reader, "rb") as read:
        read.read()  # the summary waits for its reader
    assert process.wait(timeout=30) == 130, process.stderr
