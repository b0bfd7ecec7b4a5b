"""Cameras that fail, with real parts: OpenCV's own V4L2 and FFmpeg, GStreamer's RTSP server, HTTP.

Each source runs in a process of its own and prints what it sees; the test unplugs, kills and
freezes its camera meanwhile.
"""

from __future__ import annotations

import http.server
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

CAMERAS = Path(__file__).parents[1] / "cameras"
SYSTEM_PYTHON = "/usr/bin/python3"
SECRET = "hunter2"

pytestmark = pytest.mark.end_to_end


class Watch:
    """A process that reads a source, and what it has printed so far."""

    def __init__(self, spec: str, options: dict[str, Any], environment: dict[str, str]) -> None:
        self.said: list[dict[str, Any]] = []
        self.errors_file = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, str(CAMERAS / "watch.py"), spec, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors_file,
            text=True,
            env={**os.environ, "PYTHONPATH": str(CAMERAS.parents[1]), **environment},
        )
        threading.Thread(target=self._pump, daemon=True).start()

    def _pump(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def until(self, wanted: Callable[[dict[str, Any]], bool], *, within_s: float) -> dict[str, Any]:
        """The next thing said that is wanted."""
        deadline = time.monotonic() + within_s
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                line = self._lines.get(timeout=left_s)
            except queue.Empty:
                break
            assert line is not None, f"ended: {self.said[-9:]} {self.errors()}"
            self.said.append(json.loads(line))
            if wanted(self.said[-1]):
                return self.said[-1]
        raise AssertionError(f"not within {within_s} s; last: {self.said[-9:]}")

    def event(self, kind: str, *, within_s: float = 10.0) -> dict[str, Any]:
        return self.until(lambda said: said.get("event") == kind, within_s=within_s)

    def frames(self, count: int, condition: str = "ok", *, within_s: float = 10.0) -> None:
        """Wait for so many frames of that condition."""
        for _ in range(count):
            self.until(lambda said: said.get("condition") == condition, within_s=within_s)

    def close(self) -> str:
        """End it as a program does; returns what it wrote to standard error."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.close()
        while (line := self._lines.get(timeout=20)) is not None:
            self.said.append(json.loads(line))
        assert self.process.wait(timeout=20) == 0, self.errors()
        assert self.said[-1].get("closed"), self.said[-3:]
        return self.errors()

    def errors(self) -> str:
        self.errors_file.seek(0)
        return self.errors_file.read()

    def kinds(self) -> list[str]:
        return [said["event"] for said in self.said if "event" in said]


@pytest.fixture
def watch() -> Iterator[Callable[..., Watch]]:
    """Starts `Watch`es, and ends those that the test has not."""
    started: list[Watch] = []

    def start(spec: str, environment: dict[str, str] | None = None, **options: Any) -> Watch:
        started.append(Watch(spec, options, environment or {}))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
        each.process.wait(timeout=10)
        each.errors_file.close()


# --- V4L2: OpenCV's real backend on a preloaded stand-in for the kernel's driver ---


class PluggedCamera:
    """The stand-in's switches: files in a folder."""

    def __init__(self, folder: Path, library: Path) -> None:
        self.folder = folder
        self.environment = {"FAKE_V4L2_STATE": str(folder), "LD_PRELOAD": str(library)}

    def set(self, name: str, on: bool = True) -> None:
        (self.folder / name).touch() if on else (self.folder / name).unlink()


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    gcc = shutil.which("gcc")
    if not gcc or sys.platform != "linux":
        pytest.skip("no gcc to build the stand-in for a V4L2 camera")
    library = tmp_path_factory.mktemp("stand_in") / "fake_v4l2.so"
    source = CAMERAS / "fake_v4l2.c"
    subprocess.run([gcc, "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture
def plugged(stand_in: Path, tmp_path: Path) -> PluggedCamera:
    folder = tmp_path / "state"
    folder.mkdir()
    return PluggedCamera(folder, stand_in)


def test_a_usb_camera_unplugged_and_plugged_in_again(watch, plugged: PluggedCamera):
    seen = watch("0", plugged.environment, width=640, height=480, fps=30, reopen_first_s=0.2)
    seen.frames(10)
    assert seen.said[0]["name"] == "camera 0"
    assert seen.kinds() == ["opened"]
    plugged.set("unplugged")
    seen.event("lost")
    seen.event("reopening")
    seen.until(lambda said: "there is no /dev/video0" in said.get("detail", ""), within_s=5)
    time.sleep(0.5)
    plugged.set("unplugged", False)
    seen.event("reopened")
    seen.frames(10)
    indices = [said["frame"] for said in seen.said if "frame" in said]
    assert indices == sorted(set(indices))  # counted on, never twice
    assert seen.close() == ""


def test_what_a_camera_grants_is_said_where_it_differs(watch, plugged: PluggedCamera):
    seen = watch("/dev/video0", plugged.environment, width=1920, height=1080, fps=60)
    seen.frames(3)
    granted = seen.said[0]["granted"]
    assert granted == "1280x720 at 30 fps as YUYV; asked for 1920x1080 at 60 fps as MJPG"
    assert seen.said[-1]["shape"] == [720, 1280, 3]


def test_mjpg_is_asked_for_and_decoded(watch, plugged: PluggedCamera, tmp_path: Path):
    picture = np.full((720, 1280, 3), 90, np.uint8)
    picture[:, :640] = 200
    cv2.imwrite(str(tmp_path / "picture.jpg"), picture)
    environment = {**plugged.environment, "FAKE_V4L2_JPEG": str(tmp_path / "picture.jpg")}
    seen = watch("0", environment, width=1280, height=720, fps=15, frozen_s=0.5)
    seen.frames(3)
    assert seen.said[0]["granted"] == "1280x720 at 15 fps as MJPG"
    assert seen.said[0]["fps"] == 15
    assert seen.said[-1]["mean"] == pytest.approx(145, abs=1)
    seen.frames(2, "frozen")  # it only has the one picture


def test_a_jpeg_without_its_end_is_no_frame(watch, plugged: PluggedCamera, tmp_path: Path):
    jpeg = cv2.imencode(".jpg", np.full((720, 1280, 3), 90, np.uint8))[1].tobytes()
    (tmp_path / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    environment = {**plugged.environment, "FAKE_V4L2_JPEG": str(tmp_path / "cut.jpg")}
    seen = watch("0", environment, width=1280, height=720)
    assert "30 pictures in a row did not decode" in seen.event("lost")["detail"]
    assert all("condition" not in said for said in seen.said)


def test_a_black_a_frozen_and_a_stale_picture_are_named(watch, plugged: PluggedCamera):
    seen = watch(
        "0", plugged.environment, width=320, height=240, fps=30, frozen_s=0.4, stale_s=0.4,
        stall_s=0.5,
    )  # fmt: skip
    seen.frames(20)
    for condition in ("black", "frozen"):
        plugged.set(condition)
        seen.event(condition)
        seen.frames(5, condition)
        plugged.set(condition, False)
        seen.event("recovered")
        seen.frames(5)
    # The driver's own stamps tell that what comes after a hang was taken before it.
    plugged.set("stalled")
    seen.event("stalled")
    time.sleep(0.3)
    plugged.set("stalled", False)
    seen.event("stale")
    seen.event("recovered")
    seen.frames(5)
    assert all(said["age_s"] < 0.7 for said in seen.said if said.get("condition") == "ok")


def test_a_camera_by_its_lasting_name(watch, plugged: PluggedCamera, tmp_path: Path):
    link = tmp_path / "usb-Fake_UVC_camera-video-index0"
    link.symlink_to("/dev/video0")
    seen = watch(str(link), plugged.environment, width=320, height=240)
    seen.frames(3)
    assert seen.said[0]["name"] == str(link)


def test_without_reopening_an_unplugged_camera_is_an_error(watch, plugged: PluggedCamera):
    seen = watch("0", plugged.environment, reopen=False)
    seen.frames(3)
    plugged.set("unplugged")
    said = seen.until(lambda said: "error" in said, within_s=5)
    assert "camera 0: stopped delivering after" in said["error"]


def test_a_camera_that_is_not_there_at_first_is_an_error(watch, plugged: PluggedCamera):
    plugged.set("unplugged")
    seen = watch("0", plugged.environment)
    assert "does not open" in seen.until(lambda said: "error" in said, within_s=10)["error"]


# --- RTSP: GStreamer's server on loopback, with a login ---


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class RtspServer:
    """An RTSP camera in a process of its own; can be killed, started again, frozen and thawed."""

    def __init__(self) -> None:
        self.port = free_port()
        self.start()

    @property
    def url(self) -> str:
        return f"rtsp://me:{SECRET}@127.0.0.1:{self.port}/cam"

    def start(self) -> None:
        program = [SYSTEM_PYTHON, CAMERAS / "rtsp_server.py", str(self.port)]
        self.process = subprocess.Popen(
            [*program, "--fps", "20", "--user", f"me:{SECRET}"],
            stdout=subprocess.PIPE,
            text=True,
            # The system's Python must not find the packages of ours.
            env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
        )
        assert self.process.stdout
        assert self.process.stdout.readline() == "serving\n"

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=10)


@pytest.fixture
def rtsp() -> Iterator[RtspServer]:
    probe = (
        "import gi; gi.require_version('GstRtspServer', '1.0')\n"
        "from gi.repository import Gst, GstRtspServer; Gst.init(None)\n"
        "assert Gst.ElementFactory.find('x264enc')"
    )
    try:
        found = subprocess.run([SYSTEM_PYTHON, "-c", probe], capture_output=True, check=False)
    except OSError:
        pytest.skip("no system Python for GStreamer's RTSP server")
    if found.returncode:
        pytest.skip("GStreamer's RTSP server is not installed (see .ci/run)")
    server = RtspServer()
    yield server
    server.kill()


def assert_never_told(seen: Watch, errors: str) -> None:
    assert SECRET not in errors
    assert SECRET not in json.dumps(seen.said)


def test_an_rtsp_camera_killed_and_restarted(watch, rtsp: RtspServer):
    seen = watch(rtsp.url, timeout_s=3, reopen_first_s=0.3, reopen_max_s=0.6)
    seen.frames(20)
    assert seen.said[0]["name"] == f"rtsp://127.0.0.1:{rtsp.port}"
    assert seen.said[0]["granted"] == "480x240 at 20 fps"
    rtsp.kill()
    seen.event("lost", within_s=5)
    seen.until(lambda said: "nothing listens" in said.get("detail", ""), within_s=5)
    rtsp.start()
    seen.event("reopened", within_s=10)
    seen.frames(20)
    assert seen.kinds()[:3] == ["opened", "lost", "reopening"]
    # By the clock in the picture itself: nothing old was given as news.
    ages_s = [said["clock_age_s"] for said in seen.said if said.get("condition") == "ok"]
    assert max(ages_s) < 1.4
    assert_never_told(seen, seen.close())


def test_an_rtsp_camera_frozen_and_thawed(watch, rtsp: RtspServer):
    seen = watch(rtsp.url, timeout_s=4, stall_s=0.8, stale_s=0.5)
    seen.frames(20)
    rtsp.signal(signal.SIGSTOP)
    seen.event("stalled", within_s=5)
    time.sleep(0.7)
    rtsp.signal(signal.SIGCONT)
    # What had been captured before the freeze and was sent after it.
    seen.event("stale", within_s=5)
    seen.event("recovered", within_s=5)
    seen.frames(20)
    assert "lost" not in seen.kinds()
    ages_s = [said["clock_age_s"] for said in seen.said if said.get("condition") == "ok"]
    assert max(ages_s) < 1.4
    assert_never_told(seen, seen.close())


def test_an_rtsp_camera_frozen_for_longer_than_the_timeout(watch, rtsp: RtspServer):
    seen = watch(rtsp.url, timeout_s=1.5, stall_s=0.5, stale_s=0.5, reopen_first_s=0.2)
    seen.frames(10)
    rtsp.signal(signal.SIGSTOP)
    seen.event("stalled", within_s=5)
    seen.event("lost", within_s=5)
    rtsp.signal(signal.SIGCONT)
    seen.event("reopened", within_s=10)
    seen.frames(10)
    ages_s = [said["clock_age_s"] for said in seen.said if said.get("condition") == "ok"]
    assert max(ages_s) < 1.4


def test_a_run_goes_on_when_its_rtsp_camera_is_restarted(
    rtsp: RtspServer, colour_bundle: Path, tmp_path: Path
):
    answers = tmp_path / "answers.jsonl"
    program = [sys.executable, "-m", "edgeproof", "run", str(colour_bundle)]
    run = subprocess.Popen(
        [*program, "--source", rtsp.url, "--jsonl", str(answers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def wait_for_answers(count: int) -> int:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and run.poll() is None:
            lines = answers.read_text().count("\n") if answers.exists() else 0
            if lines >= count:
                return lines
            time.sleep(0.05)
        run.kill()
        raise AssertionError(f"{lines} answers: {run.communicate()[0]}")

    wait_for_answers(10)
    rtsp.kill()
    time.sleep(0.5)
    before = wait_for_answers(10)
    rtsp.start()
    wait_for_answers(before + 10)
    run.send_signal(signal.SIGINT)
    out, _ = run.communicate(timeout=20)
    assert run.returncode == 130, out
    assert SECRET not in out + answers.read_text()


def test_closing_does_not_wait_for_a_frozen_camera(watch, rtsp: RtspServer):
    seen = watch(rtsp.url, timeout_s=9, stall_s=0.5)
    seen.frames(3)
    rtsp.signal(signal.SIGSTOP)
    seen.event("stalled", within_s=6)
    begun = time.monotonic()
    seen.close()  # and the process ends with 0, though a thread was waiting in FFmpeg
    assert time.monotonic() - begun < 8.5


def test_a_wrong_password_is_told_without_it(watch, rtsp: RtspServer):
    seen = watch(rtsp.url.replace(SECRET, f"{SECRET}x"), timeout_s=3)
    said = seen.until(lambda said: "error" in said, within_s=10)
    assert "check path, user name and password" in said["error"]
    assert seen.process.wait(timeout=10) == 0
    assert_never_told(seen, seen.errors())


# --- MJPEG over HTTP ---


class Mjpeg(http.server.BaseHTTPRequestHandler):
    """Ten pictures a second, every third without its end, until the server stops."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
        self.end_headers()
        rng, sent = np.random.default_rng(0), 0
        try:
            while not self.server.stopping.is_set():  # type: ignore[attr-defined]
                picture = rng.integers(90, 160, (120, 160, 3), dtype=np.uint8)
                data = cv2.imencode(".jpg", picture)[1].tobytes()
                sent += 1
                if sent % 3 == 0:  # as cameras do whose memory is short
                    data = data[: len(data) // 2]
                head = (
                    f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                )
                self.wfile.write(head.encode() + data + b"\r\n")
                time.sleep(0.1)
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing on the terminal."""


def serve_mjpeg(port: int) -> http.server.ThreadingHTTPServer:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Mjpeg)
    server.daemon_threads = True
    server.stopping = threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def stop(server: http.server.ThreadingHTTPServer) -> None:
    server.stopping.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


def test_mjpeg_over_http_lost_and_found(watch):
    port = free_port()
    server = serve_mjpeg(port)
    seen = watch(
        f"http://me:{SECRET}@127.0.0.1:{port}/video?password={SECRET}",
        timeout_s=3, reopen_first_s=0.2, reopen_max_s=0.5,
    )  # fmt: skip
    seen.frames(5)
    assert seen.said[0]["name"] == f"http://127.0.0.1:{port}"
    assert seen.said[-1]["shape"] == [120, 160, 3]
    indices = [said["index"] for said in seen.said if "index" in said]
    assert not any(index % 3 == 2 for index in indices), "a broken JPEG was shown as a picture"
    stop(server)
    seen.event("lost", within_s=8)
    server = serve_mjpeg(port)
    seen.event("reopened", within_s=8)
    seen.frames(3)
    assert_never_told(seen, seen.close())
    stop(server)
