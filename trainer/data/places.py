"""What a user may say about where pictures lie and where what is made of them is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_runtime.folders import cache_folder
from trainer.errors import DataError


@dataclass(frozen=True)
class DataOptions:
    """Options of reading a data set.

    Attributes:
        images: folder that a list's paths are relative to; `None`: the list's own.
        tfds_dir: where TensorFlow Datasets keeps its data; `None`: its own default.
        cache: folder for decoded pictures and unpacked sets; `None`: the user's cache.
        keep_pixels: whether decoded pictures are kept for later runs.
    """

    images: str | None = None
    tfds_dir: str | None = None
    cache: str | None = None
    keep_pixels: bool = True

    @property
    def root(self) -> Path | None:
        """Where everything is kept; `None` where the user has no home."""
        return Path(self.cache).expanduser() if self.cache else cache_folder()

    @property
    def sets(self) -> Path:
        """Folder for sets that were unpacked, drawn or downloaded.

        Raises:
            DataError: where there is no place for it.
        """
        if self.root is None:
            raise DataError("There is no home folder to unpack into; name one with --cache DIR.")
        return self.root / "sets"
