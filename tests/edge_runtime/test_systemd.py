"""Signs of life on a real socket, as systemd listens to it."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_runtime.classifier import Classifier
from edge_runtime.pipeline import run
from edge_runtime.sources import open_source
from edge_runtime.systemd import Heartbeat, Notifier


class Manager:
    """The service manager's end of the socket, read as it comes: it holds ten messages only."""

    def __init__(self, address: str) -> None:
        self.messages: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(0.05)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                self.messages.append(self._socket.recv(4096).decode())

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    listening = Manager(str(tmp_path / "notify"))
    yield listening
    listening.close()


def test_a_run_says_that_it_is_ready_alive_and_stopping(
    colour_bundle: Path, colour_video: Path, tmp_path: Path, manager: Manager
):
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    arguments = ["run", str(colour_bundle), "--source", str(colour_video), "--realtime"]
    done = subprocess.run(
        [sys.executable, "-m", "edgeproof", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    time.sleep(0.2)
    messages = manager.messages
    assert messages[0].startswith("READY=1\nSTATUS=colours on ")
    assert messages[-1] == "STOPPING=1"
    assert messages.count("WATCHDOG=1") >= 4  # three seconds of video, a sign each 0.1 s


def test_a_hung_engine_gets_no_signs_of_life(
    colour_bundle: Path, colour_video: Path, tmp_path: Path, manager: Manager
):
    classifier = Classifier(colour_bundle, threads=1)
    ask, stop, hang = classifier.probabilities, threading.Event(), threading.Event()

    def probabilities(batch):
        if hang.is_set():
            stop.wait(30)
        return ask(batch)

    classifier.probabilities = probabilities
    notifier = Notifier(str(tmp_path / "notify"), watchdog_s=0.4)
    source = open_source(f"replay:{colour_video}")
    looping = threading.Thread(
        target=run,
        args=(classifier, source),
        kwargs={"stop": stop, "heartbeat": Heartbeat(notifier)},
    )
    looping.start()
    time.sleep(1.0)
    alive = list(manager.messages)
    hang.set()
    time.sleep(1.0)  # the frame in the engine counts as alive for half the watchdog's time
    until_then = len(manager.messages)
    time.sleep(0.8)
    dead = manager.messages[until_then:]
    stop.set()
    looping.join()
    notifier.close()
    assert alive.count("WATCHDOG=1") >= 3
    assert dead == []


def test_a_camera_without_frames_is_no_hung_engine(
    colour_bundle: Path, tmp_path: Path, manager: Manager
):
    class Silent:
        name, live, fps, frame_count, granted, dropped = "silent", True, None, None, "", 0

        def __init__(self) -> None:
            self.skipped, self.closed = [], threading.Event()
            self.on_event = lambda event: None

        def read(self):
            self.closed.wait(30)

        def close(self) -> None:
            self.closed.set()

    notifier, stop = Notifier(str(tmp_path / "notify"), watchdog_s=0.4), threading.Event()
    threading.Timer(1.5, stop.set).start()
    classifier = Classifier(colour_bundle, threads=1)
    summary = run(classifier, Silent(), stop=stop, heartbeat=Heartbeat(notifier))
    notifier.close()
    assert summary.frames == 0
    assert not summary.hung  # closing the source ended its read
    time.sleep(0.2)
    assert manager.messages.count("WATCHDOG=1") >= 3


def test_an_abstract_socket():
    name = f"edgeproof-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        listening.settimeout(10)
        notifier = Notifier.from_environment({"NOTIFY_SOCKET": f"@{name}"})
        assert notifier is not None and notifier.watchdog_s is None
        notifier.send("READY=1")
        assert listening.recv(100) == b"READY=1"
        notifier.close()


@pytest.mark.parametrize(
    ("environment", "watchdog_s"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),  # meant for another process
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_when_signs_of_life_are_wanted(environment: dict[str, str], watchdog_s: float | None):
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": "/nowhere", **environment})
    assert notifier is not None
    assert notifier.watchdog_s == watchdog_s
    notifier.send("WATCHDOG=1")  # nobody listens: no reason to end
    notifier.close()


@pytest.mark.parametrize("address", ["", "relative/path", "vsock:2:1234"])
def test_no_manager_that_we_know(address: str):
    assert Notifier.from_environment({"NOTIFY_SOCKET": address}) is None
