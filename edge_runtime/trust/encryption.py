"""Bundles encrypted with age: unreadable at rest and on the way, whole or refused.

An encrypted bundle is one file, `NAME.bundle.age`: the bundle's `.zip`, encrypted to the public
keys of devices. The `age` program and its keys (`age-keygen`) do the same.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from edge_runtime.archive import MAX_TOTAL_BYTES, pack_bundle
from edge_runtime.errors import BundleError, TrustError
from edge_runtime.files import staged_file

SUFFIX = ".age"
VARIABLE = "EDGEPROOF_IDENTITY"
CREDENTIAL = "edgeproof-identity"
_CREDENTIALS = "CREDENTIALS_DIRECTORY"
SYSTEM_FILE = Path("/etc/edgeproof/identity.txt")
_MAX_KEY_BYTES = 64 << 10
_MEMORY = Path("/dev/shm")


def encrypt_bundle(folder: Path, final: Path, recipients: Sequence[str]) -> None:
    """Pack a bundle's folder and encrypt it.

    Args:
        recipients: public keys, `age1...`: any one of their owners can read it.

    Raises:
        TrustError: when one is no key, or the package is missing.
        StorageError: when it cannot be written.
    """
    pyrage = _library()
    keys = [_recipient(pyrage, text) for text in recipients]
    with private_folder(_size(folder)) as private, staged_file(final) as part:
        packed = private / "bundle.zip"
        pack_bundle(folder, packed)
        with packed.open("rb") as source, part.open("wb") as out:
            pyrage.encrypt_io(source, out, keys)


@contextlib.contextmanager
def decrypted(file: Path, environment: Mapping[str, str] = os.environ) -> Iterator[Path]:
    """The `.zip` of an encrypted bundle, for as long as the body runs.

    Raises:
        BundleError: when it is no such file, altered in any byte, or not for this device.
        TrustError: when this device has no key of its own.
    """
    pyrage = _library()
    identities = _identities(pyrage, environment)
    with private_folder(file.stat().st_size) as private:
        packed = private / "bundle.zip"
        try:
            with file.open("rb") as source, packed.open("wb") as out:
                pyrage.decrypt_io(source, _Bounded(out, file), identities)
        except BundleError:
            raise
        except Exception as exc:  # its own kinds, and OSError for a stream cut short
            why = str(exc) or type(exc).__name__
            raise BundleError(
                f"{file}: cannot be decrypted here: altered, or encrypted for others ({why})."
            ) from exc
        yield packed


@contextlib.contextmanager
def private_folder(size: int) -> Iterator[Path]:
    """A folder that only this user may look into; in memory, where there is room."""
    folder = Path(tempfile.mkdtemp(prefix="edgeproof-", dir=memory_for(size)))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def recipients_of(text: str) -> list[str]:
    """`age1...`, or the keys of a file, one a line.

    Raises:
        TrustError: when it is neither.
    """
    if text.startswith("age1"):
        return [text]
    lines = _key_lines(Path(text))
    if not lines:
        raise TrustError(f"{text}: holds no public key (age1...).")
    return lines


def identity_file(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Where this device's own key lies: the first that is there.

    EDGEPROOF_IDENTITY names it; else systemd's credential `edgeproof-identity`, the user's
    `~/.config/edgeproof/identity.txt`, the system's `/etc/edgeproof/identity.txt`.
    """
    if named := environment.get(VARIABLE):
        return Path(named)
    places = [SYSTEM_FILE]
    config = environment.get("XDG_CONFIG_HOME") or f"{environment.get('HOME', '')}/.config"
    places.insert(0, Path(config) / "edgeproof" / "identity.txt")
    if credentials := environment.get(_CREDENTIALS):
        places.insert(0, Path(credentials) / CREDENTIAL)
    return next((place for place in places if place.is_file()), None)


class _Bounded:
    """A file that refuses more than any bundle: what comes out is not known beforehand."""

    def __init__(self, out: IO[bytes], name: Path) -> None:
        self._out, self._name, self._left = out, name, MAX_TOTAL_BYTES

    def write(self, data: bytes) -> int:
        self._left -= len(data)
        if self._left < 0:
            raise BundleError(f"{self._name}: holds more than any bundle; not decrypted.")
        return self._out.write(data)

    def flush(self) -> None:
        self._out.flush()


def _identities(pyrage: Any, environment: Mapping[str, str]) -> list[Any]:
    file = identity_file(environment)
    if file is None:
        raise TrustError(
            "this bundle is encrypted, and this device has no key: age-keygen -o "
            "~/.config/edgeproof/identity.txt, then encrypt to its public key."
        )
    lines = _key_lines(file)
    # systemd keeps its credentials itself, with an access list, which shows as a group's right.
    kept = file.parent == Path(environment.get(_CREDENTIALS) or "/nowhere")
    if file.stat().st_mode & 0o077 and not kept:
        raise TrustError(f"{file}: others may read this private key: chmod 600 {file}")
    try:
        return [pyrage.x25519.Identity.from_str(line) for line in lines]
    except Exception as exc:
        raise TrustError(f"{file}: holds no age key (AGE-SECRET-KEY-1...).") from exc


def _recipient(pyrage: Any, text: str) -> Any:
    try:
        return pyrage.x25519.Recipient.from_str(text)
    except Exception as exc:
        raise TrustError(f"{text[:80]!r}: is no age public key (age1...).") from exc


def _key_lines(file: Path) -> list[str]:
    try:
        with file.open("rb") as opened:
            text = opened.read(_MAX_KEY_BYTES).decode("utf-8", errors="replace")
    except OSError as exc:
        raise TrustError(f"{file}: cannot be read: {exc.strerror}.") from exc
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def memory_for(size: int) -> Path | None:
    """A place that is not on a disk; None where there is none, or not room for it thrice."""
    try:
        roomy = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > 3 * size
    except OSError:
        return None
    return _MEMORY if roomy else None


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _library() -> Any:
    try:
        import pyrage
    except ModuleNotFoundError as exc:
        raise TrustError(
            "encrypted bundles need pyrage, which is not installed: pip install 'edgeproof[age]'"
        ) from exc
    return pyrage
