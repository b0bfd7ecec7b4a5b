"""Whom this device trusts: public keys and certificates that its configuration names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from edge_runtime.errors import TrustError

SYSTEM_FOLDER = Path("/etc/edgeproof/trusted")
VARIABLE = "EDGEPROOF_TRUSTED"
MAX_KEY_BYTES = 1 << 20


def trusted_keys(
    environment: Mapping[str, str] = os.environ, system_folder: Path = SYSTEM_FOLDER
) -> tuple[Path, ...]:
    """Every `*.pem` that says whom to trust; empty where nobody configured any.

    The system's folder, which an administrator fills, comes first: where it has keys, no user adds
    others. Then the user's, `~/.config/edgeproof/trusted`, and what EDGEPROOF_TRUSTED names.

    Raises:
        TrustError: when a place is there that cannot be read or holds no key: to trust nobody in
            particular would be to trust everybody.
    """
    if found := _pems(system_folder):
        return found
    user = _user_folder(environment)
    named = environment.get(VARIABLE, "")
    keys = _pems(user) if user else ()
    if named:
        keys = (*keys, *_named(Path(named)))
    return keys


def require_key(file: Path) -> Path:
    """A public key or certificate that the user named.

    Raises:
        TrustError: when there is no such file, or it cannot be one.
    """
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_KEY_BYTES + 1)
    except OSError as exc:
        raise TrustError(f"{file}: cannot be read: {exc.strerror}.") from exc
    if len(text) > MAX_KEY_BYTES or b"-----BEGIN " not in text:
        raise TrustError(f"{file}: is no key or certificate in PEM format.")
    if b"PRIVATE KEY" in text:
        raise TrustError(f"{file}: is a private key; a device has the public one only.")
    return file


def is_certificate(file: Path) -> bool:
    """Whether a PEM file holds certificates, not a bare key."""
    return b"-----BEGIN CERTIFICATE-----" in file.read_bytes()


def _user_folder(environment: Mapping[str, str]) -> Path | None:
    config = Path(environment.get("XDG_CONFIG_HOME", ""))
    if config.is_absolute():
        return config / "edgeproof" / "trusted"
    home = environment.get("HOME", "")
    return Path(home) / ".config" / "edgeproof" / "trusted" if home else None


def _named(place: Path) -> tuple[Path, ...]:
    return _pems(place) if place.is_dir() else (require_key(place),)


def _pems(folder: Path) -> tuple[Path, ...]:
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 it says why it cannot
    except OSError as exc:
        # A link into a disk that is not mounted is there, and names nobody that could be trusted.
        if isinstance(exc, FileNotFoundError) and not os.path.lexists(folder):
            return ()
        raise TrustError(f"{folder}: cannot be read: {exc.strerror}; no bundle is opened.") from exc
    keys = tuple(require_key(folder / name) for name in names if name.endswith(".pem"))
    if not keys:
        raise TrustError(
            f"{folder}: there is no *.pem; nothing can be trusted. Put a public key there, or take "
            "the folder away."
        )
    return keys
