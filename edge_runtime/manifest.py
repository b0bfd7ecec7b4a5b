"""`bundle.json`: what a bundle holds, as a checked data model."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge_runtime.clip import Clip, input_shape
from edge_runtime.errors import BundleError
from edge_runtime.head import Head
from edge_runtime.preprocess import Preprocess
from edge_runtime.temperature import Temperature
from edge_runtime.tensors import MAX_NUMBERS, MAX_OUTPUTS, TensorOutput, numbers

SCHEMA_VERSION = 4
MANIFEST_NAME = "bundle.json"
MANIFEST_HASH_NAME = "bundle.sha256"

MAX_MANIFEST_BYTES = 16 << 20
MAX_MODEL_BYTES = 2 << 30
MAX_LABELS = 100_000

Format = Literal["tflite", "onnx"]
Precision = Literal["float32", "float16", "dynamic", "int8", "int16x8"]


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


class TensorParity(_Record):
    """How one output of raw tensors compares with the reference's, in its own units.

    Attributes:
        max_abs_error, mean_abs_error: of all its numbers; `None` where they are not finite.
        relative_error: `max_abs_error` over the output's range.
        cosine: smallest of any picture.
        sqnr_db: power of the reference about its mean over the power of the error, in decibels;
            `None` where there is no error, the reference never changes, or its numbers are whole.
        agreement: of whole numbers, the fraction that round to the same; else `None`.
        channels: how many of its channels change in the reference.
        flat_channels: how many of these answer one and the same number here.
    """

    name: str
    max_abs_error: float | None = None
    mean_abs_error: float | None = None
    relative_error: float | None = None
    cosine: float | None = None
    sqnr_db: float | None = None
    agreement: float | None = Field(default=None, ge=0, le=1)
    nonfinite: int = Field(default=0, ge=0)
    channels: int = Field(default=0, ge=0)
    flat_channels: int = Field(default=0, ge=0)


class Parity(_Record):
    """How a variant's probabilities compare with the reference's on the same real pictures.

    Intervals are of 95 %. What bundles of schema 1 did not record has a default. Of raw tensors,
    errors are the largest of any output, relative to its range (of whole numbers, the share that is
    another), and there are no first labels.

    Attributes:
        samples: number of pictures.
        max_abs_error: largest absolute difference of any probability.
        mean_abs_error: mean absolute difference over all probabilities.
        cosine: smallest cosine similarity of the two probability vectors of any picture.
        kl_divergence: mean Kullback-Leibler divergence from the reference, in nats.
        top1_agreement: fraction of pictures with the same first label, 0 to 1; its interval is
            `top1_low` to `top1_high`.
        top5_agreement: fraction of pictures whose reference label is among the variant's first
            five; `None` where there are no more than five labels.
        accuracy: fraction right by the variant; `None` where labels are unknown.
        reference_accuracy: the same for the reference.
        accuracy_drop_low, accuracy_drop_high: interval of `accuracy_drop`, paired.
        lost, won: pictures that only the reference, or only the variant, answers right.
        mcnemar_p: how likely so unequal a `lost` and `won` are if neither is better.
        recall_change: of each label, the variant's recall less the reference's; `None` for a label
            without pictures.
        nonfinite: how many of the variant's numbers are NaN or infinite.
        worst_sample: which picture differs most; look there first.
        outputs: of raw tensors, each output's figures; empty for probabilities.
    """

    samples: int = Field(ge=1)
    # null where the numbers are not finite: JSON has no NaN
    max_abs_error: float | None
    mean_abs_error: float | None
    cosine: float | None
    kl_divergence: float | None = Field(default=None, ge=0)
    top1_agreement: float = Field(ge=0, le=1)
    top1_low: float = Field(default=0.0, ge=0, le=1)
    top1_high: float = Field(default=1.0, ge=0, le=1)
    top5_agreement: float | None = Field(default=None, ge=0, le=1)
    accuracy: float | None = Field(default=None, ge=0, le=1)
    reference_accuracy: float | None = Field(default=None, ge=0, le=1)
    accuracy_drop_low: float | None = Field(default=None, ge=-1, le=1)
    accuracy_drop_high: float | None = Field(default=None, ge=-1, le=1)
    lost: int | None = Field(default=None, ge=0)
    won: int | None = Field(default=None, ge=0)
    mcnemar_p: float | None = Field(default=None, ge=0, le=1)
    recall_change: tuple[float | None, ...] = ()
    nonfinite: int = Field(ge=0)
    worst_sample: int = Field(ge=0)
    outputs: Annotated[tuple[TensorParity, ...], Field(max_length=MAX_OUTPUTS)] = ()

    @property
    def sqnr_db(self) -> float | None:
        """Of raw tensors, the worst output's; `None` where none has an error."""
        return min((o.sqnr_db for o in self.outputs if o.sqnr_db is not None), default=None)

    @property
    def accuracy_drop(self) -> float | None:
        """Reference accuracy less the variant's, as a fraction; negative when the variant wins."""
        if self.accuracy is None or self.reference_accuracy is None:
            return None
        return self.reference_accuracy - self.accuracy


