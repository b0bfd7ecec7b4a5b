"""Opening a bundle: nothing in it is parsed before its hash has been checked."""

from __future__ import annotations

import hashlib
import os
import shutil
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.clip import Clip
from edge_runtime.errors import BundleError, StorageError, VariantError
from edge_runtime.files import sha256_file
from edge_runtime.head import AS_THEY_ARE, Head
from edge_runtime.manifest import (
    MANIFEST_HASH_NAME,
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    FileEntry,
    Manifest,
    Variant,
    parse_manifest,
)
from edge_runtime.preprocess import Preprocess
from edge_runtime.text import printable
from edge_runtime.trust.keys import trusted_keys
from edge_runtime.unpacking import unpack, unpacking_folder


@dataclass(frozen=True, eq=False)
class Bundle:
    """A trained model in every variant, with its labels, input description and proof.

    Attributes:
        path: what the user named: a folder or a `.zip`.
        folder: where the files lie; for a `.zip` a temporary folder that goes with this object.
    """

    path: Path
    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path, *, signed_by: Sequence[Path] | None = None) -> Bundle:
        """Open a bundle folder, `.zip` or encrypted `.age` and check its manifest.

        Model files are checked when they are asked for (`checked_file`), all at once by
        `check_files`. Where a signature is demanded, every file is held against it first.

        Args:
            signed_by: public keys or certificates, one of which must have signed it; `None`: those
                that this device trusts, if it names any; empty: nobody need have.

        Raises:
            BundleError: when there is no bundle, it is damaged, unsafe, of a newer schema, or not
                signed as demanded.
            TrustError: when a key that is needed cannot be read.
        """
        path = Path(path)
        keys = trusted_keys() if signed_by is None else signed_by
        if path.is_dir():
            return cls(path, path, _read_manifest(path, str(path), keys))
        if not path.is_file():
            raise BundleError(f"{path}: no such bundle; `edgeproof convert` makes one.")
        folder = unpacking_folder(path)
        try:
            unpack(path, folder)
            bundle = cls(path, folder, _read_manifest(folder, str(path), keys))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        weakref.finalize(bundle, shutil.rmtree, folder, ignore_errors=True)
        return bundle

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def labels(self) -> tuple[str, ...]:
        return self.manifest.labels

    @property
    def preprocess(self) -> Preprocess:
        return self.manifest.preprocess

    @property
    def clip(self) -> Clip | None:
        return self.manifest.clip

    @property
    def head(self) -> Head:
        """What output tensors mean; of raw tensors, one that leaves numbers as they are."""
        return self.manifest.head or AS_THEY_ARE

    @property
    def variants(self) -> tuple[Variant, ...]:
        return self.manifest.variants

    def variant(self, name: str) -> Variant:
        """The variant of that name, such as `tflite-int8`.

        Raises:
            VariantError: when the bundle does not hold it.
        """
        for variant in self.variants:
            if variant.name == name:
                return variant
        known = ", ".join(variant.name for variant in self.variants)
        raise VariantError(f"{self.path}: holds no variant {name!r}; it holds {known}.")

    def checked_file(self, entry: FileEntry) -> Path:
        """Where a file of the bundle lies, after checking its size and hash.

        Raises:
            BundleError: when it is missing, of another size or hash, or leads out of the bundle.
        """
        file = self.folder / entry.path
        where = f"{self.path}: {entry.path}"
        try:
            inside = file.resolve().is_relative_to(self.folder.resolve())
        except (OSError, RuntimeError):  # a link to itself; RuntimeError up to Python 3.12
            inside = False
        if not inside:
            raise BundleError(f"{where}: is a link that leads out of the bundle; not opened.")
        if not file.is_file():
            raise BundleError(f"{where}: is missing; copy the bundle again.")
        size = file.stat().st_size
        if size != entry.bytes:
            raise BundleError(
                f"{where}: has {size} bytes instead of {entry.bytes}; copy the bundle again."
            )
        if sha256_file(file) != entry.sha256:
            raise BundleError(
                f"{where}: is damaged or was changed (its SHA-256 differs); copy the bundle again."
            )
        return file

    def check_files(self) -> None:
        """Check every file of the bundle.

        Raises:
            BundleError: at the first that is missing or changed.
        """
        for entry in self.manifest.files:
            self.checked_file(entry)

    def require_nothing_else(self) -> None:
        """Demand that the folder holds the bundle's files and no others.

        Raises:
            BundleError: naming the first that is no part of the bundle.
        """
        from edge_runtime.trust.signature import SIGNATURE_NAME

        listed = {entry.path for entry in self.manifest.files}
        listed |= {MANIFEST_NAME, MANIFEST_HASH_NAME, SIGNATURE_NAME}
        for parent, folders, files in os.walk(self.folder):
            links = (name for name in folders if (Path(parent) / name).is_symlink())
            for name in sorted((*files, *links)):
                path = (Path(parent) / name).relative_to(self.folder).as_posix()
                if path not in listed:
                    raise BundleError(
                        f"{self.path}: {printable(path)} is no part of the bundle; take it away."
                    )


