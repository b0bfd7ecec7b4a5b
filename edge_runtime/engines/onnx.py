"""ONNX files on onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from edge_runtime.engines.base import Engine, TensorSpec, threads_or_all
from edge_runtime.errors import EngineError

_DTYPES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}


class OnnxRuntimeEngine(Engine):
    """onnxruntime on the CPU."""

    name = "onnxruntime"

    def __init__(self, model: Path, *, threads: int = 0) -> None:
        self.version = onnxruntime.__version__
        self.threads = threads_or_all(threads)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        # Waiting threads would otherwise burn a core between two frames.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # x86 without VNNI adds products of bytes in pairs of 16 bits, which saturate: int8 answers
        # are wrong without a word. With this they are right, and a third slower; others ignore it.
        options.add_session_config_entry("session.x64quantprecision", "1")
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(model), options, providers=["CPUExecutionProvider"]
            )
        except Exception as exc:  # onnxruntime raises its own, unrelated classes
            raise EngineError(f"{model}: does not load on {self.name}: {exc}") from exc
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise EngineError(
                f"{model}: has {len(inputs)} inputs and {len(outputs)} outputs; one of each is run."
            )
        self.input, self.output = _spec(inputs[0], model), _spec(outputs[0], model)

    def _infer(self, batch: np.ndarray) -> np.ndarray:
        try:
            (output,) = self._session.run([self.output.name], {self.input.name: batch})
        except Exception as exc:  # onnxruntime raises its own, unrelated classes
            raise EngineError(f"{self.name} failed to run the model: {exc}") from exc
        return np.asarray(output)


def _spec(node: onnxruntime.NodeArg, model: Path) -> TensorSpec:
    if node.type not in _DTYPES or not all(isinstance(n, int) for n in node.shape[1:]):
        raise EngineError(f"{model}: tensor {node.name!r} is {node.type}{node.shape}, not run.")
    return TensorSpec(node.name, tuple(node.shape[1:]), np.dtype(_DTYPES[node.type]))
