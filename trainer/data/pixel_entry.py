"""One entry of the cache of pixels: how it is written, and how it is mapped into memory."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

PIXELS_NAME = "pixels.u8"
INDEX_NAME = "index.npz"
# Of a file's bytes; two files of the same hash are the same picture.
HASH_BYTES = 32
# Of a row's pixels; to find equal pictures, and to know a set again.
DIGEST_BYTES = 16


def pixel_digest(pixels: np.ndarray) -> np.ndarray:
    """uint8, (16,): equal pixels have equal ones."""
    data = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=DIGEST_BYTES).digest()
    return np.frombuffer(data, np.uint8)


@dataclass(frozen=True, eq=False)
class Entry:
    """An entry that is whole.

    Attributes:
        store: uint8, (rows, height, width, 3), mapped and read-only.
        recipe: what the pixels depend on besides the files.
        hashes: uint8, (rows, 32): of the files' bytes.
        digests: uint8, (rows, 16): of the pixels.
        reasons: why a row has no pixels, for those that have none.
    """

    store: np.ndarray
    recipe: str
    hashes: np.ndarray
    digests: np.ndarray
    reasons: Mapping[int, str]

    @classmethod
    def open(cls, folder: Path, shape: tuple[int, int, int]) -> Entry | None:
        """Map an entry; `None` where there is none, or one that is not whole.

        Args:
            shape: of one row: (height, width, 3).
        """
        try:
            with np.load(folder / INDEX_NAME, allow_pickle=False) as index:
                hashes, digests = index["hashes"], index["digests"]
                meta = json.loads(index["meta"].tobytes())
            rows = len(hashes)
            pixels = folder / PIXELS_NAME
            if pixels.stat().st_size != rows * int(np.prod(shape)):
                return None
            if hashes.shape != (rows, HASH_BYTES) or digests.shape != (rows, DIGEST_BYTES):
                return None
            store = (
                np.memmap(pixels, np.uint8, "r", shape=(rows, *shape))
                if rows
                else np.empty((0, *shape), np.uint8)
            )
            reasons = {int(row): str(why) for row, why in meta["reasons"].items()}
            return cls(store, str(meta["recipe"]), hashes, digests, reasons)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError):
            return None
        except zipfile.BadZipFile:
            return None


class Writer:
    """Writes an entry's rows in any order, and its index at the end."""

    def __init__(self, folder: Path, recipe: str, hashes: Sequence[bytes], row_bytes: int) -> None:
        """Make room for all rows now: a full disk is an error before the work, not after it.

        Raises:
            OSError: when the disk has no room.
        """
        self._folder = folder
        self._recipe = recipe
        self._hashes = hashes
        self._row_bytes = row_bytes
        self._digests = np.zeros((len(hashes), DIGEST_BYTES), np.uint8)
        self._reasons: dict[int, str] = {}
        self._file = (folder / PIXELS_NAME).open("wb", buffering=0)
        if hashes and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._file.fileno(), 0, len(hashes) * row_bytes)

    def put(self, row: int, pixels: np.ndarray, digest: np.ndarray) -> None:
        """Write one row. Not from two threads at once."""
        self._file.seek(row * self._row_bytes)
        # Not through a mapping: there a full disk kills the process, here it is an error.
        left = np.ascontiguousarray(pixels).data.cast("B")
        while left:
            left = left[self._file.write(left) :]
        self._digests[row] = digest

    def put_reason(self, row: int, why: str) -> None:
        """Note why a row has no pixels."""
        self._reasons[row] = why

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._file as file:
            if exc is not None:
                return
            file.truncate(len(self._hashes) * self._row_bytes)
            os.fsync(file.fileno())
        meta = {"recipe": self._recipe, "reasons": self._reasons}
        with (self._folder / INDEX_NAME).open("wb") as index:
            np.savez(
                index,
                hashes=np.frombuffer(b"".join(self._hashes), np.uint8).reshape(-1, HASH_BYTES),
                digests=self._digests,
                meta=np.frombuffer(json.dumps(meta).encode(), np.uint8),
            )
            index.flush()
            os.fsync(index.fileno())
