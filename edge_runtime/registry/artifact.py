"""A bundle as an OCI artifact: one blob for each file, a manifest that names them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from edge_runtime.archive import MAX_FILES, MAX_TOTAL_BYTES
from edge_runtime.bundle import Bundle, require_replaceable
from edge_runtime.errors import RegistryError
from edge_runtime.files import sha256_file, staged_folder
from edge_runtime.manifest import (
    MANIFEST_HASH_NAME,
    MANIFEST_NAME,
    MAX_MODEL_BYTES,
    safe_relative_path,
)
from edge_runtime.registry.client import (
    ARTIFACT_TYPE,
    EMPTY,
    EMPTY_TYPE,
    FILE_TYPE,
    MANIFEST_TYPE,
    Client,
)
from edge_runtime.tensors import some_outputs
from edge_runtime.text import printable
from edge_runtime.trust.encryption import SUFFIX
from edge_runtime.trust.signature import SIGNATURE_NAME

_TITLE = "org.opencontainers.image.title"
_PREFIX = "io.edgeproof"


class _Layer(BaseModel):
    model_config = ConfigDict(frozen=True)

    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0, le=MAX_MODEL_BYTES)]
    annotations: dict[str, str]

    @property
    def path(self) -> str:
        """Raises KeyError for a file without a name."""
        return self.annotations[_TITLE]


def _layers(layers: tuple[_Layer, ...]) -> tuple[_Layer, ...]:
    if sum(layer.size for layer in layers) > MAX_TOTAL_BYTES:
        raise ValueError("holds more than any bundle")
    paths = [safe_relative_path(layer.annotations.get(_TITLE, "")) for layer in layers]
    folders = {parent for path in paths for parent in _parents(path)}
    if len(set(paths)) != len(paths) or folders & set(paths):
        raise ValueError("names a file twice")
    return layers


class _Manifest(BaseModel):
    model_config = ConfigDict(frozen=True)

    schemaVersion: Literal[2]
    artifactType: Literal["application/vnd.edgeproof.bundle.v1"]
    layers: Annotated[
        tuple[_Layer, ...], Field(min_length=1, max_length=MAX_FILES), AfterValidator(_layers)
    ]


def require_unencrypted(path: Path) -> None:
    """Raises RegistryError for an encrypted bundle: opened, it would be stored in the clear."""
    if path.suffix == SUFFIX:
        raise RegistryError(
            f"{path}: is encrypted, and a registry would hold it in the clear. Bring the file to "
            "devices by `edgeproof deploy`, or push the bundle that it was made of."
        )


def push(bundle: Bundle, client: Client) -> str:
    """Store a bundle; the manifest's digest. Files that the registry has are not sent again.

    Raises:
        BundleError: when a file is missing or changed.
        RegistryError: when it is encrypted, or the registry does not take it.
    """
    require_unencrypted(bundle.path)
    bundle.check_files()
    layers = []
    for path in _files(bundle):
        file = bundle.folder / path
        digest, size = f"sha256:{sha256_file(file)}", file.stat().st_size
        if not client.has(digest):
            client.put_file(file, digest, size)
        layers.append(_descriptor(FILE_TYPE, digest, size, {_TITLE: path}))
    empty = f"sha256:{hashlib.sha256(EMPTY).hexdigest()}"
    if not client.has(empty):
        client.put_bytes(EMPTY)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": _descriptor(EMPTY_TYPE, empty, len(EMPTY)),
        "layers": layers,
        "annotations": described(bundle),
    }
    # The same bundle gives the same bytes, and so the same digest.
    return client.put_manifest(json.dumps(manifest, sort_keys=True, indent=1).encode())


def described(bundle: Bundle) -> dict[str, str]:
    """What registries and fleet tools show of a bundle without fetching it."""
    manifest = bundle.manifest
    answered = some_outputs(manifest.outputs) or f"{len(bundle.labels)} labels"
    return {
        "org.opencontainers.image.title": bundle.name,
        "org.opencontainers.image.description": f"{manifest.task}, {answered}",
        f"{_PREFIX}.schema": str(manifest.schema_version),
        f"{_PREFIX}.task": manifest.task,
        f"{_PREFIX}.labels": json.dumps(bundle.labels[:100], ensure_ascii=False),
        f"{_PREFIX}.variants": ",".join(variant.name for variant in bundle.variants),
        f"{_PREFIX}.input": f"{bundle.preprocess.width}x{bundle.preprocess.height}",
        f"{_PREFIX}.bundle.sha256": sha256_file(bundle.folder / MANIFEST_NAME),
        f"{_PREFIX}.signed": str((bundle.folder / SIGNATURE_NAME).is_file()).lower(),
    }


def pull(client: Client, final: Path, *, overwrite: bool = False) -> str:
    """Take a bundle back, whole or not at all; the manifest's digest.

    What comes is hostile until every hash is right: the manifest against the digest that was asked
    for, each file against the manifest, the bundle against its own hashes and, where this device
    trusts keys, its signature.

    Raises:
        RegistryError: when it is no bundle, or other bytes came than were named.
        BundleError: when the files are no bundle, or not signed as demanded.
        StorageError: when it cannot be written, or is there already.
    """
    require_replaceable(final, overwrite=overwrite)
    data = client.manifest()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    wanted = client.reference.digest
    if wanted and wanted != digest:
        raise RegistryError(f"{client.reference}: another manifest came; not taken.")
    manifest = _parse(data, str(client.reference))
    with staged_folder(final, replace=overwrite) as part:
        for layer in manifest.layers:
            _fetch(client, layer, part)
        Bundle.open(part).check_files()
    return digest


def _fetch(client: Client, layer: _Layer, folder: Path) -> None:
    file = folder / layer.path
    file.parent.mkdir(parents=True, exist_ok=True)
    hashed = hashlib.sha256()
    with file.open("xb") as out:
        for chunk in client.blob(layer.digest, layer.size):
            hashed.update(chunk)
            out.write(chunk)
    if f"sha256:{hashed.hexdigest()}" != layer.digest or file.stat().st_size != layer.size:
        raise RegistryError(f"{client.reference}: {printable(layer.path)}: other bytes came.")


def _parse(data: bytes, name: str) -> _Manifest:
    try:
        raw: Any = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise RegistryError(f"{name}: its manifest is no JSON.") from exc
    kind = raw.get("artifactType") if isinstance(raw, Mapping) else None
    if kind != ARTIFACT_TYPE:
        raise RegistryError(
            f"{name}: is no bundle but {printable(str(kind or 'a container image'))[:100]}."
        )
    try:
        return _Manifest.model_validate(raw)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RegistryError(f"{name}: its manifest: {where}: {printable(first['msg'])}.") from exc


def _files(bundle: Bundle) -> list[str]:
    """Of the bundle and nothing else that may lie in its folder."""
    names = [entry.path for entry in bundle.manifest.files]
    names += [MANIFEST_NAME, MANIFEST_HASH_NAME]
    if (bundle.folder / SIGNATURE_NAME).is_file():
        names.append(SIGNATURE_NAME)
    return sorted(names)


def _descriptor(
    kind: str, digest: str, size: int, annotated: Mapping[str, str] | None = None
) -> dict[str, Any]:
    made: dict[str, Any] = {"mediaType": kind, "digest": digest, "size": size}
    return {**made, "annotations": dict(annotated)} if annotated else made


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts))]
