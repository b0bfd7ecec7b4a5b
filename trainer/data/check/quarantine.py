"""Moving files aside so that every one can be put back, whenever this is interrupted.

The list of all moves is on the disk before the first file moves. Each move is one rename, or,
between two disks, a copy that gets its name when it is whole, and then the end of the original. So
at any moment each file is at one of the two places that the list names, or the same at both, and
undoing needs to know no more than that.
"""

from __future__ import annotations

import contextlib
import errno
import filecmp
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, ValidationError

from edge_runtime.errors import StorageError
from edge_runtime.files import storage_errors, write_text
from edge_runtime.text import one_line
from trainer.errors import DataError

LIST_NAME = "quarantine.json"
FILES_NAME = "files"
MAX_LIST_BYTES = 256 << 20


class Moves(BaseModel):
    """The list of a quarantine.

    Attributes:
        root: absolute path of the folder that the files come from.
        files: POSIX path below it, and why it was taken.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int
    created: str
    root: str
    files: dict[str, str]


@dataclass(frozen=True)
class PutBack:
    """What undoing did.

    Attributes:
        restored: files that are where they were again.
        kept: files that stay in the quarantine, because another one has taken their place.
        gone: files that are in neither place.
    """

    restored: tuple[str, ...]
    kept: tuple[str, ...]
    gone: tuple[str, ...]


def put_aside(root: Path, files: Mapping[str, str], folder: Path) -> None:
    """Move files out of a data set.

    Args:
        root: the data set's folder.
        files: POSIX path below it, and why it is taken.
        folder: the quarantine; must not hold another one, and not lie in the data set.

    Raises:
        DataError: when `folder` will not do.
        StorageError: when a file cannot be moved. Those before it were.
    """
    if folder.resolve().is_relative_to(root.resolve()):
        raise DataError(
            f"{folder}: lies inside the pictures' folder, where it would be taken for a class; "
            "choose another --quarantine."
        )
    if (folder / LIST_NAME).exists():
        raise DataError(
            f"{folder}: holds an earlier quarantine; put it back with --undo, or choose another."
        )
    moves = Moves(
        schema_version=1,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        root=str(root),
        files=dict(files),
    )
    write_text(folder / LIST_NAME, json.dumps(moves.model_dump(), indent=1) + "\n")
    _sync(folder)
    for path in files:
        _move(root / path, folder / FILES_NAME / path)


def put_back(root: Path, folder: Path) -> PutBack:
    """Undo `put_aside`; what is back already, after an interruption, is passed over.

    Args:
        root: the data set's folder, to be sure that it is the right one.

    Raises:
        DataError: when `folder` is no quarantine, or one of another data set.
        StorageError: when a file cannot be moved.
    """
    moves = _read(folder)
    if Path(moves.root).resolve() != root.resolve():
        raise DataError(f"{folder}: was taken from {moves.root}, not from {root}; name that one.")
    restored: list[str] = []
    kept: list[str] = []
    gone: list[str] = []
    for path in moves.files:
        here, there = folder / FILES_NAME / path, root / path
        if not os.path.lexists(here):
            (restored if os.path.lexists(there) else gone).append(path)
        elif os.path.lexists(there) and not _interrupted(here, there):
            kept.append(path)
        else:
            _move(here, there)
            restored.append(path)
    if not kept:
        _remove(folder)
    return PutBack(tuple(restored), tuple(kept), tuple(gone))


def _read(folder: Path) -> Moves:
    file = folder / LIST_NAME
    try:
        if file.stat().st_size > MAX_LIST_BYTES:
            raise DataError(f"{file}: is larger than any list of a quarantine.")
        moves = Moves.model_validate_json(file.read_bytes())
    except FileNotFoundError as exc:
        raise DataError(f"{folder}: holds no quarantine ({LIST_NAME}).") from exc
    except (OSError, ValidationError) as exc:
        raise DataError(f"{file}: cannot be read as the list of a quarantine.") from exc
    for path in moves.files:
        # The list decides where files are moved to: not out of the data set.
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in path:
            raise DataError(f"{file}: {one_line(path, 80)} leads out of the data set; not undone.")
    return moves


def _interrupted(here: Path, there: Path) -> bool:
    """Whether both are one file, of whose move between two disks the last step is missing."""
    try:
        same = filecmp.cmp(here, there, shallow=False)
    except OSError:
        return False
    if same:
        there.unlink()
    return same


def _move(source: Path, target: Path) -> None:
    with _named(source):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            source.rename(target)
        except OSError as exc:
            if exc.errno != errno.EXDEV:  # another disk
                raise
            part = target.with_name(f".{target.name}.part")
            shutil.copy2(source, part, follow_symlinks=False)
            _sync(part)
            part.rename(target)
            source.unlink()


@contextlib.contextmanager
def _named(source: Path) -> Iterator[None]:
    try:
        with storage_errors(source):
            yield
    except StorageError as exc:
        text = str(exc).replace("cannot write", "cannot be moved")
        raise StorageError(f"{text} What was moved before it can be put back with --undo.") from exc


def _sync(path: Path) -> None:
    with contextlib.suppress(OSError):  # a folder cannot be opened on Windows
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove(folder: Path) -> None:
    """Remove the list, and every folder that is empty now; what the user put there stays."""
    (folder / LIST_NAME).unlink(missing_ok=True)
    folders = [p for p in (folder / FILES_NAME).rglob("*") if p.is_dir() and not p.is_symlink()]
    for each in [*sorted(folders, reverse=True), folder / FILES_NAME, folder]:
        with contextlib.suppress(OSError):
            each.rmdir()
