"""Unpacking an archive that may mean harm: nothing outside the folder, no links, no bombs."""

from __future__ import annotations

import errno
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from edge_runtime.images import MAX_FILE_BYTES
from edge_runtime.progress import progress_bar
from edge_runtime.text import one_line
from trainer.errors import DataError

MAX_MEMBERS = 5_000_000
# Pictures are compressed already: an archive that grows like this is a bomb. Bitmaps of one colour
# do grow, so the first gibibyte is free.
MAX_GROWTH = 100
FREE_BYTES = 1 << 30
_COPY_BYTES = 1 << 20
# tarfile reads extended headers at once, however long they claim to be.
_MAX_HEADER_BYTES = 16 << 20


@dataclass(frozen=True)
class Member:
    """One entry of an archive.

    Attributes:
        kind: what it is when it is neither a plain file nor a folder; else empty.
        handle: what zipfile or tarfile knows it by.
    """

    name: str
    size_bytes: int
    is_folder: bool
    kind: str
    handle: Any


def unpack(archive: Path, folder: Path) -> None:
    """Unpack every visible file of `archive` into the empty `folder`.

    Hidden files, and what macOS puts beside each file, are left out.

    Raises:
        DataError: when it is damaged or encrypted, holds a link or a device, a path that leads out
            of the folder, the same path twice, or more than the disk or any data set holds.
        OSError: when the disk is full.
    """
    budget = _Budget(archive, shutil.disk_usage(folder).free)
    with (
        _readable(archive),
        _opened(archive) as (members, open_member),
        progress_bar("unpacking", None) as advance,
    ):
        for member in members:
            path = _path_of(archive, member)
            budget.take(member)
            if path is not None and not member.is_folder:
                _copy(archive, member, open_member(member), folder / path)
            advance(1)


class _Budget:
    """What an archive may still unpack to."""

    def __init__(self, archive: Path, free_bytes: int) -> None:
        self._archive = archive
        self._members = MAX_MEMBERS
        self._bytes = max(FREE_BYTES, MAX_GROWTH * archive.stat().st_size)
        self._disk_bytes = free_bytes

    def take(self, member: Member) -> None:
        """Count one more entry."""
        if member.size_bytes > MAX_FILE_BYTES:
            raise DataError(
                f"{self._archive}: {_shown(member)} is larger than {MAX_FILE_BYTES >> 20} MiB; no "
                "picture is. Not unpacked."
            )
        self._members -= 1
        self._bytes -= member.size_bytes
        self._disk_bytes -= member.size_bytes
        if self._members < 0 or self._bytes < 0:
            raise DataError(
                f"{self._archive}: unpacks to more than any set of pictures of its size; not "
                "unpacked. If you trust it, unpack it yourself and name the folder."
            )
        if self._disk_bytes < 0:
            raise DataError(
                f"{self._archive}: unpacks to more than the disk has room for; free some space, or "
                "name another place with --cache DIR."
            )


def _path_of(archive: Path, member: Member) -> PurePosixPath | None:
    """Where it goes, below the folder; `None`: nowhere."""
    name = member.name
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or name[1:2] == ":":
        raise DataError(
            f"{archive}: {_shown(member)} leads out of the folder it is unpacked to; not unpacked."
        )
    if member.kind:
        raise DataError(f"{archive}: {_shown(member)} is {member.kind}; not unpacked.")
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return None if hidden or not path.parts else path


def _copy(archive: Path, member: Member, source: IO[bytes], target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with source, target.open("xb") as out:
            shutil.copyfileobj(source, out, _COPY_BYTES)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as exc:
        raise DataError(
            f"{archive}: holds {_shown(member)} twice, or a file as a folder as well; not unpacked."
        ) from exc
    except OSError as exc:
        if exc.errno != errno.ENAMETOOLONG:
            raise
        raise DataError(
            f"{archive}: {_shown(member)} is a longer name than a file may have; not unpacked."
        ) from exc


def _shown(member: Member) -> str:
    return one_line(member.name, 80)


@contextmanager
def _readable(archive: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except (
        *(zipfile.BadZipFile, zipfile.LargeZipFile, tarfile.TarError),
        *(zlib.error, lzma.LZMAError, EOFError, RuntimeError, NotImplementedError, ValueError),
    ) as exc:
        why = one_line(str(exc), 100)
        raise DataError(f"{archive}: is damaged or cut off: {why}.") from exc
    except OSError as exc:
        if exc.errno is None:  # what gzip and bz2 say of bytes that are none of theirs
            raise DataError(f"{archive}: is damaged or cut off: {exc}.") from exc
        raise


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[Iterator[Member], Any]]:
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            yield _zip_members(archive, packed), lambda member: packed.open(member.handle)
        return
    with _tar_bytes(archive) as data:
        # "r:": the bytes are unpacked by us, so that a header cannot make tarfile read for ever.
        tar = tarfile.open(fileobj=cast("IO[bytes]", _Bounded(archive, data)), mode="r:")  # noqa: SIM115
        with tar:
            yield _tar_members(tar), lambda member: tar.extractfile(member.handle)


def _zip_members(archive: Path, packed: zipfile.ZipFile) -> Iterator[Member]:
    for info in packed.infolist():
        if info.flag_bits & 0x1:
            raise DataError(f"{archive}: is encrypted; unpack it yourself and name the folder.")
        mode = stat.S_IFMT(info.external_attr >> 16)
        plain = mode in (0, stat.S_IFREG) or (info.is_dir() and mode == stat.S_IFDIR)
        kind = "" if plain else "a link or a device"
        yield Member(info.filename, info.file_size, info.is_dir(), kind, info)


def _tar_members(tar: tarfile.TarFile) -> Iterator[Member]:
    for info in tar:
        # A growing list of what was seen is no use here, and a million entries are a gigabyte.
        tar.members = []  # type: ignore[attr-defined]
        if info.issym() or info.islnk():
            kind = "a link"
        elif info.issparse():
            kind = "a file with holes"
        else:
            kind = "" if info.isreg() or info.isdir() else "a device or a pipe"
        yield Member(info.name, info.size, info.isdir(), kind, info)


def _tar_bytes(archive: Path) -> IO[bytes]:
    """The tar's bytes, unpacked by what its first bytes say."""
    with archive.open("rb") as file:
        first = file.read(6)
    if first.startswith(b"\x1f\x8b"):
        import gzip

        return cast("IO[bytes]", gzip.open(archive))
    if first.startswith(b"\xfd7zXZ"):
        return cast("IO[bytes]", lzma.open(archive))
    if first.startswith(b"BZh"):
        import bz2

        return cast("IO[bytes]", bz2.open(archive))
    return archive.open("rb")


class _Bounded:
    """A file that refuses to be read in one gulp, as a header of gigabytes would have it."""

    def __init__(self, archive: Path, file: IO[bytes]) -> None:
        self._archive = archive
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_HEADER_BYTES:
            raise DataError(f"{self._archive}: has a header of {size} bytes; not unpacked.")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()
