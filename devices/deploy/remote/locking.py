"""Who may change things on the device: one at a time, and never a deploy that is dead."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from devices.deploy.remote.place import Place, StepError, disk_errors, read_json

# A connection that says nothing for so long is dead: its computer was closed, or its net is gone.
SILENCE_S = 30.0
# How long a step waits for another that a dead deploy left running.
STEP_WAIT_S = 15.0
# Bytes of the lock's file, whatever stands in it.
_ROOM = 1024


def hold(place: Place, params: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> None:
    """Hold the lock for as long as the other side gives signs of life on standard input.

    The kernel gives the lock up with the process that holds it: none is ever left behind.

    Raises:
        StepError: when another deploy holds it, or there has been none that makes the place.
    """
    if not params["first"] and not place.root.is_dir():
        raise StepError("holds no release; edgeproof deploy puts one there")
    with disk_errors(place.root):
        place.make()
        file = _open(place.lock)
    if not _lock(file):
        raise StepError(_whose(place))
    token = os.urandom(16).hex()
    who = {"token": token, "who": str(params["who"])[:200], "since": round(time.time())}
    with disk_errors(place.root):
        _write(file, json.dumps(who))
    tell({"token": token})
    stdin = sys.stdin.buffer
    while select.select([stdin], [], [], SILENCE_S)[0] and os.read(stdin.fileno(), 4096):
        pass
    _write(file, "")


@contextlib.contextmanager
def held(place: Place, token: str) -> Iterator[int]:
    """For the duration of one step: the lock is still this deploy's, and no other step runs.

    A step whose deploy has died may still be running; it is waited for.

    Yields:
        The open lock file. A program that inherits it keeps the lock until it ends, too, so that
        one which outlives its step is never run twice at the same time.

    Raises:
        StepError: when the lock is lost, or such a step does not end.
    """
    with disk_errors(place.root):
        step = _open(place.step_lock)
    try:
        until_s = time.monotonic() + STEP_WAIT_S
        while not _lock(step):
            if time.monotonic() > until_s:
                raise StepError(
                    "a step of a deploy whose connection was lost is still running there; "
                    "try again in a minute"
                )
            time.sleep(0.1)
        if not _is_mine(place, token):
            raise StepError("the lock was lost: the connection was silent too long; deploy again")
        yield step
    finally:
        os.close(step)


def _is_mine(place: Place, token: str) -> bool:
    file = _open(place.lock)
    try:
        return not _lock(file) and read_json(place.lock).get("token") == token
    finally:
        os.close(file)


def _whose(place: Place) -> str:
    found = read_json(place.lock)
    who, since = found.get("who", "somebody"), found.get("since")
    ago = f", for {max(0, round(time.time() - since))} s" if isinstance(since, int) else ""
    return f"another deploy is under way, by {who}{ago}; wait for it, or give --wait SECONDS"


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _write(file: int, text: str) -> None:
    """In place, and never shorter: on a full disk there is no new block, but an old one is ours.

    To remove releases takes the lock, and is the way out of a full disk.
    """
    os.pwrite(file, text.encode().ljust(_ROOM), 0)


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
