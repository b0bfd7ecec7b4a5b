"""What FFmpeg writes, fragment by fragment on the disk.

Into a file, FFmpeg writes 256 KiB at a time: half a minute of a still scene, all of it lost with
the process. Into a socket it writes each fragment as soon as it is whole. Here it gets a socket,
and a thread puts what comes through into the file, which also sees when the disk is full: OpenCV
says nothing of that.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import threading
from pathlib import Path

_CHUNK_BYTES = 1 << 18
# The writer has closed its end by then; what is left is on its way through the kernel.
_CLOSE_S = 2.0


class Spool:
    """A Unix socket whose bytes go to a file.

    Attributes:
        address: what FFmpeg opens.
        error: why the file could not be written any more; what comes after is thrown away.
    """

    def __init__(self, file: int, suffix: str) -> None:
        """Args:
            file: descriptor that is written to, and closed in the end.
            suffix: by which FFmpeg chooses the container, such as `.ismv`.

        Raises:
            OSError: when there are no such sockets.
        """
        self.error: OSError | None = None
        self._file = file
        # A socket's path is at most a hundred bytes long: not beside the video.
        self._folder = Path(tempfile.mkdtemp(prefix="edgeproof-"))
        try:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(self._folder / f"video{suffix}"))
            self._listener.listen(1)
        except BaseException:
            self._forget_folder()
            raise
        self.address = f"unix:{self._folder / f'video{suffix}'}"
        self._thread = threading.Thread(target=self._copy, name="edgeproof-spool", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait for the last bytes; the writer must have closed its end. Safe to call twice."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # nobody may have come at all
        self._thread.join(_CLOSE_S)
        self._forget_folder()

    def _copy(self) -> None:
        with os.fdopen(self._file, "wb", buffering=0) as file:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed before anybody came
                return
            finally:
                self._listener.close()
            with connection:
                while chunk := connection.recv(_CHUNK_BYTES):
                    self._put(file.fileno(), chunk)

    def _put(self, file: int, chunk: bytes) -> None:
        # The writer must never wait for a disk that is full: that would stop the camera.
        try:
            while chunk and self.error is None:
                chunk = chunk[os.write(file, chunk) :]
        except OSError as exc:
            self.error = exc

    def _forget_folder(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