def manifest_hash_line(manifest_json: bytes) -> str:
    """The content of `bundle.sha256`; `sha256sum -c bundle.sha256` understands it."""
    return f"{hashlib.sha256(manifest_json).hexdigest()}  {MANIFEST_NAME}\n"


def _read_manifest(folder: Path, name: str, keys: Sequence[Path]) -> Manifest:
    signed: Mapping[str, str] | None = None
    if keys:
        from edge_runtime.trust.signature import check_signature

        signed = check_signature(folder, keys, name)
    data = _read_small(folder / MANIFEST_NAME, name)
    line = _read_small(folder / MANIFEST_HASH_NAME, name)
    if line != manifest_hash_line(data).encode():
        raise BundleError(
            f"{name}: {MANIFEST_NAME} is damaged or was changed (it does not match "
            f"{MANIFEST_HASH_NAME}); copy the bundle again."
        )
    if signed is None:
        return parse_manifest(data, name=name)
    # What is parsed is what was signed, also if the file was changed in between.
    if hashlib.sha256(data).hexdigest() != signed.get(MANIFEST_NAME):
        raise BundleError(f"{name}: {MANIFEST_NAME} is not the one that was signed.")
    manifest = parse_manifest(data, name=name)
    listed = {entry.path: entry.sha256 for entry in manifest.files}
    for path, sha256 in listed.items():
        if signed.get(path) != sha256:
            raise BundleError(f"{name}: {path} is not among what was signed.")
    for path in sorted(signed.keys() - listed.keys() - {MANIFEST_NAME, MANIFEST_HASH_NAME}):
        raise BundleError(f"{name}: {printable(path)} was signed, and is no part of the bundle.")
    return manifest


def _read_small(file: Path, name: str) -> bytes:
    try:
        if file.is_symlink() or not file.is_file():
            raise BundleError(f"{name}: not a bundle: {file.name} is missing.")
        if file.stat().st_size > MAX_MANIFEST_BYTES:
            raise BundleError(f"{name}: {file.name} is larger than any manifest; not opened.")
        return file.read_bytes()
    except OSError as exc:
        raise BundleError(f"{name}: {file.name} cannot be read: {exc.strerror}.") from exc


def require_replaceable(out: Path, *, overwrite: bool, packed: bool = False) -> None:
    """Find out before the work whether a bundle may get that name.

    Args:
        overwrite: whether a bundle that is there already gives way; nothing else does.
        packed: whether it will be one file.

    Raises:
        StorageError: when it may not.
    """
    if not out.exists():
        return
    if not overwrite:
        raise StorageError(f"{out}: exists already; choose another --out or --overwrite.")
    if not (out.is_file() if packed else (out / MANIFEST_NAME).is_file()):
        raise StorageError(f"{out}: is not a bundle; --overwrite replaces bundles only.")
