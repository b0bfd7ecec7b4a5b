"""How much the cache holds, and what goes when it is too much."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.leftovers import remove_abandoned

MAX_BYTES = 64 << 30
# A cache that fills a small disk would be the user's next problem.
MAX_SHARE = 4


@dataclass(frozen=True)
class Holding:
    """One thing that is kept.

    Attributes:
        used: when it was last used, in seconds since 1970.
    """

    folder: Path
    size_bytes: int
    used: float


def default_limit_bytes(folder: Path) -> int:
    """64 GiB, or a quarter of the disk where that is less."""
    there = next(p for p in [folder, *folder.parents] if p.exists())
    return min(MAX_BYTES, shutil.disk_usage(there).total // MAX_SHARE)


def holdings(folder: Path) -> list[Holding]:
    """What lies in a folder of the cache, the longest unused first."""
    return sorted(_holdings(folder), key=lambda holding: holding.used)


def _holdings(folder: Path) -> Iterator[Holding]:
    if not folder.is_dir():
        return
    for each in folder.iterdir():
        # One that another process removes meanwhile is none.
        with contextlib.suppress(OSError):
            if each.is_dir() and not each.name.startswith("."):
                files = [file.stat() for file in each.rglob("*") if file.is_file()]
                size = sum(stat.st_size for stat in files)
                yield Holding(each, size, each.stat().st_mtime)


def touch(folder: Path) -> None:
    """Note that it is used now."""
    with contextlib.suppress(OSError):  # on a disk that is read-only, nothing is removed either
        os.utime(folder)


def trim(folder: Path, limit_bytes: int) -> list[Holding]:
    """Remove what was longest unused until no more than the limit is left; gives what went."""
    if folder.is_dir():
        remove_abandoned(folder, ".*.part")
    kept = holdings(folder)
    total = sum(holding.size_bytes for holding in kept)
    gone = []
    for holding in kept:
        if total <= limit_bytes:
            break
        if remove(holding.folder):
            total -= holding.size_bytes
            gone.append(holding)
    return gone


def remove(folder: Path) -> bool:
    """Take a thing out of the cache; half of it is never seen under its name."""
    gone = folder.with_name(f".{folder.name}.gone.part")
    try:
        folder.rename(gone)
    except OSError:
        return False
    shutil.rmtree(gone, ignore_errors=True)
    return True
