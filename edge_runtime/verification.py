"""Does a bundle answer on this machine as it did when it was made? If not, from which stage on?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge_runtime.bundle import Bundle
from edge_runtime.engines import ENGINES, Engine, installed_engines, load_engine
from edge_runtime.errors import BundleError, EdgeproofError
from edge_runtime.golden import GoldenTensors
from edge_runtime.images import decode_image
from edge_runtime.machine import computes_in_half, is_this_processor
from edge_runtime.manifest import Variant
from edge_runtime.model_labels import carries_other_labels
from edge_runtime.tensor_parity import WHOLE_LIMIT, output_errors
from edge_runtime.tensors import TensorOutput
from edge_runtime.text import count_of, printable

# Their activations are rounded out of floats while they run: the last bit of one, which another
# processor's kernels give otherwise, moves a whole step (docs/arm.md).
_ROUNDS_FLOATS = frozenset({"tflite-dynamic", "onnx-int8"})

Stage = Literal["decode", "preprocess", "engine", "head"]
Status = Literal["same", "differs", "skipped"]


@dataclass(frozen=True)
class Check:
    """One stage, or one variant on one engine, replayed.

    Attributes:
        subject: `frames`, or a variant's name with its engine.
        status: `skipped`: no engine is here, or one that never ran this file does not.
        stage: the first that differs; for `same`, the last that was replayed.
        max_difference: how far from the recording: levels for frames and inputs, probability for
            variants; `None` where nothing was compared.
        detail: in words what was found.
    """

    subject: str
    status: Status
    stage: Stage
    max_difference: float | None
    detail: str


@dataclass(frozen=True)
class Verification:
    """All checks of one bundle on one machine."""

    checks: tuple[Check, ...]

    @property
    def first_difference(self) -> Check | None:
        """The check that differs at the earliest stage."""
        order: list[Stage] = ["decode", "preprocess", "engine", "head"]
        different = [check for check in self.checks if check.status == "differs"]
        return min(different, key=lambda check: order.index(check.stage), default=None)

    @property
    def variants_replayed(self) -> int:
        return sum(c.status != "skipped" and c.stage in ("engine", "head") for c in self.checks)

    @property
    def passed(self) -> bool:
        """Nothing differs, and at least one variant was replayed."""
        return self.first_difference is None and self.variants_replayed > 0


def verify(
    bundle: Bundle, *, threads: int = 0, on_step: Callable[[str], None] = lambda _: None
) -> Verification:
    """Replay the golden set. Every hash is checked before anything is parsed.

    Each stage is fed what was recorded, not what the stage before made here, so that one
    difference is not blamed on the next stage.

    Raises:
        BundleError: when a file is missing or damaged.
    """
    on_step("hashes")
    bundle.check_files()
    names = tuple(variant.name for variant in bundle.variants)
    golden = GoldenTensors.read(bundle.checked_file(bundle.manifest.golden.tensors), variants=names)
    _require_shapes(bundle, golden)
    on_step("decode, preprocess")
    checks = [_check_decoding(bundle, golden), _check_preprocess(bundle, golden)]
    for variant in bundle.variants:
        for engine in installed_engines(variant.format):
            on_step(f"{variant.name} on {engine}")
            checks.append(_check_variant(bundle, golden, variant, engine, threads))
        if not installed_engines(variant.format):
            runs = [name for name, entry in ENGINES.items() if entry.format == variant.format]
            why = f"no engine installed: {' or '.join(runs)}"
            checks.append(Check(variant.name, "skipped", "engine", None, why))
    return Verification(tuple(checks))


def _check_decoding(bundle: Bundle, golden: GoldenTensors) -> Check:
    off = {}
    for entry, recorded in zip(bundle.manifest.golden.frames, golden.frames, strict=True):
        decoded = decode_image(bundle.checked_file(entry))
        if decoded.shape != recorded.shape:
            detail = f"{entry.path} decodes to {decoded.shape}, recorded was {recorded.shape}"
            return Check("frames", "differs", "decode", None, detail)
        off[entry.path] = _max_levels(decoded, recorded)
    return _exact("decode", off)


def _check_preprocess(bundle: Bundle, golden: GoldenTensors) -> Check:
    frames = zip(bundle.manifest.golden.frames, golden.frames, golden.frame_inputs, strict=True)
    off = {e.path: _max_levels(bundle.preprocess(frame), want) for e, frame, want in frames}
    return _exact("preprocess", off)


def _exact(stage: Stage, off: Mapping[str, int]) -> Check:
    """No byte may differ.

    Args:
        off: of each frame, by its path, the largest difference in levels.
    """
    different = [path for path, levels in off.items() if levels]
    if not different:
        return Check("frames", "same", stage, 0, f"{len(off)} frames, same bytes")
    worst = max(off, key=lambda path: off[path])
    found = f"{len(different)} of {len(off)} frames differ, {worst} by up to {off[worst]} levels"
    return Check("frames", "differs", stage, off[worst], found)


def _check_variant(
    bundle: Bundle, golden: GoldenTensors, variant: Variant, engine_name: str, threads: int
) -> Check:
    subject = f"{variant.name} on {engine_name}"
    try:
        file = bundle.checked_file(variant.file)
        engine = load_engine(engine_name, file, threads=threads, outputs=bundle.manifest.outputs)
        raw = engine.infer(golden.inputs)
    except BundleError:
        raise
    except EdgeproofError as exc:
        # Older runtimes lack operators: that is no difference where nobody ever said they run it.
        status: Status = "differs" if _must_run(golden, variant, engine_name) else "skipped"
        return Check(subject, status, "engine", None, f"does not run: {exc}")
    if carries_other_labels(file, variant.format, bundle.labels):
        detail = "the labels inside the file are not those of bundle.json: it would answer others"
        return Check(subject, "differs", "head", None, detail)
    proven_raw, proven = golden.raw[variant.name], golden.probabilities[variant.name]
    if raw.shape != proven_raw.shape or raw.dtype != proven_raw.dtype:
        detail = f"answers {raw.dtype}{raw.shape}, recorded {proven_raw.dtype}{proven_raw.shape}"
        return Check(subject, "differs", "engine", None, detail)
    head = bundle.head
    answered = head.probabilities(engine.dequantize(raw))
    from_recorded = head.probabilities(engine.dequantize(proven_raw))
    # The head is arithmetic on a handful of numbers: it differs only when the file's own
    # quantisation or the manifest's head is not what was recorded.
    if not _within(from_recorded, proven, 1e-6):
        off = _max_difference(from_recorded, proven)
        return Check(subject, "differs", "head", off, f"head off by up to {off:.2g}")
    recorded = _record_for(bundle, golden, variant, engine)
    if bundle.manifest.outputs:
        return _compared_tensors(subject, answered, recorded, bundle.manifest.outputs)
    return _compared(subject, answered, recorded, golden.reference)


def _must_run(golden: GoldenTensors, variant: Variant, engine_name: str) -> bool:
    """Whether the bundle says that this engine runs this file; schema 1 says so of all."""
    proven_on = variant.engine.partition(" ")[0]
    return proven_on in ("", engine_name) or (variant.name, engine_name) in golden.engine_raw


@dataclass(frozen=True, eq=False)
class _Recorded:
    """What an engine's answers are held to.

    Attributes:
        probabilities: float32, (samples, labels).
        limits: how far each input's may lie from them: float32, (samples, 1).
        by: whose answers they are, in words.
    """

    probabilities: np.ndarray
    limits: np.ndarray
    by: str


def _record_for(
    bundle: Bundle, golden: GoldenTensors, variant: Variant, engine: Engine
) -> _Recorded:
    """The same engine's own record as far as there is one, else the proving engine's."""
    wanted = golden.probabilities[variant.name].copy()
    limits = np.full((len(wanted), 1), variant.tolerance, np.float32)
    proven = f"as proven on {printable(variant.engine)}" if variant.engine else "as recorded"
    own = golden.engine_raw.get((variant.name, engine.name))
    if own is None:
        return _Recorded(wanted, limits, proven)
    # An engine that was too slow recorded the first few inputs only.
    count = len(own)
    wanted[:count] = bundle.head.probabilities(engine.dequantize(own))
    version = _recorded_version(bundle, variant, engine)
    if variant.floor and _same_arithmetic(bundle, variant, version, engine.version):
        limits[:count] = variant.floor
    by = f"as recorded on {engine.name} {version}".rstrip()
    return _Recorded(
        wanted, limits, by if count == len(wanted) else f"first {count} {by}, {proven}"
    )


def _recorded_version(bundle: Bundle, variant: Variant, engine: Engine) -> str:
    """The engine's version, with its kernels, when the bundle was made."""
    for cell in bundle.manifest.matrix:
        if (cell.variant, cell.engine) == (variant.name, engine.name):
            return printable(cell.version)
    return ""


