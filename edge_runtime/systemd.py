"""Telling systemd that a service is ready and alive (sd_notify(3)): a few lines on a socket."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Sends states to the socket that the service manager named in `NOTIFY_SOCKET`.

    Attributes:
        watchdog_s: within how many seconds a sign of life is wanted each time; `None` for never.
    """

    def __init__(self, address: str, watchdog_s: float | None) -> None:
        # An abstract socket's name begins with a zero byte, which no variable can hold.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self.watchdog_s = watchdog_s

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Notifier | None:
        """What the service manager asked for; `None` where this process is no such service."""
        address = environment.get("NOTIFY_SOCKET", "")
        if address[:1] not in ("/", "@"):
            return None
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        try:
            watchdog_s = int(environment.get("WATCHDOG_USEC", "")) / 1e6
        except ValueError:
            watchdog_s = 0.0
        return cls(address, watchdog_s if mine and watchdog_s > 0 else None)

    def send(self, *states: str) -> None:
        """Send such as `READY=1`. A manager that does not listen is no reason to end a loop."""
        with contextlib.suppress(OSError):
            self._socket.sendto("\n".join(states).encode(), self._address)

    def close(self) -> None:
        self._socket.close()


class Heartbeat:
    """Signs of life to the service manager, for as long as no frame is stuck in an engine.

    The loop gives them itself, from the thread that writes the answers: when an engine, a sink or
    the interpreter hangs, they stop, and the service is restarted. A camera that is gone is no
    such reason: its source opens it again by itself, and a restart would not find it either.
    """

    def __init__(self, notifier: Notifier | None) -> None:
        """Without a notifier it is silent."""
        self._notifier = notifier
        watchdog_s = notifier.watchdog_s if notifier else None
        self._limit_s = watchdog_s / 2 if watchdog_s else None
        self._last_s = float("-inf")

    def ready(self, status: str) -> None:
        """The model is loaded and the sources are open."""
        if self._notifier:
            self._notifier.send("READY=1", f"STATUS={status}")

    def is_due(self) -> bool:
        """Whether it is time for a sign of life: four times as often as systemd wants one."""
        return self._limit_s is not None and time.monotonic() - self._last_s >= self._limit_s / 2

    def beat(self, longest_work_s: float) -> None:
        """Say that the loop lives, unless a frame has been worked on for too long.

        Args:
            longest_work_s: for how long the oldest unfinished frame has been worked on.
        """
        if self._notifier and self._limit_s and longest_work_s <= self._limit_s:
            self._last_s = time.monotonic()
            self._notifier.send("WATCHDOG=1")

    def stopping(self) -> None:
        """The end has begun."""
        if self._notifier:
            self._notifier.send("STOPPING=1")
