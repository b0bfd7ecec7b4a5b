"""Waking a thread that waits in FFmpeg for the network: its connection is shut under it.

OpenCV has no call for that, and until the read's own timeout the thread cannot be ended.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

_DESCRIPTORS = Path("/proc/self/fd")


def connections(port: int) -> set[tuple[int, str]]:
    """This process' connections to a port: descriptor and identity; empty elsewhere than Linux."""
    try:
        descriptors = [int(name) for name in os.listdir(_DESCRIPTORS)]  # noqa: PTH208
    except OSError:
        return set()
    found = {(fd, _identity(fd)) for fd in descriptors}
    return {(fd, who) for fd, who in found if who.startswith("socket:") and _peer(fd) == port}


def shut(connection: tuple[int, str]) -> None:
    """End a connection, if it still is the same; who reads it is told of its end at once."""
    fd, identity = connection
    if _identity(fd) == identity:
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as ours:
            ours.shutdown(socket.SHUT_RDWR)


def _identity(fd: int) -> str:
    try:
        return str((_DESCRIPTORS / str(fd)).readlink())
    except OSError:
        return ""


def _peer(fd: int) -> int | None:
    try:
        with socket.socket(fileno=os.dup(fd)) as ours:
            name = ours.getpeername()
    except OSError:
        return None
    return name[1] if isinstance(name, tuple) else None
