"""Writing that never leaves half a file under a final name: write beside, then rename."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edge_runtime.errors import StorageError
from edge_runtime.leftovers import claimed, remove_abandoned

_CHUNK_BYTES = 1 << 20

_WHY = {
    errno.ENOSPC: "no space left on the disk; free some and run again",
    errno.EDQUOT: "the disk quota is used up; free some space and run again",
    errno.EACCES: "no permission to write there; choose another place or change its permissions",
    errno.EPERM: "no permission to write there; choose another place or change its permissions",
    errno.EROFS: "that file system is read-only; choose another place",
    errno.EEXIST: "a part of that path is a file, not a folder; choose another place",
    errno.ENOENT: "no folder can be made there; choose another place",
    errno.ENAMETOOLONG: "that name is too long; choose a shorter one",
    errno.ENOTDIR: "a part of that path is a file, not a folder; choose another place",
}


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` in the body into one clear line that names `path`.

    Raises:
        StorageError: for any `OSError` that is not an edgeproof error already.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as exc:
        why = _WHY.get(exc.errno or 0, exc.strerror or str(exc))
        raise StorageError(f"{path}: cannot write: {why}.") from exc


@contextlib.contextmanager
def staged_file(final: Path, *, mode: int | None = None) -> Iterator[Path]:
    """Give a temporary name beside `final`; rename it to `final` when the body succeeds.

    The suffix stays the last one, because writers choose their format by it.

    Args:
        mode: the file's permissions; `None` for what `open` would give.

    Raises:
        StorageError: when the folder or the file cannot be written.
    """
    with storage_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{final.stem}.", suffix=f".part{final.suffix}", dir=final.parent
        )
        os.close(handle)
        part = Path(name)
        try:
            yield part
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.chmod(open_permissions() if mode is None else mode)
            part.replace(final)
        finally:
            part.unlink(missing_ok=True)


def write_bytes(final: Path, data: bytes, *, mode: int | None = None) -> None:
    """Write `data` to `final`, whole or not at all; `mode` as in `staged_file`."""
    with staged_file(final, mode=mode) as part:
        part.write_bytes(data)


def write_text(final: Path, text: str) -> None:
    """Write `text` as UTF-8 to `final`, whole or not at all."""
    write_bytes(final, text.encode("utf-8"))


@contextlib.contextmanager
def staged_folder(final: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give an empty folder beside `final` to fill; rename it when the body succeeds.

    What a killed process left of the same name is removed first.

    Args:
        replace: whether a folder already at `final` may give way. It does so only after the new
            one is complete.

    Raises:
        StorageError: when `final` exists and may not give way, or cannot be written.
    """
    with storage_errors(final):
        if final.exists() and not replace:
            raise StorageError(f"{final}: exists already; choose another name or --overwrite.")
        final.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(final.parent, f".{glob.escape(final.name)}.*.part")
        part = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".part", dir=final.parent))
        try:
            with claimed(part):
                yield part
            part.chmod(0o777 & ~_umask())
            if final.exists():
                _swap(part, final)
            else:
                part.rename(final)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _swap(new: Path, final: Path) -> None:
    """Put `new` in the place of `final`; a failure in between puts the old one back."""
    old = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".old", dir=final.parent))
    final.rename(old / final.name)
    try:
        new.rename(final)
    except OSError:
        (old / final.name).rename(final)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def require_writable_folder(folder: Path) -> None:
    """Find out now, before minutes of work, whether `folder` can be made and written into.

    Leaves nothing behind. Folders that are missing are tried below one of this trial's own: under
    their own names, another process may rely on them when the trial takes them away again.

    Raises:
        StorageError: when it cannot.
    """
    with storage_errors(folder):
        there = next(p for p in [folder, *folder.parents] if os.path.lexists(p))
        with tempfile.TemporaryDirectory(prefix=".trial.", suffix=".part", dir=there) as trial:
            deepest = Path(trial, folder.relative_to(there))
            deepest.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=deepest) as file:
                file.write(b"\0")


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as lower-case hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def open_permissions() -> int:
    """What `open` gives a new file; `mkstemp` makes files for the owner alone."""
    return 0o666 & ~_umask()


def _umask() -> int:
    # mkstemp makes files for the owner alone; final files get what open() would have given.
    mask = os.umask(0)
    os.umask(mask)
    return mask
