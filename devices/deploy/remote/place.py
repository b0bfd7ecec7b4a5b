"""Where things lie on the device, and writing there that is whole or not at all.

```
ROOT/lock                who deploys now; held by the kernel for as long as they are connected
ROOT/releases/ID/        one whole release: the files, `release.json`, `start`, `unit`
ROOT/parts/ID/           a release that is being copied
ROOT/venvs/KEY/          Python environments; `complete` is written into each last
ROOT/wheels/SHA256/      packages to install, by hash
ROOT/current             symbolic link to the release that runs; its unit names the same one
ROOT/pending.json        a switch that has not been watched to its end
ROOT/history.jsonl       every switch, with how it went
ROOT/state/              working folder of the service; the only one that it may write to
```
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
FREE_SOME = "free some there, or prune with edgeproof releases --keep 1"
# Less, and no file can be relied upon any more, small as it may be.
_FULL_BYTES = 256 << 10

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class StepError(Exception):
    """A step that cannot do its work; its text is one line for the user."""


class Place:
    """The paths of one service on this device."""

    def __init__(self, root: str) -> None:
        self.root = Path(root).expanduser()
        self.lock = self.root / "lock"
        self.step_lock = self.root / "step.lock"
        self.releases = self.root / "releases"
        self.parts = self.root / "parts"
        self.venvs = self.root / "venvs"
        self.wheels = self.root / "wheels"
        self.current = self.root / "current"
        self.pending = self.root / "pending.json"
        self.history = self.root / "history.jsonl"
        self.state = self.root / "state"
        self.status = self.state / "status.json"

    def make(self) -> None:
        """Make the folders that are missing, for this user alone: arguments may hold secrets.

        Raises:
            StepError: when the folder is another user's, who could change what is in it.
        """
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.root.stat().st_uid != os.getuid():
            raise StepError(f"{self.root}: belongs to another user; move it away there")
        for folder in (self.releases, self.parts, self.venvs, self.wheels, self.state):
            folder.mkdir(exist_ok=True)

    def release(self, name: str) -> Path:
        return self.releases / safe_name(name)

    def current_release(self) -> str | None:
        """Name of the release that `current` leads to; None when there is none."""
        try:
            target = self.current.readlink()
        except OSError:
            return None
        return target.name if (self.releases / target.name).is_dir() else None

    def point_at(self, name: str | None) -> None:
        """Let `current` lead to that release, in one rename; None takes the link away."""
        if name is None:
            self.current.unlink(missing_ok=True)
        else:
            fresh = self.root / ".current.new"
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(Path("releases") / name)
            fresh.replace(self.current)
        sync_folder(self.root)


def safe_name(name: str) -> str:
    """A name that is one part of a path.

    Raises:
        StepError: when it could be anything else.
    """
    if not SAFE_NAME.fullmatch(name):
        raise StepError(f"{name!r}: is no name of a release")
    return name


def inside(folder: Path, path: str) -> Path:
    """Where a file of a release lies.

    Raises:
        StepError: when its path leads out of the folder, by its words or through a link.
    """
    parts = path.split("/")
    if not path or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise StepError(f"{path!r}: leads out of the release")
    file = folder.joinpath(*parts)
    for parent in file.parents:
        if parent.is_symlink():
            raise StepError(f"{path}: {parent} is a link there; take it away and deploy again")
        if parent == folder:
            break
    return file


def write_text(final: Path, text: str, mode: int = 0o644) -> None:
    """Write a small file, whole or not at all, and onto the disk."""
    part = final.with_name(f".{final.name}.part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.chmod(mode)
    part.replace(final)
    sync_folder(final.parent)


def read_json(file: Path) -> dict[str, Any]:
    """A small JSON object; empty when it is absent, or is no such thing."""
    try:
        with file.open("rb") as opened:
            found = json.loads(opened.read(1 << 20))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def sha256_file(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def is_same(file: Path, sha256: str, size: int) -> bool:
    """Whether a plain file is there with these bytes."""
    try:
        if file.is_symlink() or not file.is_file() or file.stat().st_size != size:
            return False
        return sha256_file(file) == sha256
    except OSError:
        return False


def is_full(place: Place) -> bool:
    """Whether the disk that it lies on has no room for this user."""
    try:
        return shutil.disk_usage(place.root).free < _FULL_BYTES
    except OSError:
        return False


def sync_folder(folder: Path) -> None:
    """A rename is on the disk once its folder is: power may fail right after."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove(folder: Path) -> None:
    """Remove a folder so that a kill in between leaves nothing under its name."""
    if folder.is_symlink():
        folder.unlink()
    if not folder.exists():
        return
    dead = folder.with_name(f".{folder.name}.dead")
    shutil.rmtree(dead, ignore_errors=True)
    folder.replace(dead)
    shutil.rmtree(dead, ignore_errors=True)


@contextlib.contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """A full or locked disk in the user's words.

    Raises:
        StepError: for an `OSError` in the body.
    """
    try:
        yield
    except OSError as exc:
        if exc.errno in NO_ROOM:
            raise StepError(f"no space left below {where}; {FREE_SOME}") from exc
        if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StepError(
                f"{exc.filename or where}: may not be written to; is it another user's, or is the "
                "disk read-only?"
            ) from exc
        raise
