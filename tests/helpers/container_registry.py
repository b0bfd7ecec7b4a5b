"""Debian's docker-registry on loopback."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROGRAM = shutil.which("docker-registry")


@contextmanager
def running(folder: Path, auth: str = "") -> Iterator[str]:
    """Its HOST:PORT; skips where it is absent.

    Args:
        auth: YAML of its configuration, how it wants to be logged in to.
    """
    if not PROGRAM:
        pytest.skip("docker-registry is absent (apt install docker-registry)")
    config, log = folder / "config.yml", folder / "log"
    for _ in range(5):
        port = _free_port()
        config.write_text(
            f"version: 0.1\nlog: {{level: info}}\n"
            f"storage: {{filesystem: {{rootdirectory: {folder}}}}}\n"
            f"http: {{addr: 127.0.0.1:{port}}}\n{auth}"
        )
        with log.open("wb") as out:
            process = subprocess.Popen([PROGRAM, "serve", config], stdout=out, stderr=out)
        try:
            if _listens(process, log):
                yield f"127.0.0.1:{port}"
                return
        finally:
            process.terminate()
            process.wait()
    raise AssertionError(log.read_text())


def _listens(process: subprocess.Popen[bytes], log: Path) -> bool:
    """By its own word: a port that answers may be another program's."""
    until = time.monotonic() + 20
    while time.monotonic() < until and process.poll() is None:
        if "listening on" in log.read_text():
            return True
        time.sleep(0.02)
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