def _same_arithmetic(bundle: Bundle, variant: Variant, recorded: str, here: str) -> bool:
    """Whether the engine computes here as it did when it recorded its answers.

    onnxruntime runs a float16 file in half precision where the processor has it, and otherwise in
    float32, between casts.
    """
    if _kernels(recorded) != _kernels(here):
        return False
    if variant.name == "onnx-float16":
        return not computes_in_half()
    if variant.name in _ROUNDS_FLOATS:
        made_on = bundle.manifest.provenance.get("machine")
        return isinstance(made_on, dict) and is_this_processor(made_on)
    return True


def _kernels(version: str) -> str:
    return version.partition(" ")[2]


def _compared(
    subject: str, answered: np.ndarray, recorded: _Recorded, reference: np.ndarray
) -> Check:
    wanted = recorded.probabilities
    with np.errstate(invalid="ignore"):  # infinity less infinity
        off = np.abs(answered - wanted).max(axis=1, keepdims=True)
    worst = int((off / recorded.limits).argmax())
    flips = int((answered.argmax(1) != wanted.argmax(1)).sum())
    detail = (
        f"{len(wanted)} inputs, max off {off[worst, 0]:.2g} "
        f"(limit {recorded.limits[worst, 0]:.2g}) {recorded.by}"
    )
    if flips:
        detail += f", {flips} other first labels"
    as_trained = int((answered.argmax(1) == reference.argmax(1)).sum())
    detail += f"; {as_trained} first labels as the trained model's"
    if _within(answered, wanted, recorded.limits):
        return Check(subject, "same", "head", float(off[worst, 0]), detail)
    return Check(subject, "differs", "engine", float(off[worst, 0]), detail)


