"""Two programs that want to make the same folder: one makes it, the other waits and takes it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_runtime.progress import status_line

try:
    import fcntl
except ImportError:  # Windows: both make it, and one comes first
    fcntl = None  # type: ignore[assignment]


@contextmanager
def one_at_a_time(folder: Path, does: str) -> Iterator[None]:
    """Hold the right to make `folder` while the body runs; it ends with the process, too.

    It only spares work. That nothing half-made is ever seen is the renaming's doing, and where a
    file system knows no locks two programs make the folder, and the second finds it there.

    Args:
        does: what another program that holds it is doing, for the user who waits.
    """
    if fcntl is None:
        yield
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    file = folder.parent / f".{folder.name}.lock"
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        _wait(handle, does)
        try:
            yield
        finally:  # it is ours: nobody else may take it away
            file.unlink(missing_ok=True)
    finally:
        os.close(handle)


def _wait(handle: int, does: str) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with status_line(f"waiting for another edgeproof that {does}"):
            fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:
        return  # no locks on this file system
