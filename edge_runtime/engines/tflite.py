"""TFLite files, on LiteRT or on its older name tflite-runtime: one interpreter interface."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edge_runtime.engines.base import Engine, TensorSpec, threads_or_all
from edge_runtime.errors import EngineError
from edge_runtime.quiet import quiet_native_stderr


class _InterpreterEngine(Engine):
    _module: ClassVar[str]
    _resolver: ClassVar[str] = "AUTO"
    _kernels: ClassVar[str] = "built-in"

    def __init__(self, model: Path, *, threads: int = 0) -> None:
        interpreter_module = importlib.import_module(self._module)
        package = importlib.import_module(self._module.partition(".")[0])
        self.threads = threads_or_all(threads)
        try:
            with quiet_native_stderr():
                self._interpreter = interpreter_module.Interpreter(
                    model_path=str(model),
                    num_threads=self.threads,
                    experimental_op_resolver_type=interpreter_module.OpResolverType[self._resolver],
                )
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError, TypeError) as exc:  # TypeError: a path that is no UTF-8
            raise EngineError(f"{model}: does not load on {self.name}: {exc}") from exc
        kernels = "XNNPACK" if _has_delegate(self._interpreter) else self._kernels
        self.version = f"{getattr(package, '__version__', '')} {kernels}".strip()
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise EngineError(
                f"{model}: has {len(inputs)} inputs and {len(outputs)} outputs; one of each is run."
            )
        self._input_index = inputs[0]["index"]
        self._output_index = outputs[0]["index"]
        self.input, self.output = _spec(inputs[0]), _spec(outputs[0])

    def _infer(self, batch: np.ndarray) -> np.ndarray:
        # One picture at a time, as on the device: a batch would make the interpreter re-plan.
        rows = []
        for picture in batch:
            self._interpreter.set_tensor(self._input_index, picture[np.newaxis])
            try:
                self._interpreter.invoke()
            except RuntimeError as exc:
                raise EngineError(f"{self.name} failed to run the model: {exc}") from exc
            rows.append(self._interpreter.get_tensor(self._output_index))
        return np.concatenate(rows) if rows else np.empty((0, *self.output.shape))


class LiteRtEngine(_InterpreterEngine):
    """LiteRT (ai-edge-litert), with XNNPACK where it takes the operators."""

    name = "litert"
    _module = "ai_edge_litert.interpreter"


class LiteRtBuiltinEngine(_InterpreterEngine):
    """LiteRT's own optimised kernels without XNNPACK: what older runtimes run int8 files with."""

    name = "litert-builtin"
    _module = "ai_edge_litert.interpreter"
    _resolver = "BUILTIN_WITHOUT_DEFAULT_DELEGATES"


class LiteRtReferenceEngine(_InterpreterEngine):
    """LiteRT's reference kernels: plain loops, the definition of what an operator answers."""

    name = "litert-reference"
    _module = "ai_edge_litert.interpreter"
    _resolver = "BUILTIN_REF"
    _kernels = "reference"


class TfliteRuntimeEngine(_InterpreterEngine):
    """tflite-runtime, LiteRT's predecessor: what 32-bit Raspberry Pi OS has wheels for."""

    name = "tflite-runtime"
    _module = "tflite_runtime.interpreter"


def _has_delegate(interpreter: Any) -> bool:
    """Whether XNNPACK, the only delegate that is ever applied here, took any operator.

    A delegate's nodes come after the file's own. No public call lists nodes.
    """
    details: list[dict[str, Any]] = getattr(interpreter, "_get_ops_details", list)()
    return any(node["op_name"] == "DELEGATE" for node in details[-1:])


def _spec(details: dict[str, Any]) -> TensorSpec:
    scale, zero_point = details["quantization"]
    return TensorSpec(
        name=details["name"],
        shape=tuple(int(n) for n in details["shape"][1:]),
        dtype=np.dtype(details["dtype"]),
        scale=float(scale),
        zero_point=int(zero_point),
    )
