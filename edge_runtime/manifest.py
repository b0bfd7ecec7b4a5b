"""`bundle.json`: what a bundle holds, as a checked data model."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge_runtime.errors import BundleError
from edge_runtime.head import Head
from edge_runtime.preprocess import Preprocess

SCHEMA_VERSION = 1
MANIFEST_NAME = "bundle.json"
MANIFEST_HASH_NAME = "bundle.sha256"

MAX_MANIFEST_BYTES = 16 << 20
MAX_MODEL_BYTES = 2 << 30
MAX_LABELS = 100_000

Format = Literal["tflite", "onnx"]
Precision = Literal["float32", "float16", "dynamic", "int8"]


def safe_relative_path(text: str) -> str:
    """Refuse every path that could leave the bundle, on any operating system."""
    parts = PurePosixPath(text).parts
    unsafe = (
        not parts
        or text.startswith(("/", "~"))
        or "\\" in text
        or ":" in text
        or "\0" in text
        or ".." in parts
        or str(PurePosixPath(text)) != text
    )
    if unsafe:
        raise ValueError(f"unsafe path {text!r}: a bundle's files lie inside it")
    return text


RelativePath = Annotated[str, Field(max_length=200), AfterValidator(safe_relative_path)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class FileEntry(_Record):
    """One file of the bundle, by its path inside, size and hash."""

    path: RelativePath
    bytes: int = Field(ge=0, le=MAX_MODEL_BYTES)
    sha256: Sha256


class Parity(_Record):
    """How a variant's probabilities compare with the reference's on the same real pictures.

    Attributes:
        samples: number of pictures.
        max_abs_error: largest absolute difference of any probability.
        mean_abs_error: mean absolute difference over all probabilities.
        cosine: smallest cosine similarity of the two probability vectors of any picture.
        top1_agreement: fraction of pictures with the same first label, 0 to 1.
        accuracy: fraction right by the variant; `None` where labels are unknown.
        reference_accuracy: the same for the reference.
        nonfinite: how many of the variant's numbers are NaN or infinite.
        worst_sample: which picture differs most; look there first.
    """

    samples: int = Field(ge=1)
    # null where the numbers are not finite: JSON has no NaN
    max_abs_error: float | None
    mean_abs_error: float | None
    cosine: float | None
    top1_agreement: float = Field(ge=0, le=1)
    accuracy: float | None = Field(default=None, ge=0, le=1)
    reference_accuracy: float | None = Field(default=None, ge=0, le=1)
    nonfinite: int = Field(ge=0)
    worst_sample: int = Field(ge=0)

    @property
    def accuracy_drop(self) -> float | None:
        """Reference accuracy less the variant's, as a fraction; negative when the variant wins."""
        if self.accuracy is None or self.reference_accuracy is None:
            return None
        return self.reference_accuracy - self.accuracy


class Variant(_Record):
    """One exported model file with its proof.

    Attributes:
        parity: the comparison that was made when the bundle was.
        missed: the gates that it missed, in words; empty when it passed all.
        tolerance: how far a probability may lie from the recorded one on another machine.
        latency_ms: median time of one inference on the machine that made the bundle.
    """

    format: Format
    precision: Precision
    file: FileEntry
    parity: Parity
    missed: tuple[str, ...] = ()
    tolerance: float = Field(gt=0, le=1)
    latency_ms: float = Field(ge=0)

    @property
    def name(self) -> str:
        """For example `tflite-int8`."""
        return f"{self.format}-{self.precision}"


class GoldenEntry(_Record):
    """Where the golden set lies: encoded frames as files, everything else in one `.npz`."""

    frames: tuple[FileEntry, ...]
    tensors: FileEntry


class Manifest(_Record):
    """The whole of `bundle.json`.

    Attributes:
        provenance: free-form record of how the bundle came to be: versions, counts, command.
    """

    schema_version: Literal[1]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    task: Literal["classification"]
    labels: Annotated[tuple[str, ...], Field(min_length=2, max_length=MAX_LABELS)]
    preprocess: Preprocess
    head: Head
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)]
    golden: GoldenEntry
    report: FileEntry | None = None
    provenance: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _coherent(self) -> Manifest:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("two labels are the same")
        if self.head.kind == "sigmoid" and len(self.labels) != 2:
            raise ValueError("a sigmoid head has two labels")
        paths = [entry.path for entry in self.files]
        if len(set(paths)) != len(paths):
            raise ValueError("a file is listed twice")
        names = [variant.name for variant in self.variants]
        if len(set(names)) != len(names):
            raise ValueError("a variant is listed twice")
        return self

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """Every file of the bundle but the manifest and its hash."""
        report = (self.report,) if self.report else ()
        variants = tuple(variant.file for variant in self.variants)
        return (*variants, *self.golden.frames, self.golden.tensors, *report)


def parse_manifest(data: bytes, *, name: str) -> Manifest:
    """Read `bundle.json`.

    Args:
        name: what an error calls the bundle.

    Raises:
        BundleError: when it is not valid, or of a schema that this version does not know.
    """
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise BundleError(f"{name}: {MANIFEST_NAME} is not JSON: {exc}.") from exc
    if not isinstance(raw, dict):
        raise BundleError(f"{name}: {MANIFEST_NAME} is not an object.")
    # Before anything else: a newer schema is no fault of the file's, and asks for an update.
    version = raw.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BundleError(
            f"{name}: is of schema {version}, this edgeproof reads up to {SCHEMA_VERSION}; "
            "update edgeproof on this machine."
        )
    try:
        return Manifest.model_validate(raw)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "bundle"
        raise BundleError(f"{name}: {MANIFEST_NAME}: {where}: {first['msg']}.") from exc
