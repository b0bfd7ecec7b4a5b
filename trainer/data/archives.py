"""A `.zip` or `.tar` of pictures, unpacked once as a hostile file, and found again by its hash."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from edge_runtime.files import sha256_file
from trainer.data.lists import look_at_list
from trainer.data.places import DataOptions
from trainer.data.sets import kept_set
from trainer.data.unpack import unpack
from trainer.errors import DataError
from trainer.folders import PARTS, PictureFolder, look_through

# A list of one of these names at the top of an archive says what its pictures are.
LIST_NAMES = tuple(
    f"{stem}{suffix}" for stem in ("labels", "metadata") for suffix in (".csv", ".jsonl")
)


def look(source: str, options: DataOptions) -> PictureFolder:
    """See `trainer.data.kinds.look`."""
    archive = Path(source).expanduser()
    try:
        digest = sha256_file(archive)
    except OSError as exc:
        raise DataError(f"{archive}: cannot be read: {exc.strerror or exc}.") from exc
    stem = re.sub(r"[^\w-]+", "-", archive.name.split(".")[0])[:40]
    folder = kept_set(options.sets, f"{stem}-{digest[:32]}", lambda part: unpack(archive, part))
    top = _top(folder)
    for name in LIST_NAMES:
        if (top / name).is_file():
            return look_at_list(top / name, top, origin=source)
    # The archive's name says more to its user than that of a folder in a cache.
    try:
        found = look_through(top)
    except DataError as exc:
        raise DataError(str(exc).replace(str(top), source)) from exc
    problems = tuple(problem.replace(str(top), source) for problem in found.problems)
    return replace(found, problems=problems, origin=source)


def _top(folder: Path) -> Path:
    """What people pack is often one folder: then it is that one that counts."""
    inner = list(folder.iterdir())
    while len(inner) == 1 and inner[0].is_dir() and inner[0].name not in PARTS:
        folder, inner = inner[0], list(inner[0].iterdir())
    return folder
