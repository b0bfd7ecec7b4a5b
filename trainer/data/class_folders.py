"""A folder that holds a folder for each class."""

from __future__ import annotations

from pathlib import Path

from trainer.data.places import DataOptions
from trainer.folders import PictureFolder, look_through


def look(source: str, options: DataOptions) -> PictureFolder:
    """See `trainer.data.kinds.look`."""
    return look_through(Path(source))
