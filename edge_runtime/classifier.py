"""A bundle's model on this machine, from a frame to an answer."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import devices
from devices import Profile
from edge_runtime.bundle import Bundle
from edge_runtime.engines import ENGINES, Engine, installed_engines, load_engine
from edge_runtime.errors import EngineError, EngineMissingError, TensorError, VariantError
from edge_runtime.manifest import Variant


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer for one frame.

    Attributes:
        label: the most probable label.
        index: its place in the bundle's labels.
        score: its probability.
        probabilities: float32, shape (labels,).
        preprocess_ms: from frame to input tensor.
        infer_ms: inside the engine and the head; no capture, no resize.
    """

    label: str
    index: int
    score: float
    probabilities: np.ndarray
    preprocess_ms: float
    infer_ms: float


class Classifier:
    """Answers frames with one variant of a bundle on one engine.

    >>> classifier = Classifier(Bundle.open("pets.bundle"))        # doctest: +SKIP
    >>> classifier.classify(cv2.imread("cat.jpg")).label           # doctest: +SKIP
    'cat'
    """

    def __init__(
        self,
        bundle: Bundle | str | Path,
        *,
        variant: str | None = None,
        engine: str | None = None,
        threads: int | None = None,
        profile: Profile | None = None,
    ) -> None:
        """Load a variant.

        Args:
            variant: such as `tflite-int8`; unless given, the first in the profile's order that
                the bundle holds and an installed engine runs.
            engine: key in `ENGINES`; unless given, the first installed in the profile's order.
            threads: 0 means one for each core; unless given, the profile's.
            profile: what suits the device; unless given, that of this machine.

        Raises:
            BundleError: when the bundle or its file is damaged.
            VariantError: when there is no such variant or none can run here.
            EngineError: when the file does not load.
        """
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        device = devices.detect()
        self.profile = profile = profile or devices.profile_for(device)
        self.variant, engine_name = choose(
            self.bundle, variant=variant, engine=engine, profile=profile
        )
        self.engine: Engine = load_engine(
            engine_name,
            self.bundle.checked_file(self.variant.file),
            threads=profile.threads_on(device) if threads is None else threads,
        )
        self._require_fit()

    def classify(self, frame_bgr: np.ndarray) -> Prediction:
        """Answer one frame: uint8, shape (height, width, 3), BGR.

        Raises:
            ImageError: when it is not such a frame.
        """
        start = time.perf_counter()
        tensor = self.bundle.preprocess(frame_bgr)
        ready = time.perf_counter()
        probabilities = self.probabilities(tensor[np.newaxis])[0]
        done = time.perf_counter()
        index = int(probabilities.argmax())
        return Prediction(
            label=self.bundle.labels[index],
            index=index,
            score=float(probabilities[index]),
            probabilities=probabilities,
            preprocess_ms=(ready - start) * 1e3,
            infer_ms=(done - ready) * 1e3,
        )

    def twin(self) -> Classifier:
        """The same variant on an engine of its own: one engine serves one thread at a time.

        Raises:
            EngineError: when there is not enough memory for another.
        """
        twin = copy.copy(self)
        twin.engine = load_engine(
            self.engine.name,
            self.bundle.checked_file(self.variant.file),
            threads=self.engine.threads,
        )
        return twin

    def probabilities(self, batch: np.ndarray) -> np.ndarray:
        """Float32 (batch, labels) for preprocessed inputs, uint8 (batch, H, W, 3)."""
        raw = self.engine.infer(batch)
        return self.bundle.head.probabilities(self.engine.dequantize(raw))

    def _require_fit(self) -> None:
        """A hashed file can still be another model than the manifest speaks of."""
        units = self.bundle.head.output_units(len(self.bundle.labels))
        want_input, want_output = self.bundle.preprocess.input_shape, (units,)
        if (self.engine.input.shape, self.engine.output.shape) != (want_input, want_output):
            raise TensorError(
                f"{self.bundle.path}: {self.variant.name} maps {self.engine.input.shape} to "
                f"{self.engine.output.shape}, the manifest says {want_input} to {want_output}."
            )


def choose(
    bundle: Bundle, *, variant: str | None, engine: str | None, profile: Profile
) -> tuple[Variant, str]:
    """Which variant to run on which engine.

    Raises:
        VariantError: when nothing fits.
        EngineMissingError: when what was asked for has no engine here.
    """
    if variant is not None:
        chosen = bundle.variant(variant)
        return chosen, _engine_for(chosen, engine, profile.engine)
    # What the profile does not name comes last, in the bundle's own order.
    held = {v.name: v for v in bundle.variants}
    for name in dict.fromkeys([*profile.variants, *held]):
        if name in held:
            try:
                return held[name], _engine_for(held[name], engine, profile.engine)
            except EngineMissingError:
                continue
    runner = f"engine {engine!r}" if engine else "an installed engine"
    raise VariantError(
        f"{bundle.path}: holds {', '.join(held)}, none of which {runner} runs here; "
        "for TFLite pip install ai-edge-litert, for ONNX pip install 'edgeproof[onnx]'."
    )


def _engine_for(variant: Variant, asked: str | None, preferred: Sequence[str]) -> str:
    installed = installed_engines(variant.format)
    if asked is not None:
        if asked in installed:
            return asked
        if asked not in ENGINES:
            raise EngineError(f"No engine {asked!r}. Known: {', '.join(ENGINES)}.")
        if ENGINES[asked].format == variant.format:
            raise EngineMissingError(
                f"Engine {asked!r} is not installed: pip install {ENGINES[asked].install}"
            )
        raise EngineMissingError(
            f"Engine {asked!r} does not run {variant.name}; "
            f"for {variant.format} there is {', '.join(_runs(variant.format))}."
        )
    for name in [*preferred, *installed]:
        if name in installed:
            return name
    installs = " or ".join(f"pip install {ENGINES[n].install}" for n in _runs(variant.format))
    raise EngineMissingError(f"No engine for {variant.name} is installed: {installs}")


def _runs(format: str) -> list[str]:
    return [name for name, entry in ENGINES.items() if entry.format == format]
