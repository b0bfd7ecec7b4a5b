"""TFLite files, on LiteRT or on its older name tflite-runtime: one interpreter interface."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edge_runtime.engines.base import Engine, Placement, TensorSpec, threads_or_all
from edge_runtime.engines.delegates import delegated_operators, load_delegates
from edge_runtime.engines.options import NO_OPTIONS, EngineOptions
from edge_runtime.errors import AcceleratorError, EngineError
from edge_runtime.quiet import quiet_native_stderr
from edge_runtime.text import one_line

XNNPACK = "XNNPACK"


class _InterpreterEngine(Engine):
    _module: ClassVar[str]
    _resolver: ClassVar[str] = "AUTO"
    _kernels: ClassVar[str] = "built-in"
    _interpreter: Any

    def __init__(
        self, model: Path, *, threads: int = 0, options: EngineOptions = NO_OPTIONS
    ) -> None:
        module = importlib.import_module(self._module)
        package = importlib.import_module(self._module.partition(".")[0])
        self.threads = threads_or_all(threads)
        loaded = load_delegates(module, options.delegates)
        notes, delegates = list(loaded.problems), list(loaded.delegates)
        names = " + ".join(loaded.names)
        try:
            self._build(module, model, delegates, names)
        except EngineError as exc:
            if not delegates:
                raise
            # The same error without them is the file's; otherwise it was theirs.
            self._build(module, model, [], "")
            notes.append(f"{names}: does not take this model: {one_line(str(exc.__cause__))}")
        if delegates and not self.is_accelerated and len(notes) == len(loaded.problems):
            notes.append(f"{names}: took none of the model's operators")
        if options.require_accelerator and not self.is_accelerated:
            missing = "; ".join(notes) or "no delegate was given (--delegate LIBRARY)"
            raise AcceleratorError(f"{self.name} has no accelerator: {missing}")
        self.notes = tuple(f"{note}; running without it" for note in notes)
        has_xnnpack = any(p.name == XNNPACK for p in self.placements)
        kernels = XNNPACK if has_xnnpack else self._kernels
        self.version = f"{getattr(package, '__version__', '')} {kernels}".strip()
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if len(inputs) != 1 or not outputs:
            raise EngineError(
                f"{model}: has {len(inputs)} inputs and {len(outputs)} outputs; one input and at "
                "least one output are run."
            )
        self._input_index = inputs[0]["index"]
        self._output_indices = tuple(entry["index"] for entry in outputs)
        self.input, self.outputs = _spec(inputs[0]), tuple(map(_spec, outputs))
        self.output = self.outputs[0]

    def close(self) -> None:
        super().close()
        self._interpreter = None

    def _build(self, module: Any, model: Path, delegates: list[Any], names: str) -> None:
        """Make the interpreter, and count what runs where."""
        try:
            with quiet_native_stderr():
                self._interpreter = module.Interpreter(
                    model_path=str(model),
                    num_threads=self.threads,
                    experimental_delegates=delegates or None,
                    experimental_op_resolver_type=module.OpResolverType[self._resolver],
                )
                # XNNPACK comes with the allocation: delegates that are there before are others.
                given = sum(d.operators for d in delegated_operators(self._interpreter))
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError, TypeError) as exc:  # TypeError: a path that is no UTF-8
            raise EngineError(f"{model}: does not load on {self.name}: {exc}") from exc
        found = delegated_operators(self._interpreter)
        taken = sum(d.operators for d in found) - given
        total = found[0].total if found else 0
        parts = [
            Placement(names, given, total, is_accelerator=True),
            Placement(XNNPACK, taken, total, is_accelerator=False),
        ]
        parts = [part for part in parts if part.operators]
        self.placements = tuple(sorted(parts, key=lambda part: -part.operators))

    def _infer(self, batch: np.ndarray) -> np.ndarray:
        # One picture at a time, as on the device: a batch would make the interpreter re-plan.
        rows = []
        for picture in batch:
            self._invoke(picture[np.newaxis])
            rows.append(self._interpreter.get_tensor(self._output_indices[0]))
        return np.concatenate(rows) if rows else np.empty((0, *self.output.shape))

    def _infer_all(self, picture: np.ndarray) -> tuple[np.ndarray, ...]:
        self._invoke(picture)
        return tuple(self._interpreter.get_tensor(index) for index in self._output_indices)

    def _invoke(self, picture: np.ndarray) -> None:
        self._interpreter.set_tensor(self._input_index, picture)
        try:
            self._interpreter.invoke()
        except RuntimeError as exc:
            raise EngineError(f"{self.name} failed to run the model: {exc}") from exc


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


def _spec(details: dict[str, Any]) -> TensorSpec:
    scale, zero_point = details["quantization"]
    return TensorSpec(
        name=details["name"],
        shape=tuple(int(n) for n in details["shape"][1:]),
        dtype=np.dtype(details["dtype"]),
        scale=float(scale),
        zero_point=int(zero_point),
    )
