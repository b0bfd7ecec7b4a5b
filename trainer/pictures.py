"""Every picture decoded and preprocessed once, into one array of bytes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_runtime.errors import ImageError
from edge_runtime.files import storage_errors
from edge_runtime.images import decode_image
from edge_runtime.preprocess import Preprocess
from edge_runtime.progress import progress_bar
from trainer.folders import Picture, Skipped

# Above this the array lies in a file that the system pages in and out.
MAX_MEMORY_BYTES = 4 << 30


@dataclass(frozen=True, eq=False)
class Pixels:
    """Preprocessed pictures.

    Attributes:
        pictures: where each came from.
        store: uint8, (any number, height, width, 3); parts of one data set share it.
        rows: int64, (pictures,): where in the store each lies.
        labels: int64, (pictures,).
    """

    pictures: tuple[Picture, ...]
    store: np.ndarray
    rows: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.pictures)

    def inputs(self, chosen: np.ndarray | slice) -> np.ndarray:
        """A copy of the chosen pictures' pixels: uint8, (chosen, height, width, 3)."""
        return self.store[self.rows[chosen]]

    def take(self, chosen: Sequence[int]) -> Pixels:
        """The chosen pictures, in that order, on the same store."""
        index = np.asarray(chosen, np.int64)
        pictures = tuple(self.pictures[i] for i in chosen)
        return Pixels(pictures, self.store, self.rows[index], self.labels[index])

    def sha256(self) -> str:
        """Identifies these very pixels and labels, in this order."""
        digest = hashlib.sha256(self.labels.tobytes())
        for row in self.rows:
            digest.update(self.store[row])
        return digest.hexdigest()


def load_pixels(
    root: Path,
    pictures: Sequence[Picture],
    preprocess: Preprocess,
    *,
    scratch: Path,
    description: str,
) -> tuple[Pixels, tuple[Skipped, ...]]:
    """Decode and preprocess; a picture that cannot be read is skipped and named.

    Args:
        scratch: folder for the array's file, should it not fit into memory.

    Raises:
        StorageError: when the array needs a file and there is no room for it.
    """
    inputs = _room((len(pictures), *preprocess.input_shape), scratch)
    why: list[str | None] = [None] * len(pictures)

    def load(row: int) -> None:
        try:
            inputs[row] = preprocess(decode_image(root / pictures[row].path))
        except ImageError as exc:
            why[row] = str(exc).removeprefix(f"{root / pictures[row].path}: ").rstrip(".")

    # OpenCV decodes and resizes outside Python's lock.
    with progress_bar(description, len(pictures)) as advance, ThreadPoolExecutor() as pool:
        for _ in pool.map(load, range(len(pictures))):
            advance(1)
    read = [row for row, reason in enumerate(why) if reason is None]
    skipped = tuple(
        Skipped(picture.path, reason)
        for picture, reason in zip(pictures, why, strict=True)
        if reason is not None
    )
    labels = np.array([picture.label for picture in pictures], np.int64)
    rows = np.arange(len(pictures), dtype=np.int64)
    return Pixels(tuple(pictures), inputs, rows, labels).take(read), skipped


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