class LayerNoise(_Record):
    """How far one layer of a variant is from the same layer of the float graph.

    Attributes:
        layer: name in the trained model, as far as the file still tells it.
        operator: such as `DEPTHWISE_CONV_2D` or `Conv`.
        sqnr_db: signal to quantisation noise of the layer's output, in decibels, noise of the
            layers before it included; `None` where there is no noise at all.
        own_db: the same with the noise that this layer adds only; `None` likewise.
    """

    layer: str
    operator: str
    sqnr_db: float | None
    own_db: float | None = None


class RepairStep(_Record):
    """One attempt to mend a variant, with its gain and its cost.

    Attributes:
        what: in words, such as `calibrate by percentile 99.99`.
        kept: the layers that stay in float or int16 by then.
        missed: the gates that it still misses; empty when it is mended.
        chosen: whether this attempt is the one that is shipped.
    """

    what: str
    kept: tuple[str, ...] = ()
    parity: Parity
    missed: tuple[str, ...]
    bytes: int = Field(ge=0)
    latency_ms: float = Field(ge=0)
    chosen: bool = False


class Abstain(_Record):
    """Below which score a variant had better say `unknown`, so that its answers are right.

    Attributes:
        wanted: fraction of the answers that shall be right.
        min_score: answers of a lower probability are not given.
        precision: fraction that was right of those given, on `samples` held-out pictures.
        precision_low: lower end of its 95 % interval.
        coverage: fraction of the pictures that were answered.
    """

    wanted: float = Field(gt=0, le=1)
    min_score: float = Field(ge=0, le=1)
    precision: float = Field(ge=0, le=1)
    precision_low: float = Field(ge=0, le=1)
    coverage: float = Field(ge=0, le=1)
    samples: int = Field(ge=1)


class Variant(_Record):
    """One exported model file with its proof.

    Attributes:
        parity: the comparison that was made when the bundle was.
        missed: the gates that it missed, in words; empty when it passed all.
        unsure: gates that it kept, but on too few pictures to tell, in words.
        tolerance: how far a probability may lie from the recorded one on another engine.
        floor: the same on the engine, kernels and arithmetic that recorded it; `None` in schema 1,
            where `tolerance` says both.
        latency_ms: median time of one inference on the machine that made the bundle.
        engine: the engine and its version that it was proven on; empty in schema 1.
        scheme: how an int8 ONNX file was quantised: `s8s8`, `u8s8` or `symmetric`.
        calibration: how its activations' ranges were found, in words; empty where it has none.
        noise: layer by layer, the worst first; empty when nobody asked.
        repair: what was tried to mend it, in order; empty when nothing had to be.
        abstain: when to answer `unknown`; `None` where nobody chose, or no score was high enough.
    """

    format: Format
    precision: Precision
    file: FileEntry
    parity: Parity
    missed: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()
    tolerance: float = Field(gt=0, le=1)
    floor: float | None = Field(default=None, gt=0, le=1)
    latency_ms: float = Field(ge=0)
    engine: str = ""
    scheme: str | None = None
    calibration: str = ""
    noise: tuple[LayerNoise, ...] = ()
    repair: tuple[RepairStep, ...] = ()
    abstain: Abstain | None = None

    @property
    def name(self) -> str:
        """For example `tflite-int8`."""
        return f"{self.format}-{self.precision}"

    @property
    def proven_unsure(self) -> bool:
        """Whether no score was high enough to rely on; false where nobody could look."""
        looked = self.floor is not None and self.parity.accuracy is not None
        return looked and self.abstain is None

    @property
    def min_score(self) -> float:
        """Below it the answer is `unknown`; 0 where every answer is given."""
        return self.abstain.min_score if self.abstain else 0.0


class Beside(_Record):
    """A cell beside the proving engine's, on the inputs that both answered.

    A slow engine answers fewer: on other inputs, the same kernels would look farther off.

    Attributes:
        max_abs_error, proven_error: largest difference of any probability from the trained model's,
            of the cell and of the proving engine; `None` when not finite.
        flips, proven_flips: how many inputs have another first label than the trained model's.
    """

    max_abs_error: float | None
    proven_error: float | None
    flips: int = Field(ge=0)
    proven_flips: int = Field(ge=0)


