"""A file of lines that survives a full disk, and the end of its process at any moment."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

from edge_runtime.errors import OptionError, StorageError
from edge_runtime.files import storage_errors
from edge_runtime.sinks.rotation import Rotation, Sync, put_aside

# What may pass: space is freed, a stick is plugged in again.
_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
_SYNC_S = 1.0
_LONGEST_LINE = 1 << 20


class LineFile:
    """Each line is written whole, by one system call, under the file's final name.

    After a kill the file therefore ends with a whole line, the last one given.

    Attributes:
        lost: how many lines there was no space for.
    """

    def __init__(
        self,
        path: Path,
        on_note: Callable[[str], None],
        *,
        append: bool = False,
        rotate: Rotation | None = None,
        sync: Sync = "never",
        mode: int = 0o666,
    ) -> None:
        """Args:
            on_note: told when lines begin to be lost, and when they are written again.
            append: go on after the lines that are there, instead of beginning anew.
            rotate: when the file gives way to a new one.
            sync: when what was written is forced onto the disk, so that it survives a power cut:
                never, within a second, or before `write` returns.
            mode: permissions of a new file, less what the process' umask takes.

        Raises:
            StorageError: when it cannot be written, or is a pipe that nobody reads.
            OptionError: when something that is no file, such as a pipe, should be rotated.
        """
        self._path, self._on_note = path, on_note
        self._rotate, self._sync, self._mode = rotate, sync, mode
        self._losing = 0
        self._why = ""
        self._stuck = False
        self.lost = 0
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: int | None = self._open(path, append=append)
            if sync != "never":
                _sync_folder(path.parent)
            if rotate and not stat.S_ISREG(os.fstat(self._file).st_mode):
                os.close(self._file)
                raise OptionError(f"{path}: is no file, and cannot be rotated.")
        self._begun_at = _first_time(path) if append and rotate else time.time()
        self._syncer = _Syncer(self._file) if sync == "second" else None

    def _open(self, path: Path, *, append: bool) -> int:
        # Always at the end: whoever takes lines away (logrotate's copytruncate) leaves no hole.
        flags = os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        if path.is_fifo():
            return _open_pipe(path)
        flags |= os.O_RDWR if append else os.O_WRONLY | os.O_TRUNC
        file = os.open(path, flags, self._mode)
        if append:
            _end_last_line(file)
        return file

    def write(self, line: str) -> None:
        """Write a line, or count it as lost when the disk is full.

        Raises:
            StorageError: for any other reason.
        """
        if self._file is None:
            raise StorageError(f"{self._path}: is closed.")
        # A file name that is no UTF-8 becomes an escape, which JSON has too.
        data = (line + "\n").encode("utf-8", errors="backslashreplace")
        if self._rotate is not None:
            self._turn_over(self._rotate, len(data))
        try:
            self._write_whole(self._file, data)
            if self._sync == "line":
                _sync(self._file)
        except OSError as exc:
            with storage_errors(self._path):
                if exc.errno not in _PASSING:
                    raise
            self._lose(exc)
            return
        if self._syncer:
            self._syncer.due.set()
        if self._losing:
            self._on_note(f"{self._path}: writing again; {self._losing} lines were lost")
            self._losing = 0

    def _turn_over(self, rotate: Rotation, more: int) -> None:
        """Begin a new file when this one is full; when that does not go, this one grows."""
        if self._file is None:
            return
        now = time.time()
        self._begun_at = min(self._begun_at, now)  # a clock that was set back
        if not rotate.is_due(os.fstat(self._file).st_size, more, now - self._begun_at):
            return
        following = self._path.with_name(f".{self._path.name}.next")
        fresh = None
        try:
            if self._sync != "never":
                _sync(self._file)
            fresh = self._open(following, append=False)
            put_aside(self._path, rotate.keep)
            following.replace(self._path)
            if self._sync != "never":
                _sync_folder(self._path.parent)
        except OSError as exc:
            if fresh is not None:
                os.close(fresh)
                with contextlib.suppress(OSError):
                    following.unlink(missing_ok=True)
            if not self._stuck:
                self._on_note(f"{self._path}: cannot be rotated: {exc.strerror}; it grows")
            self._stuck = True
            return
        old, self._file, self._begun_at, self._stuck = self._file, fresh, now, False
        if self._syncer:
            self._syncer.file = fresh
        os.close(old)

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
        if self._syncer:
            self._syncer.close()
        with storage_errors(self._path):
            if self._sync != "never":
                _sync(file)
            os.close(file)
        if self.lost:
            raise StorageError(f"{self._path}: {self.lost} lines were lost: {self._why}.")


class _Syncer:
    """Forces onto the disk, once a second, what was written since; in a thread of its own.

    On an SD card that takes up to a second, for which no line should have to wait.

    Attributes:
        file: descriptor of the present file.
        due: set when something was written.
    """

    def __init__(self, file: int) -> None:
        self.file, self.due = file, threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edgeproof-fsync", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Whoever closes syncs the rest."""
        self._closing.set()
        self.due.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        while not self._closing.is_set():
            self.due.wait()
            self.due.clear()
            # A full disk is told by the writing; a rotated file was synced by whoever closed it.
            with contextlib.suppress(OSError):
                _sync(self.file)
            self._closing.wait(_SYNC_S)


def _open_pipe(path: Path) -> int:
    """Opened the usual way, the run would wait at its start, for ever and without a word."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        if exc.errno != errno.ENXIO:
            raise
        raise StorageError(f"{path}: is a pipe that nobody reads; start its reader first.") from exc
    os.set_blocking(file, True)
    return file


def _sync(file: int) -> None:
    try:
        os.fsync(file)
    except OSError as exc:
        if exc.errno not in (errno.EINVAL, errno.ENOTSUP):  # a pipe has no disk
            raise


def _sync_folder(folder: Path) -> None:
    """So that a new file's name survives, too."""
    with contextlib.suppress(OSError):  # not every system opens folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _first_time(path: Path) -> float:
    """When the file's first line was written, by its `time`; now, where it has none."""
    now = time.time()
    try:
        with path.open("rb") as file:
            begun = json.loads(file.readline(_LONGEST_LINE))["time"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return now
    return min(float(begun), now) if isinstance(begun, int | float) else now


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
