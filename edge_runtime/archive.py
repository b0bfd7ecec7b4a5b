"""A bundle as one `.zip`, packed, and unpacked as a hostile file."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path

from edge_runtime.errors import BundleError
from edge_runtime.manifest import MAX_MODEL_BYTES, safe_relative_path

MAX_FILES = 1000
MAX_TOTAL_BYTES = 2 * MAX_MODEL_BYTES


def pack_bundle(folder: Path, archive: Path) -> None:
    """Write every file of a bundle folder into `archive`. Models hardly compress: stored is fine.

    Raises:
        OSError: when the archive cannot be written.
    """
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                packed.write(file, file.relative_to(folder).as_posix())


def extract_bundle(archive: Path, folder: Path) -> None:
    """Unpack a bundle's `.zip` into an empty folder.

    Raises:
        BundleError: when it is no zip, damaged, too large, or holds a path that leads out of the
            folder, a link, or anything else that is not a plain file.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            members = [m for m in packed.infolist() if not m.is_dir()]
            _require_harmless(archive, members)
            for member in members:
                target = folder / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(member) as source, target.open("xb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as exc:
        raise BundleError(f"{archive}: not a readable zip: {exc}; copy the bundle again.") from exc
    except OSError as exc:
        raise BundleError(f"{archive}: cannot be unpacked: {exc.strerror or exc}.") from exc


def _require_harmless(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MAX_FILES or sum(m.file_size for m in members) > MAX_TOTAL_BYTES:
        raise BundleError(f"{archive}: holds more than any bundle; not unpacked.")
    for member in members:
        try:
            safe_relative_path(member.filename)
        except ValueError as exc:
            raise BundleError(f"{archive}: {exc}; not unpacked.") from exc
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise BundleError(f"{archive}: {member.filename} is not a plain file; not unpacked.")
        if member.flag_bits & 0x1:
            raise BundleError(f"{archive}: is encrypted; unpack it first.")
