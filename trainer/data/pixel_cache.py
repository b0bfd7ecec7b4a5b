"""Decoded and preprocessed pictures, kept on the disk for the next run.

One entry holds the pixels of one set of pictures under one `Preprocess`. Its name is a hash of that
`Preprocess`, of OpenCV's version and the processor's kind (another decoder may round otherwise) and
of the bytes of every file, so it never goes stale: another picture, another name. Entries do not
change once they are there. A set that shares pictures with an older entry copies those, and decodes
only the others.
"""

from __future__ import annotations

import hashlib
import platform
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge_runtime.errors import ImageError, StorageError
from edge_runtime.files import require_writable_folder, staged_folder, storage_errors
from edge_runtime.images import decode_bytes, read_image_file
from edge_runtime.preprocess import Preprocess
from trainer.data.parallel import in_parallel
from trainer.data.pixel_entry import (
    DIGEST_BYTES,
    HASH_BYTES,
    PIXELS_NAME,
    Entry,
    Writer,
    pixel_digest,
)
from trainer.data.places import DataOptions
from trainer.data.room import default_limit_bytes, touch, trim
from trainer.data.turns import one_at_a_time
from trainer.errors import DataError

__all__ = ["DIGEST_BYTES", "Kept", "PixelCache", "pixel_cache", "pixel_digest"]

# Another number whenever a file and `Preprocess` give other pixels, or entries look otherwise.
VERSION = 1


@dataclass(frozen=True, eq=False)
class Kept:
    """The pixels of some files.

    Attributes:
        store: uint8, (rows, height, width, 3), on the disk.
        rows: int64, (files,): where in it each file's are.
        why: for each file, why it has none; `None` where it has.
        digests: uint8, (rows, 16): of each row's pixels.
    """

    store: np.ndarray
    rows: np.ndarray
    why: list[str | None]
    digests: np.ndarray


