"""A bundle that is one file, as a folder: unpacked, and decrypted where it is encrypted."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edge_runtime.archive import extract_bundle

_ENCRYPTED = ".age"


def unpacking_folder(path: Path) -> Path:
    """A new folder for it; in memory for what is encrypted, where there is room."""
    if path.suffix != _ENCRYPTED:
        return Path(tempfile.mkdtemp(prefix="edgeproof-"))
    from edge_runtime.trust.encryption import memory_for

    return Path(tempfile.mkdtemp(prefix="edgeproof-", dir=memory_for(path.stat().st_size)))


def unpack(path: Path, folder: Path) -> None:
    """Unpack it there.

    Raises:
        BundleError: when it is no bundle, damaged, unsafe, or cannot be decrypted here.
        TrustError: when there is no key to decrypt it with.
    """
    if path.suffix != _ENCRYPTED:
        extract_bundle(path, folder)
        return
    from edge_runtime.trust.encryption import decrypted

    with decrypted(path) as packed:
        extract_bundle(packed, folder)
