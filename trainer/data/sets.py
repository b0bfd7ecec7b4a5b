"""Data sets that are unpacked, drawn or downloaded once, and found again by their content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge_runtime.errors import StorageError
from edge_runtime.files import staged_folder, storage_errors
from trainer.data.turns import one_at_a_time


def kept_set(sets: Path, name: str, fill: Callable[[Path], None]) -> Path:
    """The folder of a set, filled now if it is not there yet; whole or not at all.

    Args:
        sets: folder of all sets.
        name: says everything that decides the set's content.
        fill: puts the set into an empty folder.

    Raises:
        StorageError: when it cannot be written.
    """
    folder = sets / name
    if folder.is_dir():
        return folder
    with storage_errors(folder), one_at_a_time(folder, "unpacks this set"):
        if not folder.is_dir():  # whom we waited for may have made it
            _make(folder, fill)
    return folder


def _make(folder: Path, fill: Callable[[Path], None]) -> None:
    try:
        with staged_folder(folder) as part:
            fill(part)
    except StorageError:
        # Where there are no locks, another may have come first.
        if not folder.is_dir():
            raise
