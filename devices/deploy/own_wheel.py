"""edgeproof itself as a wheel, made of what runs here: the device gets this version, not another.

Made from the files that are imported, whether they were installed or lie in a checkout; the same
files give the same bytes, so that an unchanged edgeproof is not sent again.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import importlib.util
import zipfile
from collections.abc import Iterator
from pathlib import Path

from devices.deploy.errors import DeployError

NAME = "edgeproof"
_LIST = "top_level.txt"


def write_own_wheel(folder: Path) -> Path:
    """Write `edgeproof-VERSION-py3-none-any.whl` into a folder.

    Raises:
        DeployError: when edgeproof is not installed here, as in a copy of its files.
    """
    try:
        found = importlib.metadata.distribution(NAME)
    except importlib.metadata.PackageNotFoundError as exc:
        raise DeployError("edgeproof is not installed here: pip install it, then deploy.") from exc
    info = f"{NAME}-{found.version}.dist-info"
    wheel = folder / f"{NAME}-{found.version}-py3-none-any.whl"
    files = dict(_code(found.read_text(_LIST) or ""))
    # Started in a checkout, Python finds its egg-info first, where the same text is PKG-INFO.
    metadata = found.read_text("METADATA") or found.read_text("PKG-INFO")
    if not metadata:
        raise DeployError("edgeproof's own metadata is missing here; install edgeproof again.")
    files[f"{info}/METADATA"] = metadata.encode()
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: edgeproof\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    files[f"{info}/entry_points.txt"] = (found.read_text("entry_points.txt") or "").encode()
    files[f"{info}/{_LIST}"] = (found.read_text(_LIST) or "").encode()
    record = f"{info}/RECORD"
    lines = [_record_line(name, data) for name, data in files.items()]
    files[record] = "".join([*lines, f"{record},,\n"]).encode()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(entry, data)
    return wheel


def known_extras() -> frozenset[str]:
    """Of the edgeproof that is installed here."""
    try:
        found = importlib.metadata.metadata(NAME).get_all("Provides-Extra")
    except importlib.metadata.PackageNotFoundError:
        return frozenset()
    return frozenset(found or ())


def _code(names: str) -> Iterator[tuple[str, bytes]]:
    for name in sorted(names.split()):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise DeployError(f"{name}: cannot be found here; install edgeproof again.")
        origin = Path(spec.origin)
        if not spec.submodule_search_locations:
            yield origin.name, origin.read_bytes()
            continue
        for file in sorted(origin.parent.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                yield f"{name}/{file.relative_to(origin.parent).as_posix()}", file.read_bytes()


def _record_line(name: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}\n"
