"""Keeping native libraries' chatter off the user's terminal."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_native_stderr() -> Iterator[None]:
    """Silence what C++ code writes to standard error in the body.

    TensorFlow Lite says "INFO: Created TensorFlow Lite XNNPACK delegate" there on every load and
    has no switch for it; its errors come as exceptions as well.
    """
    try:
        kept = os.dup(2)
    except OSError:  # no standard error at all, as in some services
        yield
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
