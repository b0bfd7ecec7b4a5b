"""ONNX files on the standard's own reference evaluator: numpy, operator by operator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import version_converter
from onnx.reference import ReferenceEvaluator

from edge_runtime.engines.base import Engine
from edge_runtime.engines.onnx_file import read_specs
from edge_runtime.errors import EngineError

# The evaluator lacks older versions of some operators, such as DequantizeLinear before 19;
# onnx itself rewrites a file to this opset, which says the same.
_FALLBACK_OPSET = 21


class OnnxReferenceEngine(Engine):
    """The onnx package's ReferenceEvaluator: slow, and as plain as the standard itself."""

    name = "onnx-reference"

    def __init__(self, model: Path, *, threads: int = 0) -> None:
        self.version = onnx.__version__
        self.threads = 1  # numpy decides for itself
        self.input, self.outputs = read_specs(model)
        self.output = self.outputs[0]
        try:
            loaded = onnx.load(str(model))
            try:
                self._evaluator = ReferenceEvaluator(loaded)
            except RuntimeError:
                converted = version_converter.convert_version(loaded, _FALLBACK_OPSET)
                self._evaluator = ReferenceEvaluator(converted)
                self.version = f"{onnx.__version__} opset-{_FALLBACK_OPSET}"
        except Exception as exc:  # the evaluator raises whatever it meets
            raise EngineError(f"{model}: does not load on {self.name}: {exc}") from exc

    def _infer(self, batch: np.ndarray) -> np.ndarray:
        return self._infer_all(batch)[0]

    def _infer_all(self, picture: np.ndarray) -> tuple[np.ndarray, ...]:
        try:
            answered = self._evaluator.run(None, {self.input.name: picture})
        except Exception as exc:  # the evaluator raises whatever it meets
            raise EngineError(f"{self.name} failed to run the model: {exc}") from exc
        return tuple(map(np.asarray, answered))
