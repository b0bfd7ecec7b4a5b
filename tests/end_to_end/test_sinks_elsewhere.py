"""`edgeproof run` with a broker and a receiver on loopback, as a user starts it."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("paho.mqtt.client")
from mqtt_broker import MOSQUITTO, Listener, Mosquitto

from edge_runtime.images import decode_image
from edge_runtime.sinks.webhook import is_signed

pytestmark = pytest.mark.end_to_end


def edgeproof(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgeproof", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed (apt-get install mosquitto)")
    started = Mosquitto(tmp_path)
    yield started
    started.stop()


@pytest.fixture
def receiver() -> Iterator[tuple[int, list[tuple[bytes, str]], threading.Event]]:
    """Port, calls as body and signature, and an event that makes it hang while it is set."""
    calls: list[tuple[bytes, str]] = []
    hang = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            calls.append((body, self.headers["Edgeproof-Signature"]))
            while hang.is_set():
                time.sleep(0.05)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server.server_port, calls, hang
    hang.clear()
    server.shutdown()
    server.server_close()


def test_a_videos_changes_reach_a_broker_and_a_receiver(
    broker: Mosquitto,
    receiver: tuple[int, list[tuple[bytes, str]], threading.Event],
    colour_bundle: Path,
    colour_video: Path,
):
    port, calls, _ = receiver
    ear = Listener(broker.port)
    try:
        mqtt = ("--mqtt", f"mqtt://127.0.0.1:{broker.port}", "--mqtt-topic", "line/3")
        webhook = ("--webhook", f"http://127.0.0.1:{port}/x?key=hidden", "--webhook-snapshot")
        done = edgeproof(
            *("run", colour_bundle, "--source", colour_video, *mqtt, *webhook),
            EDGEPROOF_WEBHOOK_SECRET="s3cret",
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        ear.wait(lambda e: e.last("line/3/availability") == b"offline")
        colours = ["red", "green", "blue"]
        assert [e["event_type"] for e in ear.events()] == colours
        assert json.loads(ear.last("homeassistant/device/line_3/config"))["components"]
    finally:
        ear.close()
    assert [json.loads(body)["label"] for body, _ in calls] == colours
    assert all(is_signed("s3cret", body, signature) for body, signature in calls)
    assert all(json.loads(body)["snapshot"]["data"] for body, _ in calls)


def test_with_both_hanging_a_stop_is_heard_and_what_is_lost_is_said(
    broker: Mosquitto,
    receiver: tuple[int, list[tuple[bytes, str]], threading.Event],
    colour_bundle: Path,
    colour_video: Path,
):
    port, calls, hang = receiver
    hang.set()
    broker.freeze()
    arguments = (
        f"run {colour_bundle} --source {colour_video} --realtime "
        f"--mqtt mqtt://127.0.0.1:{broker.port} --webhook http://127.0.0.1:{port}/"
    )
    child = subprocess.Popen(
        [sys.executable, "-m", "edgeproof", *arguments.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not calls:
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate(timeout=20)
    assert child.returncode == 130, err
    assert "frames in" in out
    assert "mqtt: " in err and "webhook: 1 message not delivered" in err
    assert "Traceback" not in err


def test_bad_input_is_one_line(colour_bundle: Path, colour_folder: Path):
    run = ("run", colour_bundle, "--source", colour_folder)
    done = edgeproof(*run, "--mqtt", "mqtt://me:pw@h")
    assert done.returncode == 1
    assert done.stderr.startswith("edgeproof: --mqtt: an address with a password is seen")
    assert done.stderr.count("\n") == 1 and ":pw" not in done.stderr


def test_no_face_is_kept_or_sent_by_whatever_way(
    receiver: tuple[int, list[tuple[bytes, str]], threading.Event],
    colour_bundle: Path,
    tmp_path: Path,
):
    pytest.importorskip("onnx")
    from red_faces import write_red_face_detector

    port, calls, _ = receiver
    picture = np.full((240, 320, 3), 90, np.uint8)
    picture[80:144, 96:160] = (10, 10, 250)
    picture[80:144:2, 96:160] = (10, 10, 150)  # stripes, 100 levels apart
    (tmp_path / "people").mkdir()
    cv2.imwrite(str(tmp_path / "people" / "a.png"), picture)
    run = (
        *("run", colour_bundle, "--source", tmp_path / "people"),
        *("--keep-hard", tmp_path / "hard", "--hard-margin", "1"),
        *("--video", tmp_path / "out.avi"),
        *("--webhook", f"http://127.0.0.1:{port}/", "--webhook-snapshot"),
        "--blur-faces",
    )
    refused = edgeproof(*run, tmp_path / "absent.onnx")
    assert refused.returncode == 1 and "absent.onnx: no such file" in refused.stderr
    assert calls == []
    assert {p.name for p in tmp_path.iterdir()} == {"people", colour_bundle.name}
    done = edgeproof(*run, write_red_face_detector(tmp_path / "red.onnx"))
    assert done.returncode == 0, done.stderr
    (kept,) = (tmp_path / "hard").rglob("*.png")
    sent = base64.b64decode(json.loads(calls[0][0])["snapshot"]["data"])
    (tmp_path / "sent.jpg").write_bytes(sent)
    video = cv2.VideoCapture(str(tmp_path / "out.avi"))
    shown = [decode_image(kept), decode_image(tmp_path / "sent.jpg"), video.read()[1]]
    video.release()
    for seen in shown:
        stripes = np.abs(np.diff(seen[84:140, 100:156, 2].astype(int), axis=0))
        assert stripes.mean() < 25


def test_hard_frames_of_a_run_encrypted_and_opened_again(
    colour_bundle: Path, colour_video: Path, tmp_path: Path
):
    pyrage = pytest.importorskip("pyrage")
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "key.txt").write_text(str(identity))
    (tmp_path / "public.txt").write_text(str(identity.to_public()))
    hard, out = tmp_path / "hard", tmp_path / "open"
    run = ("run", colour_bundle, "--source", colour_video, "--keep-hard", hard)
    done = edgeproof(*run, "--hard-margin", "1", "--encrypt-to", tmp_path / "public.txt")
    assert done.returncode == 0 and "hard frames: 1 kept" in done.stderr
    done = edgeproof("unseal", hard, "--key", tmp_path / "key.txt", "--out", out)
    assert (done.returncode, done.stdout) == (0, f"1 picture decrypted: {out}\n")
    assert len(list(out.rglob("*.png"))) == 1
