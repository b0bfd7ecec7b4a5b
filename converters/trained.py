"""A model from elsewhere as conversion sees it: its answers on its own runtime, and its graphs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import numpy as np

from edge_runtime.head import Head


class TrainedModel(ABC):
    """What stands in for a Keras model of ours."""

    @abstractmethod
    def answers(self, pixels: np.ndarray) -> np.ndarray:
        """What the model answers on its own runtime: float32, (samples, units).

        Args:
            pixels: uint8, (samples, H, W, 3), as the bundle's `Preprocess` makes them.

        Raises:
            ConversionError: when its runtime fails.
        """

    @abstractmethod
    def tflite(self, head: Head) -> bytes:
        """The float32 TFLite graph: uint8 pixels in, probabilities out. Raises ConversionError."""

    @abstractmethod
    def onnx(self, head: Head, tflite: Callable[[], bytes]) -> bytes:
        """The same as ONNX; `tflite` gives the TFLite graph. Raises ConversionError."""

    def as_it_is(self, head: Head) -> Mapping[str, Callable[[], bytes]]:
        """Variants that are the file itself and not made of a float graph, by their names."""
        return {}
