"""A bundle of raw tensors on this machine: from a frame to arrays by name."""

from __future__ import annotations

from typing import Literal

import numpy as np

from edge_runtime.engines import TensorEngine
from edge_runtime.errors import TaskError
from edge_runtime.loaded import LoadedBundle


class TensorModel(LoadedBundle):
    """Gives what a model answers as it is: boxes, maps, feature vectors.

    Takes what `Classifier` takes, and chooses variant and engine as it does.

    >>> model = TensorModel("faces.bundle")                        # doctest: +SKIP
    >>> model.answer(cv2.imread("street.jpg"))["boxes"].shape      # doctest: +SKIP
    (10, 4)
    """

    def answer(
        self, picture: np.ndarray, *, channels: Literal["bgr", "rgb"] = "bgr"
    ) -> dict[str, np.ndarray]:
        """Each output by its name, in the bundle's order.

        Args:
            picture: uint8, shape (height, width, 3), of any size: a frame as a camera gives it.
            channels: its order of them; OpenCV's unless told.

        Returns:
            arrays of the bundle's shapes, without the batch axis, and of the trained model's types;
            numbers of quantised files are real ones.

        Raises:
            ImageError: when it is no such picture.
            EngineError: when the runtime fails.
        """
        frame = picture if channels == "bgr" else np.ascontiguousarray(picture[..., ::-1])
        return self.answer_input(self.bundle.preprocess(frame))

    def answer_input(self, tensor: np.ndarray) -> dict[str, np.ndarray]:
        """The same for an input as the bundle's `Preprocess` makes it: uint8 (height, width, 3)."""
        assert isinstance(self.engine, TensorEngine)  # the manifest has outputs
        outputs = self.bundle.manifest.outputs
        values = self.engine.tensors(tensor)
        return {o.name: o.typed(value) for o, value in zip(outputs, values, strict=True)}

    def row(self, batch: np.ndarray) -> np.ndarray:
        """All outputs in one row an input, as proofs compare them: see `tensors.joined`."""
        return self.engine.infer(batch)

    def _require_task(self) -> None:
        if not self.bundle.manifest.outputs:
            raise TaskError(
                f"{self.bundle.path}: answers one of {len(self.bundle.labels)} labels, no raw "
                "tensors; edge_runtime.Classifier takes it."
            )
