"""Whether a model is still the one that was looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from converters.errors import RunError
from edge_runtime.files import sha256_file


def fingerprint(path: Path, beside: Iterable[Path] = ()) -> str:
    """SHA-256 of a file; of a folder, and of files beside, that of all their hashes by name."""
    parts = [path, *beside]
    if path.is_file() and len(parts) == 1:
        return sha256_file(path)
    whole = hashlib.sha256()
    for part in parts:
        files = [part] if part.is_file() else sorted(p for p in part.rglob("*") if p.is_file())
        for file in files:
            name = file.relative_to(part.parent).as_posix()
            whole.update(f"{sha256_file(file)}  {name}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()


def require_same(path: Path, wanted: str, beside: Iterable[Path] = ()) -> None:
    """Raises RunError when a model is not the one of that fingerprint; empty says nothing."""
    if wanted and fingerprint(path, beside) != wanted:
        raise changed(path)


def checked_bytes(path: Path, wanted: str) -> bytes:
    """A file's content. Raises RunError when it is not of that fingerprint; empty says nothing."""
    content = path.read_bytes()
    if wanted and hashlib.sha256(content).hexdigest() != wanted:
        raise changed(path)
    return content


def changed(path: Path) -> RunError:
    return RunError(f"{path}: was changed while it was being looked at; nothing of it was used.")