class PixelCache:
    """Entries in one folder, no more of them than there is room for."""

    def __init__(self, folder: Path, *, limit_bytes: int | None = None) -> None:
        """Nothing is made before the first `load`.

        Args:
            folder: for all entries.
            limit_bytes: what all of them may take; `None`: 64 GiB, or a quarter of the disk.
        """
        self.folder = folder
        self._limit_bytes = limit_bytes

    def load(self, files: Sequence[Path], preprocess: Preprocess, description: str) -> Kept:
        """The pixels of these files, decoded now where they are not kept yet.

        Raises:
            StorageError: when there is no room for them.
            DataError: when a file changes meanwhile.
        """
        found = list(in_parallel(_hash, files, "looking at the pictures"))
        hashes = [each for each in found if isinstance(each, bytes)]
        unique = sorted(set(hashes))
        entry = self._entry(files, found, unique, preprocess, description)
        row_of = {digest: row for row, digest in enumerate(unique)}
        rows = [row_of[each] if isinstance(each, bytes) else 0 for each in found]
        why = [
            entry.reasons.get(row) if isinstance(each, bytes) else each
            for row, each in zip(rows, found, strict=True)
        ]
        return Kept(entry.store, np.array(rows, np.int64), why, entry.digests)

    def _entry(
        self,
        files: Sequence[Path],
        found: Sequence[bytes | str],
        unique: Sequence[bytes],
        preprocess: Preprocess,
        description: str,
    ) -> Entry:
        # Homes are shared between machines, and another processor's decoder may round otherwise.
        machine = f"OpenCV {cv2.__version__} on {platform.machine()}"
        recipe = f"{VERSION}, {machine}, {preprocess.model_dump_json()}"
        key = hashlib.sha256(recipe.encode() + b"\0" + b"".join(unique)).hexdigest()[:32]
        folder = self.folder / key
        shape = preprocess.input_shape
        entry = Entry.open(folder, shape)
        if entry is None:
            first = {each: file for file, each in zip(files, found, strict=True)}
            jobs = [(first[each], each) for each in unique]
            with storage_errors(self.folder), one_at_a_time(folder, "decodes these pictures"):
                entry = Entry.open(folder, shape)  # whom we waited for may have made it
                if entry is None:
                    self._make(folder, recipe, jobs, preprocess, description)
                    entry = Entry.open(folder, shape)
            if entry is None:
                raise StorageError(f"{folder}: cannot be read back; choose another --cache DIR.")
        touch(folder)
        return entry

    def _make(
        self,
        folder: Path,
        recipe: str,
        jobs: Sequence[tuple[Path, bytes]],
        preprocess: Preprocess,
        description: str,
    ) -> None:
        row_bytes = int(np.prod(preprocess.input_shape))
        limit = default_limit_bytes(self.folder) if self._limit_bytes is None else self._limit_bytes
        trim(self.folder, limit - len(jobs) * row_bytes)
        elsewhere = dict(self._known(recipe, preprocess))
        try:
            with (
                staged_folder(folder, replace=True) as part,
                Writer(part, recipe, [each for _, each in jobs], row_bytes) as writer,
            ):
                self._fill(writer, jobs, elsewhere, preprocess, description)
        except StorageError as exc:
            if folder.is_dir():  # where there are no locks, another may have come first
                return
            hint = "or name another place with --cache DIR, or decode into memory with --no-cache"
            raise StorageError(f"{str(exc).rstrip('.')}; {hint}.") from exc

    def _known(
        self, recipe: str, preprocess: Preprocess
    ) -> Iterator[tuple[bytes, tuple[Entry, int]]]:
        """Where in older entries pixels of the same recipe are, by their file's hash."""
        for index in self.folder.glob(f"*/{PIXELS_NAME}"):
            entry = Entry.open(index.parent, preprocess.input_shape)
            if entry and entry.recipe == recipe:
                for row, digest in enumerate(entry.hashes):
                    yield digest.tobytes(), (entry, row)

    def _fill(
        self,
        writer: Writer,
        jobs: Sequence[tuple[Path, bytes]],
        elsewhere: dict[bytes, tuple[Entry, int]],
        preprocess: Preprocess,
        description: str,
    ) -> None:
        lock = threading.Lock()

        def work(row: int) -> None:
            file, digest = jobs[row]
            known = elsewhere.get(digest)
            if known:
                entry, there = known
                pixels, why = entry.store[there], entry.reasons.get(there)
            else:
                pixels, why = _decode(file, digest, preprocess)
            if why is not None:
                writer.put_reason(row, why)
                return
            of_pixels = pixel_digest(pixels)
            with lock:
                writer.put(row, pixels, of_pixels)

        for _ in in_parallel(work, range(len(jobs)), description):
            pass


def pixel_cache(options: DataOptions) -> PixelCache | None:
    """The user's cache; `None` where none is wanted, or there is no place for one.

    Raises:
        StorageError: when the place that the user named cannot be written.
    """
    if not options.keep_pixels or options.root is None:
        return None
    folder = options.root / "pixels"
    try:
        require_writable_folder(folder)
    except StorageError:
        if options.cache:
            raise
        return None  # a home that is read-only, as in containers: the run does without
    return PixelCache(folder)


def _hash(file: Path) -> bytes | str:
    """The hash of a file's bytes, or why it cannot be read."""
    try:
        return _hash_bytes(read_image_file(file))
    except ImageError as exc:
        return _reason(file, exc)


def _hash_bytes(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=HASH_BYTES).digest()


def _decode(file: Path, digest: bytes, preprocess: Preprocess) -> tuple[np.ndarray, str | None]:
    try:
        data = read_image_file(file)
    except ImageError as exc:
        raise _changed(file) from exc
    if _hash_bytes(data) != digest:
        raise _changed(file)
    try:
        return preprocess(decode_bytes(data, name=str(file))), None
    except ImageError as exc:
        return np.empty(0, np.uint8), _reason(file, exc)


def _changed(file: Path) -> DataError:
    return DataError(f"{file}: changed while the pictures were being read; run again.")


def _reason(file: Path, exc: ImageError) -> str:
    return str(exc).removeprefix(f"{file}: ").rstrip(".")
