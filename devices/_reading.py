"""Read small files that may be missing, locked, endless or garbage, without ever raising."""

from __future__ import annotations

import os
import stat
from pathlib import Path

# A pebibyte: no machine that runs this has more.
MOST_MEMORY_KIB = 1 << 40
TEXT_CHARS = 200  # a model or CPU name longer than this is garbage; keep tables readable


def read_bytes(path: Path, limit_bytes: int = 4096) -> bytes:
    """First `limit_bytes` of a regular file; empty when it cannot be read.

    Pipes and device nodes are not read: that could wait for ever.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:  # takes an opener
            is_regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            return file.read(limit_bytes) if is_regular else b""
    except (OSError, ValueError):
        return b""


def is_file(path: Path) -> bool:
    """Whether it is a file that may be looked at; a folder that is locked hides what is in it."""
    try:
        return path.is_file()
    except OSError:  # before Python 3.14 only what is absent is no error
        return False


def _without_waiting(path: str, flags: int) -> int:
    # A pipe that nobody writes to would hold up its opening already.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def clean(raw: bytes | str) -> str | None:
    """One printable line of at most 200 characters; None when nothing is left.

    Bytes end at the first NUL, as device-tree strings do. Characters that do not print (and so
    could drive a terminal) are dropped.
    """
    if isinstance(raw, bytes):
        raw = raw.split(b"\0", 1)[0].decode("utf-8", errors="replace")
    text = "".join(c for c in raw if c.isprintable() and c != "\N{REPLACEMENT CHARACTER}")
    return " ".join(text.split())[:TEXT_CHARS].strip() or None


def read_text(path: Path) -> str | None:
    """The file's first string as one printable line; None when there is none."""
    return clean(read_bytes(path))


def whole_number(text: str | None) -> int | None:
    """A plain decimal number of at most 18 digits; None for anything else."""
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def names_in(folder: Path, limit: int = 1024) -> list[str]:
    """Names of a folder's entries, sorted; empty when it cannot be read."""
    names: list[str] = []
    try:
        for entry in folder.iterdir():
            names.append(entry.name)
            if len(names) == limit:
                break
    except (OSError, ValueError):
        return []
    return sorted(names)
