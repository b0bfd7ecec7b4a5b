"""Writing a bundle: manifest, golden set and report around the model files, whole or not at all."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from converters.gates import gates
from converters.golden_set import record_golden
from converters.outcome import Outcome
from converters.report import render_report
from converters.subject import Subject
from edge_runtime.archive import pack_bundle
from edge_runtime.bundle import manifest_hash_line
from edge_runtime.errors import StorageError
from edge_runtime.files import (
    require_writable_folder,
    sha256_file,
    staged_file,
    staged_folder,
    storage_errors,
)
from edge_runtime.machine import machine_facts
from edge_runtime.manifest import (
    MANIFEST_HASH_NAME,
    MANIFEST_NAME,
    FileEntry,
    GoldenEntry,
    Manifest,
    Variant,
)

_PACKAGES = (
    "edgeproof",
    "tensorflow",
    "keras",
    "litert-quantizer",
    "tf2onnx",
    "onnx",
    "onnxruntime",
    "ai-edge-litert",
    "opencv-python-headless",
    "opencv-python",
    "numpy",
)


def require_free(out: Path, *, overwrite: bool) -> None:
    """Find out before the work whether the bundle can be written.

    Raises:
        StorageError: when `out` exists and may not be replaced, or its folder is not writable.
    """
    if out.exists():
        if not overwrite:
            raise StorageError(f"{out}: exists already; choose another --out or --overwrite.")
        is_bundle = out.is_file() if _is_zip(out) else (out / MANIFEST_NAME).is_file()
        if not is_bundle:
            raise StorageError(f"{out}: is not a bundle; --overwrite replaces bundles only.")
    require_writable_folder(out.absolute().parent)


@contextmanager
def staged_bundle(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a folder to fill; it becomes `out`, packed where that ends in `.zip`.

    Raises:
        StorageError: when it cannot be written.
    """
    if not _is_zip(out):
        with staged_folder(out, replace=overwrite) as folder:
            yield folder
        return
    with contextlib.ExitStack() as stack:
        stack.enter_context(storage_errors(out))
        parent = out.absolute().parent
        parent.mkdir(parents=True, exist_ok=True)
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix=".edgeproof-", dir=parent))
        yield Path(name)
        with staged_file(out) as part:
            pack_bundle(Path(name), part)


def write_bundle(
    folder: Path, name: str, subject: Subject, outcomes: list[Outcome], command: str
) -> Manifest:
    """Add golden set, report and manifest to a folder that holds the model files.

    Raises:
        StorageError: when it cannot be written.
    """
    shipped = {o.name: o.proof for o in outcomes if o.shipped and o.proof}
    with storage_errors(folder):
        golden = record_golden(
            folder / "golden" / "frames",
            subject.record.preprocess,
            subject.held_out,
            subject.reference,
            shipped,
        )
        tensors = folder / "golden" / "tensors.npz"
        tensors.parent.mkdir(exist_ok=True)
        golden.tensors.write(tensors)
        manifest = Manifest(
            schema_version=1,
            name=name,
            task="classification",
            labels=subject.record.labels,
            preprocess=subject.record.preprocess,
            head=subject.record.head,
            variants=tuple(_variant(folder, o) for o in outcomes if o.shipped),
            golden=GoldenEntry(
                frames=tuple(_entry(folder, file) for file in golden.frame_files),
                tensors=_entry(folder, tensors),
            ),
            provenance=_provenance(subject, command),
        )
        report = folder / "report.html"
        report.write_text(render_report(manifest, outcomes, subject), encoding="utf-8")
        manifest = manifest.model_copy(update={"report": _entry(folder, report)})
        data = manifest.model_dump_json(indent=1).encode()
        (folder / MANIFEST_NAME).write_bytes(data)
        (folder / MANIFEST_HASH_NAME).write_text(manifest_hash_line(data), encoding="ascii")
    return manifest


def bundle_name(out: Path) -> str:
    """`pets` for `pets.bundle` and `pets.bundle.zip`."""
    return out.name.removesuffix(".zip").removesuffix(".bundle") or "model"


def _is_zip(out: Path) -> bool:
    return out.suffix.lower() == ".zip"


def _variant(folder: Path, outcome: Outcome) -> Variant:
    assert outcome.proof is not None and outcome.file is not None  # shipped, so it was made
    recipe = outcome.recipe
    return Variant(
        format=recipe.format,
        precision=recipe.precision,
        file=_entry(folder, outcome.file),
        parity=outcome.proof.parity,
        missed=outcome.problems,
        tolerance=gates()[recipe.precision].tolerance,
        latency_ms=outcome.proof.latency_ms,
    )


def _entry(folder: Path, file: Path) -> FileEntry:
    return FileEntry(
        path=file.relative_to(folder).as_posix(),
        bytes=file.stat().st_size,
        sha256=sha256_file(file),
    )


def _provenance(subject: Subject, command: str) -> dict[str, Any]:
    record = subject.record
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "versions": _versions(),
        "machine": machine_facts(),
        "training": {
            "run": subject.run.name,
            "architecture": record.architecture,
            "created": record.created,
            "model_sha256": record.model.sha256,
            "versions": record.versions,
        },
        "pictures": {
            "held_out": len(subject.held_out.inputs),
            "held_out_set": record.data.held_out,
            "calibration": len(subject.calibration.inputs),
        },
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
