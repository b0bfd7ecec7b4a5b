"""From what the user named to the source that it means."""

from __future__ import annotations

import re
from pathlib import Path

from edge_runtime.errors import SourceError
from edge_runtime.images import is_image_name
from edge_runtime.sources.base import Source, SourceOptions
from edge_runtime.sources.files import Pictures, VideoFile
from edge_runtime.sources.v4l2 import V4l2Camera


def open_source(spec: str | int | Path, options: SourceOptions = SourceOptions()) -> Source:
    """Open what the user named.

    Args:
        spec: a camera index (`0`, `"0"`, `/dev/video0`), a folder of pictures, a picture or a
            video file.

    Raises:
        SourceError: when it does not exist or does not open.
    """
    text = str(spec)
    if not text.strip():
        raise SourceError("--source is empty; it takes a camera index, a file or a folder.")
    if camera := re.fullmatch(r"(?:/dev/video)?(\d{1,4})", text):
        return V4l2Camera(int(camera[1]))
    if "://" in text:  # not printed: it may hold a password
        raise SourceError(
            "A network address is not a source of this version: it reads a camera index, "
            "a video file, a folder of pictures or a picture."
        )
    path = Path(spec) if isinstance(spec, Path) else Path(text)
    if path.is_dir() or (path.is_file() and is_image_name(path)):
        return Pictures(path)
    if path.exists():
        return VideoFile(path)
    raise SourceError(
        f"{text}: no such file or folder; --source takes a camera index, a video file, "
        "a folder of pictures or a picture."
    )
