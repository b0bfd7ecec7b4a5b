"""A real MQTT broker on loopback, and another client of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """A broker on loopback that can be stopped, frozen and started again."""

    def __init__(self, folder: Path, lines: tuple[str, ...] = ()) -> None:
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        access = () if any("password_file" in line for line in lines) else ("allow_anonymous true",)
        # Started by root, it becomes this user, and could not read the test's files.
        user = ("user root",) if os.geteuid() == 0 else ()
        text = [f"listener {self.port} 127.0.0.1", "persistence false", *access, *user, *lines]
        self._config.write_text("\n".join(text) + "\n")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        assert MOSQUITTO
        log = self._config.with_suffix(".log").open("ab")
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", str(self._config)], stdout=log, stderr=log
        )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError(self._config.with_suffix(".log").read_text())

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGSTOP)


class Listener:
    """Another client, such as Home Assistant is, with a memory."""

    def __init__(self, port: int, **login: str) -> None:
        self.heard: list[tuple[str, bytes, bool]] = []
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="listener")
        if login:
            self.client.username_pw_set(login["user"], login["password"])
        self.client.reconnect_delay_set(0.1, 0.2)
        self.subscribed = 0
        self.client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.client.on_subscribe = self._count
        self.client.on_message = lambda c, d, m: self.heard.append((m.topic, m.payload, m.retain))
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def _count(self, *_: object) -> None:
        self.subscribed += 1

    def wait(self, wanted: Callable[[Listener], object], within_s: float = 10.0) -> None:
        deadline = time.monotonic() + within_s
        while not wanted(self):
            assert time.monotonic() < deadline, self.heard
            time.sleep(0.02)

    def last(self, topic: str) -> Any:
        found = [payload for t, payload, _ in self.heard if t.endswith(topic)]
        return found[-1] if found else None

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(p) for t, p, _ in self.heard if t.endswith("/event")]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
