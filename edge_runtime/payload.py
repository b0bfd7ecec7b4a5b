"""A bundle as something to deploy: `devices` does not know what a bundle is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from devices.deploy.payload import Payload, PayloadFile
from edge_runtime.bundle import Bundle
from edge_runtime.errors import BundleError
from edge_runtime.files import sha256_file
from edge_runtime.manifest import MANIFEST_HASH_NAME, MANIFEST_NAME
from edge_runtime.trust.signature import SIGNATURE_NAME

_RUN = ("-m", "edgeproof", "run", "{folder}", "--status", "{status}")
_ONLY_CHECK = ("--only-check",)
_CHECK = ("-m", "edgeproof", "verify", "{folder}")


@contextlib.contextmanager
def bundle_payload(path: Path) -> Iterator[Payload]:
    """Every file of a bundle with its hash, what checks it on the device, and what starts it.

    Raises:
        BundleError: when it is no whole bundle, or one that `edgeproof run` does not take.
    """
    if path.suffix == ".age":
        # Only the device can read it: it goes along as it is, and is checked there.
        yield _encrypted_payload(path)
        return
    bundle = Bundle.open(path)
    bundle.check_files()
    if bundle.manifest.outputs:
        raise BundleError(
            f"{path}: answers raw tensors, which edgeproof run cannot show: there is nothing to "
            "start and watch. Copy it with the program that uses it (edge_runtime.TensorModel), "
            "and run edgeproof verify there."
        )
    listed = [PayloadFile(e.path, e.sha256, e.bytes) for e in bundle.manifest.files]
    yield Payload(
        name=_name(path),
        folder=bundle.folder,
        files=(*listed, *_manifest_files(bundle)),
        check=_CHECK,
        start=_RUN,
        only_check=_ONLY_CHECK,
        # Whether the device trusts a key is its own affair; then it needs `sign`: --extras sign.
        extras=() if any(v.format == "tflite" for v in bundle.variants) else ("onnx",),
    )


def _encrypted_payload(path: Path) -> Payload:
    if not path.is_file():
        raise BundleError(f"{path}: no such bundle; `edgeproof encrypt` makes one.")
    name = f"{_name(path)}{path.suffix}"
    inside = f"{{folder}}/{path.name}"
    return Payload(
        name=name,
        folder=path.parent,
        files=(PayloadFile(path.name, sha256_file(path), path.stat().st_size),),
        check=tuple(inside if argument == "{folder}" else argument for argument in _CHECK),
        start=tuple(inside if argument == "{folder}" else argument for argument in _RUN),
        only_check=_ONLY_CHECK,
        extras=("age",),
    )


def _manifest_files(bundle: Bundle) -> Iterator[PayloadFile]:
    for name in (MANIFEST_NAME, MANIFEST_HASH_NAME, SIGNATURE_NAME):
        file = bundle.folder / name
        if name == SIGNATURE_NAME and not file.is_file():
            continue
        yield PayloadFile(name, sha256_file(file), file.stat().st_size)


def _name(path: Path) -> str:
    """The folder's name on the device: what the user calls it, as far as it suits."""
    stem = path.resolve().name.removesuffix(".age").removesuffix(".zip").removesuffix(".bundle")
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in stem)
    return f"{plain.lstrip('.-_')[:60] or 'model'}.bundle"
