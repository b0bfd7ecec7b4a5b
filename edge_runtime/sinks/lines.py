"""A file of lines that survives a full disk, and the end of its process at any moment."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path

from edge_runtime.errors import StorageError
from edge_runtime.files import storage_errors

# What may pass: space is freed, a stick is plugged in again.
_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EIO}


class LineFile:
    """Each line is written whole, by one system call, under the file's final name.

    After a kill the file therefore ends with a whole line, the last one given.

    Attributes:
        lost: how many lines there was no space for.
    """

    def __init__(self, path: Path, on_note: Callable[[str], None], *, append: bool = False) -> None:
        """Args:
            on_note: told when lines begin to be lost, and when they are written again.
            append: go on after the lines that are there, instead of beginning anew.

        Raises:
            StorageError: when it cannot be written.
        """
        self._path, self._on_note = path, on_note
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Always at the end: whoever takes lines away (logrotate's copytruncate) leaves no hole.
            flags = os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
            flags |= os.O_RDWR if append else os.O_WRONLY | os.O_TRUNC
            self._file: int | None = os.open(path, flags, 0o666)
            if append:
                _end_last_line(self._file)
        self._losing = 0
        self._why = ""
        self.lost = 0

    def write(self, line: str) -> None:
        """Write a line, or count it as lost when the disk is full.

        Raises:
            StorageError: for any other reason.
        """
        if self._file is None:
            raise StorageError(f"{self._path}: is closed.")
        # A file name that is no UTF-8 becomes an escape, which JSON has too.
        data = (line + "\n").encode("utf-8", errors="backslashreplace")
        try:
            self._write_whole(self._file, data)
        except OSError as exc:
            with storage_errors(self._path):
                if exc.errno not in _PASSING:
                    raise
            self._lose(exc)
            return
        if self._losing:
            self._on_note(f"{self._path}: writing again; {self._losing} lines were lost")
            self._losing = 0

    def _write_whole(self, file: int, data: bytes) -> None:
        written = os.write(file, data)
        while written < len(data):
            # The disk is full, or a signal came: the rest says which.
            try:
                written += os.write(file, data[written:])
            except OSError:
                self._take_back(file, written)
                raise

    def _take_back(self, file: int, written: int) -> None:
        """Take half a line back; a pipe has no taking back."""
        with contextlib.suppress(OSError):
            os.ftruncate(file, max(0, os.fstat(file).st_size - written))

    def _lose(self, exc: OSError) -> None:
        self._why = exc.strerror or str(exc)
        if not self._losing:
            self._on_note(f"{self._path}: {self._why}; lines are lost until there is space")
        self._losing += 1
        self.lost += 1

    def close(self) -> None:
        """Safe to call twice. Raises StorageError when lines were lost."""
        if self._file is None:
            return
        file, self._file = self._file, None
        with storage_errors(self._path):
            os.close(file)
        if self.lost:
            raise StorageError(f"{self._path}: {self.lost} lines were lost: {self._why}.")


def _end_last_line(file: int) -> None:
    """Half an object that a crash of the system left at the end goes; other text gets its end."""
    end, step = os.fstat(file).st_size, 4096
    while end:
        start = max(0, end - step)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    with contextlib.suppress(OSError):  # a pipe has no last line
        if os.pread(file, 1, end) == b"{":
            os.ftruncate(file, end)
        elif end < os.fstat(file).st_size:
            os.write(file, b"\n")
