"""Encryption of what is kept, in the age format: the device has public keys only.

Who steals the device or its card can read nothing that was kept before; nor can the device itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_runtime.errors import OptionError, SinkError, StorageError

SUFFIX = ".age"
_MOST_BYTES = 1 << 16
_INSTALL = "needs pyrage, which is not installed: pip install 'edgeproof[age]'"


class Seal:
    """Encrypts to the recipients of a file."""

    def __init__(self, recipients: Path) -> None:
        """Args:
            recipients: one `age1...` or `ssh-ed25519 ...` a line; `#` begins a comment.

        Raises:
            OptionError: when it cannot be read, or holds no public key, or a private one.
            SinkError: when pyrage is not installed.
        """
        try:
            import pyrage
        except ModuleNotFoundError as exc:
            raise SinkError(f"--encrypt-to {_INSTALL}") from exc
        self._encrypt = pyrage.encrypt
        self._keys = [_recipient(pyrage, recipients, line) for line in _key_lines(recipients)]
        if not self._keys:
            raise OptionError(f"{recipients}: holds no public key (age1... or ssh-ed25519 ...).")

    def close(self, data: bytes) -> bytes:
        """The encrypted data."""
        return bytes(self._encrypt(data, self._keys))


class Opener:
    """Decrypts with the private keys of a file."""

    def __init__(self, identities: Path) -> None:
        """Args:
            identities: `AGE-SECRET-KEY-1...` lines, as age-keygen writes them, or an OpenSSH
                private key without a passphrase.

        Raises:
            OptionError: when it cannot be read or holds no private key.
            SinkError: when pyrage is not installed.
        """
        try:
            import pyrage
        except ModuleNotFoundError as exc:
            raise SinkError(f"unseal {_INSTALL}") from exc
        self._pyrage = pyrage
        self._keys = _identities(pyrage, identities)

    def open(self, file: Path, most_bytes: int) -> bytes:
        """Decrypt a file.

        Raises:
            StorageError: when it is too large, not for these keys, or damaged.
        """
        try:
            if file.stat().st_size > most_bytes:
                raise StorageError(f"{file}: is larger than {most_bytes >> 20} MiB.")
            return bytes(self._pyrage.decrypt(file.read_bytes(), self._keys))
        except OSError as exc:
            if isinstance(exc, StorageError):
                raise
            raise StorageError(f"{file}: cannot be read: {exc.strerror}.") from exc
        except Exception as exc:  # pyrage has several, without a common root
            raise StorageError(f"{file}: not for this key, or damaged ({exc}).") from exc


def _key_lines(file: Path) -> list[str]:
    lines = [line.strip() for line in _text_of(file).splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _text_of(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise OptionError(f"{file}: is larger than any file of keys.")
        return data.decode()
    except OSError as exc:
        raise OptionError(f"{file}: cannot be read: {exc.strerror or exc}.") from exc
    except UnicodeDecodeError as exc:
        raise OptionError(f"{file}: is no text.") from exc


def _recipient(pyrage: Any, file: Path, line: str) -> Any:
    if "SECRET-KEY" in line.upper() or "PRIVATE KEY" in line.upper():
        raise OptionError(
            f"{file}: holds a private key. Keep that off this device; here belongs the public one, "
            "age1..., which age-keygen -y prints."
        )
    try:
        if line.startswith("ssh-"):
            return pyrage.ssh.Recipient.from_str(line)
        return pyrage.x25519.Recipient.from_str(line)
    except Exception as exc:  # pyrage's, without a common root
        raise OptionError(f"{file}: {line[:12]!r}... is no public key of age or SSH.") from exc


def _identities(pyrage: Any, file: Path) -> Sequence[Any]:
    text = _text_of(file)
    try:
        if "PRIVATE KEY-----" in text:
            return [pyrage.ssh.Identity.from_buffer(text.encode())]
        keys = [pyrage.x25519.Identity.from_str(line) for line in _key_lines(file)]
    except OptionError:
        raise
    except Exception as exc:  # never with the text: it is a secret
        raise OptionError(f"{file}: holds no private key of age or SSH.") from exc
    if not keys:
        raise OptionError(f"{file}: holds no private key of age or SSH.")
    return keys