def _compared_tensors(
    subject: str, answered: np.ndarray, recorded: _Recorded, outputs: Sequence[TensorOutput]
) -> Check:
    """Errors are relative to each output's range; the output that is farthest off is named."""
    limits = recorded.limits[:, 0]
    by_output = output_errors(answered, recorded.probabilities, outputs)
    output, off = max(by_output, key=lambda e: float((e[1] / _limits(e[0], limits)).max()))
    allowed = _limits(output, limits)
    worst = int((off / allowed).argmax())
    of = "whole numbers of" if output.whole else "the range of"
    detail = (
        f"{len(limits)} inputs, max off {off[worst]:.2g} of {of} {printable(output.name)!r} "
        f"(limit {allowed[worst]:.2g}) {recorded.by}; {count_of(len(outputs), 'output')}"
    )
    same = bool((off <= allowed).all())
    stage: Stage = "head" if same else "engine"
    return Check(subject, "same" if same else "differs", stage, float(off[worst]), detail)


def _limits(output: TensorOutput, limits: np.ndarray) -> np.ndarray:
    """How far each input's may lie: a few whole numbers, such as classes, may be other ones."""
    return np.maximum(limits, WHOLE_LIMIT) if output.whole else limits


def _within(answered: np.ndarray, recorded: np.ndarray, tolerance: float | np.ndarray) -> bool:
    # Written so that a NaN on either side fails.
    return bool(np.isfinite(answered).all() and (np.abs(answered - recorded) <= tolerance).all())


def _max_difference(answered: np.ndarray, recorded: np.ndarray) -> float:
    with np.errstate(invalid="ignore"):  # infinity less infinity
        return float(np.abs(answered - recorded).max(initial=0.0))


def _max_levels(made: np.ndarray, recorded: np.ndarray) -> int:
    return int(np.abs(made.astype(np.int16) - recorded.astype(np.int16)).max(initial=0))


def _require_shapes(bundle: Bundle, golden: GoldenTensors) -> None:
    """The tensors are hashed, but a bundle made by someone else's program may still not fit."""
    frame_shape, shape = bundle.preprocess.input_shape, bundle.manifest.input_shape
    labels = bundle.manifest.answered
    samples = len(golden.inputs)
    recorded = [golden.reference, *golden.probabilities.values()]
    fits = (
        golden.frame_inputs.ndim == 1 + len(frame_shape)
        and golden.inputs.ndim == 1 + len(shape)
        and all(array.dtype == np.float32 for array in recorded)
        and bool(np.isfinite(golden.reference).all())
        and len(golden.frames) == len(bundle.manifest.golden.frames) == len(golden.frame_inputs)
        and all(f.dtype == np.uint8 and f.ndim == 3 and f.shape[2] == 3 for f in golden.frames)
        and golden.frame_inputs.dtype == golden.inputs.dtype == np.uint8
        and golden.frame_inputs.shape[1:] == frame_shape
        and golden.inputs.shape[1:] == shape
        and golden.reference.shape == (samples, labels)
        and samples > 0
        and all(p.shape == (samples, labels) for p in golden.probabilities.values())
        and all(_fits_engine(array, golden.raw[v]) for (v, _), array in golden.engine_raw.items())
    )
    if not fits:
        raise BundleError(f"{bundle.path}: the golden set does not fit the manifest.")


def _fits_engine(array: np.ndarray, proven: np.ndarray) -> bool:
    """Whether an engine's record is numbers for the first so many of the golden inputs."""
    return (
        array.dtype.kind in "iuf"
        and array.ndim == proven.ndim
        and array.shape[1:] == proven.shape[1:]
        and 0 < len(array) <= len(proven)
    )
