"""Keeping native libraries' chatter off the user's terminal."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

# Standard error is the whole process's: the first body in takes it away, the last gives it back.
_lock = threading.Lock()
_bodies = 0
_kept = -1


@contextlib.contextmanager
def quiet_native_stderr() -> Iterator[None]:
    """Silence what C++ code writes to standard error in the body; bodies may overlap in threads.

    TensorFlow Lite says "INFO: Created TensorFlow Lite XNNPACK delegate" there on every load and
    has no switch for it; its errors come as exceptions as well.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _bodies, _kept
    with _lock:
        _bodies += 1
        if _bodies > 1:
            return
        try:
            _kept = os.dup(2)
        except OSError:  # no standard error at all, as in some services
            _kept = -1
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)


def _leave() -> None:
    global _bodies, _kept
    with _lock:
        _bodies -= 1
        if _bodies == 0 and _kept >= 0:
            os.dup2(_kept, 2)
            os.close(_kept)
            _kept = -1
