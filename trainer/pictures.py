"""Every picture decoded and preprocessed once, into one array of bytes."""

from __future__ import annotations

import hashlib
import mmap
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_runtime.clip import Clip, input_shape, read_input
from edge_runtime.errors import ImageError
from edge_runtime.files import storage_errors
from edge_runtime.preprocess import Preprocess
from trainer.data.parallel import in_parallel
from trainer.data.pixel_cache import DIGEST_BYTES, PixelCache, pixel_digest
from trainer.folders import Picture, Skipped

# Above this the array lies in a file that the system pages in and out.
MAX_MEMORY_BYTES = 4 << 30


@dataclass(frozen=True, eq=False)
class Pixels:
    """Preprocessed pictures.

    Attributes:
        pictures: where each came from.
        store: uint8, (any number, height, width, 3); parts of one data set share it. It may lie on
            the disk and be larger than memory.
        rows: int64, (pictures,): where in the store each lies.
        labels: int64, (pictures,).
        digests: uint8, (any number, 16): of each of the store's rows.
    """

    pictures: tuple[Picture, ...]
    store: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    digests: np.ndarray

    def __len__(self) -> int:
        return len(self.pictures)

    def inputs(self, chosen: np.ndarray | slice) -> np.ndarray:
        """A copy of the chosen pictures' pixels: uint8, (chosen, height, width, 3)."""
        rows = self.rows[chosen]
        copy: np.ndarray = self.store[rows]
        # What is mapped counts as this process's memory until it is let go.
        self._advise(rows, "MADV_DONTNEED")
        return copy

    def expect(self, chosen: np.ndarray | slice) -> None:
        """Let the system read these from the disk meanwhile: `inputs` will ask for them next."""
        self._advise(self.rows[chosen], "MADV_WILLNEED")

    def _advise(self, rows: np.ndarray, advice: str) -> None:
        mapping = self.store.base
        if not isinstance(mapping, mmap.mmap) or not hasattr(mmap, advice):
            return
        row_bytes = self.store[0].nbytes
        for row in rows.tolist():
            start = row * row_bytes // mmap.PAGESIZE * mmap.PAGESIZE
            length = min((row + 1) * row_bytes, len(mapping)) - start
            mapping.madvise(getattr(mmap, advice), start, length)

    def take(self, chosen: Sequence[int]) -> Pixels:
        """The chosen pictures, in that order, on the same store."""
        index = np.asarray(chosen, np.int64)
        pictures = tuple(self.pictures[i] for i in chosen)
        return Pixels(pictures, self.store, self.rows[index], self.labels[index], self.digests)

    def sha256(self) -> str:
        """Identifies these very pixels and labels, in this order."""
        digest = hashlib.sha256(self.labels.tobytes())
        digest.update(self.digests[self.rows].tobytes())
        return digest.hexdigest()


def load_pixels(
    root: Path,
    pictures: Sequence[Picture],
    preprocess: Preprocess,
    clip: Clip | None = None,
    *,
    scratch: Path,
    description: str,
    cache: PixelCache | None = None,
) -> tuple[Pixels, tuple[Skipped, ...]]:
    """Decode and preprocess; a picture that cannot be read is skipped and named.

    Args:
        scratch: folder for the array's file, should it not fit into memory.
        cache: where pixels are kept for later runs, and taken from; then nothing goes to `scratch`.

    Raises:
        StorageError: when the array needs a file and there is no room for it.
        DataError: when a picture changes meanwhile.
    """
    if cache:
        files = [root / picture.path for picture in pictures]
        kept = cache.load(files, preprocess, description)
        store, rows, why, digests = kept.store, kept.rows, kept.why, kept.digests
    else:
        store, why, digests = _decode(root, pictures, preprocess, clip, scratch, description)
        rows = np.arange(len(pictures), dtype=np.int64)
    read = [i for i, reason in enumerate(why) if reason is None]
    skipped = tuple(
        Skipped(picture.path, reason)
        for picture, reason in zip(pictures, why, strict=True)
        if reason is not None
    )
    labels = np.array([picture.label for picture in pictures], np.int64)
    return Pixels(tuple(pictures), store, rows, labels, digests).take(read), skipped


def _decode(
    root: Path,
    pictures: Sequence[Picture],
    preprocess: Preprocess,
    clip: Clip | None,
    scratch: Path,
    description: str,
) -> tuple[np.ndarray, list[str | None], np.ndarray]:
    inputs = _room((len(pictures), *input_shape(preprocess, clip)), scratch)
    digests = np.zeros((len(pictures), DIGEST_BYTES), np.uint8)

    def load(row: int) -> str | None:
        file = root / pictures[row].path
        try:
            inputs[row] = read_input(file, preprocess, clip)
        except ImageError as exc:
            return str(exc).removeprefix(f"{file}: ").rstrip(".")
        digests[row] = pixel_digest(inputs[row])
        return None

    return inputs, list(in_parallel(load, range(len(pictures)), description)), digests


def _room(shape: tuple[int, ...], scratch: Path) -> np.ndarray:
    wanted_bytes = int(np.prod(shape))
    if wanted_bytes <= MAX_MEMORY_BYTES:
        return np.empty(shape, np.uint8)
    # The file has no name: it goes when the array goes, whatever happens.
    with storage_errors(scratch), tempfile.TemporaryFile(dir=scratch) as file:
        if hasattr(os, "posix_fallocate"):
            # A full disk is an error now, not a SIGBUS in the middle.
            os.posix_fallocate(file.fileno(), 0, wanted_bytes)
        return np.memmap(file, np.uint8, "w+", shape=shape)
