"""Writing a bundle: manifest, golden set and report around the model files, whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from converters.export_head import EXPORTED
from converters.gates import gates
from converters.golden_set import golden_inputs, record_golden
from converters.outcome import CSource, Outcome
from converters.report.page import render_report
from converters.report.tensors import render_tensor_report
from converters.subject import Subject
from edge_runtime.archive import pack_bundle
from edge_runtime.bundle import manifest_hash_line, require_replaceable
from edge_runtime.files import (
    require_writable_folder,
    sha256_file,
    staged_file,
    staged_folder,
    storage_errors,
)
from edge_runtime.leftovers import claimed, remove_abandoned
from edge_runtime.machine import machine_facts
from edge_runtime.manifest import (
    MANIFEST_HASH_NAME,
    MANIFEST_NAME,
    FileEntry,
    GoldenEntry,
    Manifest,
    Variant,
)
from edge_runtime.matrix import HEADROOM, Matrix, ModelFile, measured_tolerance, parity_matrix
from edge_runtime.progress import status_line
from edge_runtime.tensors import TensorOutput

_PACKAGES = (
    "edgeproof",
    "tensorflow",
    "keras",
    "tf_keras",
    "litert-quantizer",
    "tf2onnx",
    "onnx",
    "onnxruntime",
    "ai-edge-litert",
    "opencv-python-headless",
    "opencv-python",
    "numpy",
)


# A slow engine answers fewer golden inputs; the whole matrix must not outlast the proof.
_MATRIX_BUDGET_S = 1.0


def require_free(out: Path, *, overwrite: bool) -> None:
    """Find out before the work whether the bundle can be written.

    Raises:
        StorageError: when `out` exists and may not be replaced, or its folder is not writable.
    """
    require_replaceable(out, overwrite=overwrite, packed=_is_zip(out))
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
        remove_abandoned(parent, f".{glob.escape(out.name)}.*.part")
        name = stack.enter_context(
            tempfile.TemporaryDirectory(prefix=f".{out.name}.", suffix=".part", dir=parent)
        )
        with claimed(Path(name)):
            yield Path(name)
        with staged_file(out) as part:
            pack_bundle(Path(name), part)


def write_bundle(
    folder: Path,
    name: str,
    subject: Subject,
    outcomes: Sequence[Outcome],
    c_source: CSource | None,
    command: str,
) -> Manifest:
    """Add golden set, parity matrix, report and manifest to a folder that holds the model files.

    Raises:
        StorageError: when it cannot be written.
    """
    shipped = {o.name: o.proof for o in outcomes if o.shipped and o.proof}
    chosen = golden_inputs(subject.held_out, subject.reference, shipped, subject.outputs)
    # Of what misses its gate as well: is it the file or the engine?
    matrix = _matrix(subject, outcomes, chosen)
    with storage_errors(folder):
        for outcome in outcomes:
            if outcome.file is not None and not outcome.shipped:
                outcome.file.unlink(missing_ok=True)
        golden = record_golden(
            folder / "golden" / "frames",
            subject.record.preprocess,
            subject.held_out,
            subject.reference,
            shipped,
            chosen=chosen,
            matrix=matrix,
        )
        tensors = folder / "golden" / "tensors.npz"
        tensors.parent.mkdir(exist_ok=True)
        golden.tensors.write(tensors, once=bool(subject.outputs))
        manifest = Manifest(
            schema_version=4,
            name=name,
            task="tensors" if subject.outputs else "classification",
            outputs=subject.outputs,
            labels=subject.record.labels,
            preprocess=subject.record.preprocess,
            clip=subject.record.clip,
            head=None if subject.outputs else EXPORTED,
            temperature=subject.record.temperature,
            variants=tuple(
                _variant(folder, o, matrix, subject.outputs) for o in outcomes if o.shipped
            ),
            golden=GoldenEntry(
                frames=tuple(_entry(folder, file) for file in golden.frame_files),
                tensors=_entry(folder, tensors),
            ),
            matrix=matrix.cells,
            sources=tuple(_entry(folder, file) for file in (c_source.files if c_source else ())),
            provenance=_provenance(subject, command),
        ).in_lowest_schema()
        report = folder / "report.html"
        render = render_tensor_report if subject.outputs else render_report
        report.write_text(render(manifest, outcomes, subject, c_source), encoding="utf-8")
        manifest = manifest.model_copy(update={"report": _entry(folder, report)})
        data = manifest.to_json()
        (folder / MANIFEST_NAME).write_bytes(data)
        (folder / MANIFEST_HASH_NAME).write_text(manifest_hash_line(data), encoding="ascii")
    return manifest


def _matrix(subject: Subject, outcomes: Sequence[Outcome], chosen: np.ndarray) -> Matrix:
    """What every engine here makes of the golden inputs."""
    labels = subject.held_out.labels
    with status_line("every variant on every engine") as say:
        return parity_matrix(
            {
                o.name: ModelFile(o.recipe.format, o.file)
                for o in outcomes
                if o.proof and o.file is not None
            },
            head=EXPORTED,
            inputs=subject.held_out.inputs[chosen],
            reference=subject.reference[chosen],
            labels=None if labels is None else labels[chosen],
            outputs=subject.outputs,
            budget_s=_MATRIX_BUDGET_S,
            on_step=say,
        )


def bundle_name(out: Path) -> str:
    """`pets` for `pets.bundle` and `pets.bundle.zip`."""
    return out.name.removesuffix(".zip").removesuffix(".bundle") or "model"


def _is_zip(out: Path) -> bool:
    return out.suffix.lower() == ".zip"


def _variant(
    folder: Path, outcome: Outcome, matrix: Matrix, outputs: Sequence[TensorOutput]
) -> Variant:
    assert outcome.proof is not None and outcome.file is not None  # shipped, so it was made
    recipe = outcome.recipe
    is_onnx_int8 = recipe.name == "onnx-int8"
    gate = gates()[recipe.precision]
    floor = gate.tolerance_of("tensors" if outputs else "classification")
    tolerance = measured_tolerance(matrix, outcome.name, floor, outputs)
    if recipe.format == "onnx" and gate.half_arithmetic is not None:
        # Sums in half precision round as coarsely as the weights were rounded.
        own_error = outcome.proof.parity.max_abs_error or 0.0
        tolerance = min(1.0, max(tolerance, gate.half_arithmetic, HEADROOM * own_error))
    return Variant(
        format=recipe.format,
        precision=recipe.precision,
        file=_entry(folder, outcome.file),
        parity=outcome.proof.parity,
        missed=outcome.problems,
        unsure=outcome.unsure,
        floor=floor,
        tolerance=tolerance,
        latency_ms=outcome.proof.latency_ms,
        engine=outcome.proof.engine,
        scheme=outcome.plan.scheme if is_onnx_int8 else None,
        calibration=outcome.plan.calibration if recipe.calibrated else "",
        noise=outcome.noise,
        repair=outcome.repair,
        abstain=outcome.abstain,
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
            **({} if subject.outputs else {"head": record.head.kind}),
            "created": record.created,
            "model_sha256": record.model.sha256,
            "versions": record.versions,
        },
        **({"taken": list(subject.taken)} if subject.taken else {}),
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
