"""Keeps the last finished epoch, and writes it as often as costs little."""

from __future__ import annotations

import time
from pathlib import Path

from edge_runtime.errors import StorageError
from trainer.fit_state import Checkpoint, write_checkpoint

# Writing may take a twentieth of the time. A full-size article_cnn is 230 MB with its optimizer:
# after every epoch of a small data set, writing took longer than learning.
COST_FACTOR = 20


class CheckpointKeeper:
    """Holds the newest checkpoint in memory; its file may be some epochs behind until `flush`.

    A killed process loses what came after the file: at most the time of `COST_FACTOR` writings.
    Resumed from there, it does the same epochs again with the same results.
    """

    def __init__(self, file: Path | None) -> None:
        """Args: file: `None` where another process writes."""
        self._file = file
        self._latest: Checkpoint | None = None
        self._is_written = False
        self._not_before = 0.0

    def keep(self, checkpoint: Checkpoint) -> None:
        """Take the state after one more epoch.

        Raises:
            StorageError: when it was time to write, and the disk is full or not writable. The file
                before it stays as it was.
        """
        self._latest, self._is_written = checkpoint, False
        if time.monotonic() >= self._not_before:
            self.flush()

    def note_divergence(self) -> None:
        """The epoch after the newest checkpoint failed; it may be resumed at another rate."""
        if self._latest is not None:
            self._latest.state.diverged = True
            self._is_written = False

    def flush(self) -> None:
        """Write the newest checkpoint, unless it is written already.

        Raises:
            StorageError: as `keep`.
        """
        if self._file is None or self._latest is None or self._is_written:
            return
        began = time.monotonic()
        try:
            write_checkpoint(self._file, self._latest)
        except StorageError as exc:
            if not self._file.exists():
                raise
            raise StorageError(f"{exc} --resume goes on from the epoch that is kept.") from exc
        self._is_written = True
        now = time.monotonic()
        self._not_before = now + COST_FACTOR * (now - began)
