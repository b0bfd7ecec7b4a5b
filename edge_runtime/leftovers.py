"""Half-made folders of processes that were killed: whoever comes next removes them."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: nothing is claimed there, and nothing removed
    fcntl = None  # type: ignore[assignment]

# Between making its folder and claiming it, a process has so long.
_CLAIMED_WITHIN_S = 60.0


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a folder while the body runs. The claim ends with the process, however that ends."""
    with _lock(folder):
        yield


def remove_abandoned(parent: Path, pattern: str) -> None:
    """Remove folders of that pattern that nobody claims any more; what cannot be removed stays."""
    if fcntl is None:
        return
    for folder in parent.glob(pattern):
        with contextlib.suppress(OSError), _lock(folder) as is_free:
            age_s = time.time() - folder.stat().st_mtime
            if is_free and age_s > _CLAIMED_WITHIN_S and not folder.is_symlink():
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Whether the folder could be locked; it is as long as the body runs."""
    if fcntl is None:
        yield False
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # somebody's, or a file system without locks
            yield False
        else:
            yield True
    finally:
        os.close(handle)
