"""Looking inside a TFLite file while it runs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np

from converters.float_graphs import quiet_converters
from edge_runtime.engines.base import threads_or_all


class TensorProbe:
    """Runs a TFLite file and gives the values of chosen tensors, by name."""

    def __init__(self, tflite: bytes, tensors: Mapping[int, str]) -> None:
        """Load a file.

        Args:
            tensors: index in the flatbuffer, and the name to give its values under.
        """
        from ai_edge_litert.interpreter import Interpreter

        with quiet_converters(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that keeping all tensors takes memory
            self._interpreter = Interpreter(
                model_content=tflite,
                num_threads=threads_or_all(0),
                experimental_preserve_all_tensors=True,
            )
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._tensors = dict(tensors)

    def run(self, value: np.ndarray) -> dict[str, np.ndarray]:
        """The chosen tensors for one input, as stored: quantised ones as integers."""
        self._interpreter.set_tensor(self._input, value)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for index, name in self._tensors.items()}
