"""A bundle's signature, `model.sig`: over the hash of every file, made and checked.

The format and the work are OpenSSF model signing's (the package model-signing, extra `sign`), so
that its own tools, too, make and check it.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_runtime.errors import BundleError, TrustError
from edge_runtime.files import staged_file
from edge_runtime.text import one_line
from edge_runtime.trust.keys import is_certificate

SIGNATURE_NAME = "model.sig"
MAX_SIGNATURE_BYTES = 4 << 20
_MAX_FILES = 1000
_MAX_TOTAL_BYTES = 4 << 30


def sign_folder(
    folder: Path,
    private_key: Path,
    *,
    password: str | None = None,
    certificate: Path | None = None,
    chain: Sequence[Path] = (),
) -> Path:
    """Sign every file of a folder; the signature's file.

    Args:
        private_key: PEM, of an elliptic curve (P-256, P-384 or P-521).
        password: of the private key, if it has one.
        certificate: for that key; then the signature carries it, with its `chain`.

    Raises:
        TrustError: when the key cannot sign, or the package is missing.
        StorageError: when the signature cannot be written.
    """
    with _library():
        from model_signing import signing

    _require_plain(folder, str(folder))
    given, folder = folder, folder.resolve()
    config = signing.Config()
    try:
        if certificate is not None:
            config.use_certificate_signer(
                private_key=private_key, signing_certificate=certificate, certificate_chain=chain
            )
        else:
            # The library's own type is wrong: cryptography takes bytes.
            secret: Any = password.encode() if password else None
            config.use_elliptic_key_signer(private_key=private_key, password=secret)
    except OSError as exc:
        raise TrustError(f"{exc.filename}: cannot be read: {exc.strerror}.") from exc
    except Exception as exc:
        raise TrustError(f"{private_key}: cannot sign: {one_line(str(exc))}.") from exc
    final = folder / SIGNATURE_NAME
    config.set_hashing_config(_hashing(folder))
    with tempfile.TemporaryDirectory(prefix="edgeproof-") as other:
        # Not beside the files: it would be among what is signed.
        made = Path(other) / SIGNATURE_NAME
        config.sign(folder, made)
        data = made.read_bytes()
    with staged_file(final) as part:
        part.write_bytes(data)
    return given / SIGNATURE_NAME


def check_signature(folder: Path, keys: Sequence[Path], name: str) -> Mapping[str, str]:
    """Hold every file of a folder against its signature, before anything in it is parsed.

    Args:
        keys: public keys and certificates; the signature of one of them is enough.
        name: what an error calls the bundle.

    Returns:
        SHA-256 of every signed file, by its path.

    Raises:
        BundleError: when it is unsigned, signed by another, or differs in any byte or file.
        TrustError: when the package is missing: what cannot be checked is not opened.
    """
    with _library():
        from model_signing import verifying

    # The library takes a relative path that it shall ignore for one inside the folder, and no link
    # for a folder: what the user named may be one.
    folder = folder.resolve()
    _require_plain(folder, name)
    data = _read_signature(folder / SIGNATURE_NAME, name)
    why: list[str] = []
    with tempfile.TemporaryDirectory(prefix="edgeproof-") as other:
        copy = Path(other) / SIGNATURE_NAME  # what is checked is what is read below
        copy.write_bytes(data)
        for key in keys:
            config = verifying.Config().set_hashing_config(_hashing(folder))
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    if is_certificate(key):
                        config.use_certificate_verifier(certificate_chain=[key])
                    else:
                        config.use_elliptic_key_verifier(public_key=key)
                    config.verify(folder, copy)
            except Exception as exc:  # whatever it says of hostile input: not verified
                why.append(f"by {key.name}: {_plain(exc)}")
                continue
            return _signed_hashes(data, name)
    raise BundleError(f"{name}: its signature is not one that is trusted here: {'; '.join(why)}.")


def _hashing(folder: Path) -> Any:
    from model_signing import hashing

    config = hashing.Config().use_file_serialization(
        hashing_algorithm="sha256", allow_symlinks=False
    )
    return config.set_ignored_paths(paths=[folder / SIGNATURE_NAME], ignore_git_paths=False)


def _signed_hashes(data: bytes, name: str) -> dict[str, str]:
    """What a verified signature says of each file."""
    try:
        payload = json.loads(base64.b64decode(json.loads(data)["dsseEnvelope"]["payload"]))
        files = payload["predicate"]["resources"]
        return {str(file["name"]): str(file["digest"]) for file in files}
    except (KeyError, TypeError, ValueError) as exc:
        raise BundleError(f"{name}: {SIGNATURE_NAME} lists no files; sign it again.") from exc


def _read_signature(file: Path, name: str) -> bytes:
    if file.is_symlink() or not file.is_file():
        raise BundleError(
            f"{name}: is not signed, and this device opens only what is signed by a key that it "
            "trusts; edgeproof sign."
        )
    if file.stat().st_size > MAX_SIGNATURE_BYTES:
        raise BundleError(f"{name}: {SIGNATURE_NAME} is larger than any signature; not opened.")
    return file.read_bytes()


def _require_plain(folder: Path, name: str) -> None:
    """Nothing that would make hashing hang, leave the folder or never end."""
    count = total = 0
    for parent, folders, files in os.walk(folder):
        for entry in (*folders, *files):
            path = Path(parent) / entry
            count += 1
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                where = path.relative_to(folder)
                raise BundleError(f"{name}: {where} is no plain file; not opened.")
            total += path.stat().st_size if path.is_file() else 0
        if count > 2 * _MAX_FILES or total > _MAX_TOTAL_BYTES:
            raise BundleError(f"{name}: holds more than any bundle; not opened.")


def _plain(exc: Exception) -> str:
    text = one_line(str(exc), 200)
    if "Key mismatch" in text or type(exc).__name__ == "InvalidSignature":
        return "signed by another key"
    return text.rstrip(".") or type(exc).__name__


@contextlib.contextmanager
def _library() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as exc:
        raise TrustError(
            f"signatures need {exc.name}, which is not installed: pip install 'edgeproof[sign]'"
        ) from exc
