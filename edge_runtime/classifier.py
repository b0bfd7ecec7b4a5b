"""A bundle's model on this machine, from a frame to an answer."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from edge_runtime.bundle import Bundle
from edge_runtime.errors import TaskError
from edge_runtime.loaded import LoadedBundle, default_options
from edge_runtime.tensors import some_outputs

__all__ = ["Classifier", "Prediction", "default_options", "require_labels"]


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


class Classifier(LoadedBundle):
    """Answers frames with one variant of a bundle on one engine.

    >>> classifier = Classifier(Bundle.open("pets.bundle"))        # doctest: +SKIP
    >>> classifier.classify(cv2.imread("cat.jpg")).label           # doctest: +SKIP
    'cat'
    """

    def classify(self, frame_bgr: np.ndarray) -> Prediction:
        """Answer one frame: uint8, shape (height, width, 3), BGR.

        A model of clips is given a clip in which nothing moves; what moves is answered by `run`,
        which remembers the frames before, or by a `ClipBuffer` and `probabilities`.

        Raises:
            ImageError: when it is not such a frame.
        """
        start = time.perf_counter()
        tensor = self.bundle.preprocess(frame_bgr)
        if self.bundle.clip:
            tensor = np.broadcast_to(tensor, self.bundle.manifest.input_shape)
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

    def probabilities(self, batch: np.ndarray) -> np.ndarray:
        """Float32 (batch, labels) for preprocessed inputs, uint8 (batch, *input).

        At the bundle's temperature, so that a score of 0.8 is right eight times in ten.
        """
        answered = self.uncalibrated(batch)
        temperature = self.bundle.manifest.temperature
        return answered if temperature is None else temperature(answered)

    def uncalibrated(self, batch: np.ndarray) -> np.ndarray:
        """The same as the file itself answers, before the bundle's temperature."""
        raw = self.engine.infer(batch)
        return self.bundle.head.probabilities(self.engine.dequantize(raw))

    def _require_task(self) -> None:
        require_labels(self.bundle)


def require_labels(bundle: Bundle) -> None:
    """Raises TaskError for a bundle of raw tensors."""
    outputs = bundle.manifest.outputs
    if outputs:
        raise TaskError(
            f"{bundle.path}: answers raw tensors ({some_outputs(outputs)}) and no labels, which "
            "cannot be shown yet; edge_runtime.TensorModel gives them to a program of yours, and "
            "edgeproof verify and bench take it."
        )