class MatrixCell(_Record):
    """One variant on one engine, on the golden inputs.

    Attributes:
        beside: how it stands beside the engine that the variant was proven on; `None` where either
            did not run, and in bundles from before it was recorded.
        parity: against the trained model; `None` where it did not run.
        reason: why it did not; empty where it did.
        latency_ms: median of single inferences; `None` where it did not run.
    """

    variant: str
    engine: str
    version: str = ""
    parity: Parity | None = None
    reason: str = ""
    latency_ms: float | None = Field(default=None, ge=0)
    beside: Beside | None = None


class GoldenEntry(_Record):
    """Where the golden set lies: encoded frames as files, everything else in one `.npz`."""

    frames: tuple[FileEntry, ...]
    tensors: FileEntry


class Manifest(_Record):
    """The whole of `bundle.json`.

    Attributes:
        task: `classification`: one probability per label; `tensors`: raw tensors, which have
            `outputs` and neither labels nor a head.
        outputs: of raw tensors, in order: each by the name that its tensor has in every file.
        clip: how many frames, how far apart, the model looks at; `None`: it looks at one picture.
        temperature: what makes scores mean what they say; applied where answers are given, not in
            the files, their recorded outputs or the parity figures. `None` up to schema 2, and
            where nobody fitted one.
        matrix: every variant on every engine that the making machine had.
        sources: C++ source of the int8 TFLite file, for microcontrollers.
        provenance: free-form record of how the bundle came to be: versions, counts, command.
    """

    schema_version: Literal[1, 2, 3, 4]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    task: Literal["classification", "tensors"]
    labels: Annotated[tuple[str, ...], Field(max_length=MAX_LABELS)]
    outputs: Annotated[tuple[TensorOutput, ...], Field(max_length=MAX_OUTPUTS)] = ()
    preprocess: Preprocess
    clip: Clip | None = None
    head: Head | None
    temperature: Temperature | None = None
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)]
    golden: GoldenEntry
    matrix: tuple[MatrixCell, ...] = ()
    sources: tuple[FileEntry, ...] = ()
    report: FileEntry | None = None
    provenance: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _coherent(self) -> Manifest:
        if self.task == "tensors":
            self._require_tensors()
        else:
            self._require_labels()
        paths = [entry.path for entry in self.files]
        if len(set(paths)) != len(paths):
            raise ValueError("a file is listed twice")
        names = [variant.name for variant in self.variants]
        if len(set(names)) != len(names):
            raise ValueError("a variant is listed twice")
        return self

    def _require_labels(self) -> None:
        if len(self.labels) < 2 or self.head is None or self.outputs:
            raise ValueError("classification has two labels at least, a head and no outputs")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("two labels are the same")
        if self.head.single and len(self.labels) != 2:
            raise ValueError(f"a {self.head.kind} head has two labels")

    def _require_tensors(self) -> None:
        if not self.outputs or self.labels or self.head or self.temperature or self.clip:
            raise ValueError("raw tensors have outputs, and no labels, head, temperature or clip")
        if len({output.name for output in self.outputs}) != len(self.outputs):
            raise ValueError("two outputs have the same name")
        if numbers(self.outputs) > MAX_NUMBERS:
            raise ValueError(f"more than {MAX_NUMBERS} numbers are answered")

    def in_lowest_schema(self) -> Manifest:
        """The same, of the lowest schema that holds it all: older edgeproofs then read it."""
        beyond = 3 if self.temperature or self.clip else 2
        return self.model_copy(update={"schema_version": 4 if self.outputs else beyond})

    def to_json(self) -> bytes:
        """As `bundle.json` holds it, without what its schema does not know; that is empty."""
        unknown: dict[str, Any] = {}
        if self.schema_version < 4:
            parity = {"parity": {"outputs"}}
            repaired = parity | {"repair": {"__all__": parity}}
            unknown |= {"outputs": True, "matrix": {"__all__": parity}}
            unknown |= {"variants": {"__all__": repaired}}
        if self.schema_version < 3:
            unknown |= {"temperature": True, "clip": True}
        elif self.clip is None:
            unknown |= {"clip": True}  # the first edgeproofs of schema 3 knew no clips
        return self.model_dump_json(indent=1, exclude=unknown).encode()

    @property
    def answered(self) -> int:
        """How many numbers stand for the answer to one picture."""
        return numbers(self.outputs) if self.outputs else len(self.labels)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: (height, width, 3), before it the frames of a clip."""
        return input_shape(self.preprocess, self.clip)

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """Every file of the bundle but the manifest and its hash."""
        report = (self.report,) if self.report else ()
        variants = tuple(variant.file for variant in self.variants)
        return (*variants, *self.golden.frames, self.golden.tensors, *self.sources, *report)


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
