"""ONNX files on onnxruntime, with whatever execution providers it was built with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from edge_runtime.engines.base import Engine, Placement, TensorSpec, threads_or_all
from edge_runtime.engines.onnx_providers import (
    CPU,
    is_accelerator,
    providers_asked_for,
    short_name,
    with_options,
)
from edge_runtime.engines.onnx_share import AssignmentMeter
from edge_runtime.engines.options import NO_OPTIONS, EngineOptions
from edge_runtime.errors import AcceleratorError, EngineError
from edge_runtime.quiet import native_stderr, python_output
from edge_runtime.text import one_line

_DTYPES = {
    "tensor(uint8)": np.uint8,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}
_SEVERITY_ERROR = 3
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")  # onnxruntime colours its log


class OnnxRuntimeEngine(Engine):
    """onnxruntime: on the CPU, or on the providers that the options name, in their order."""

    name = "onnxruntime"
    _session: Any

    def __init__(
        self, model: Path, *, threads: int = 0, options: EngineOptions = NO_OPTIONS
    ) -> None:
        self.version = onnxruntime.__version__
        self.threads = threads_or_all(threads)
        asked = providers_asked_for(options.providers)
        here = [name for name in asked if name in onnxruntime.get_available_providers()]
        missing = {name: "this onnxruntime has it not" for name in asked if name not in here}
        missing |= self._load(model, here, options)
        missing |= {
            name: "took none of the model's operators"
            for name in here
            if name not in missing and name != CPU and not self._took(name)
        }
        # In the order that was asked for: the first is what was wanted most.
        notes = [f"{d.name}: is a delegate, for TFLite files only" for d in options.delegates]
        notes += [f"{short_name(name)}: {missing[name]}" for name in asked if name in missing]
        if options.require_accelerator and not self.is_accelerated:
            said = "; ".join(notes) or "only the CPU was asked for (--provider NAME)"
            raise AcceleratorError(f"{self.name} has no accelerator: {said}")
        self.notes = tuple(f"{note}; running without it" for note in notes)

    def close(self) -> None:
        super().close()
        self._session = None

    def _load(self, model: Path, providers: list[str], options: EngineOptions) -> dict[str, str]:
        """Make the session and count; returns why a provider among `providers` is not in it."""
        missing: dict[str, str] = {}
        while True:
            wanted = [name for name in providers if name not in missing]
            said = self._start_session(model, wanted, options)
            failed = [name for name in wanted if name not in self._session.get_providers()]
            if not failed:
                return missing
            # onnxruntime may have dropped good ones with it: the rest is tried again.
            missing[failed[0]] = f"does not start: {_reason(said)}"

    def _start_session(self, model: Path, providers: list[str], options: EngineOptions) -> str:
        """Make the session; returns what onnxruntime said meanwhile.

        Where a provider does not start, onnxruntime says why on either stream and goes on.
        """
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = self.threads
        # Waiting threads would otherwise burn a core between two frames.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        settings.add_session_config_entry("session.inter_op.allow_spinning", "0")
        # x86 without VNNI adds products of bytes in pairs of 16 bits, which saturate: int8 answers
        # are wrong without a word. With this they are right, and a third slower; others ignore it.
        settings.add_session_config_entry("session.x64quantprecision", "1")
        settings.log_severity_level = _SEVERITY_ERROR
        meter = None if providers == [CPU] else AssignmentMeter(settings)
        told = [with_options(name, model, options) for name in providers]
        try:
            with native_stderr() as written, python_output() as printed:
                self._session = onnxruntime.InferenceSession(str(model), settings, providers=told)
                said = written() + printed.getvalue()
        except Exception as exc:  # onnxruntime raises its own, unrelated classes
            raise EngineError(f"{model}: does not load on {self.name}: {exc}") from exc
        # Later failures are errors: nothing moves to another provider in the middle of a run.
        self._session.disable_fallback()
        self._read_specs(model)
        if meter:
            feed = {self.input.name: np.zeros((1, *self.input.shape), self.input.dtype)}
            self._place(meter.count(self._session, model, feed))
        return said

    def _read_specs(self, model: Path) -> None:
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or not outputs:
            raise EngineError(
                f"{model}: has {len(inputs)} inputs and {len(outputs)} outputs; one input and at "
                "least one output are run."
            )
        self.input = _spec(inputs[0], model)
        self.outputs = tuple(_spec(output, model) for output in outputs)
        self.output = self.outputs[0]
        # A graph may be fixed to one picture.
        self._alone = inputs[0].shape[:1] == [1]

    def _place(self, operators: Mapping[str, int]) -> None:
        total = sum(operators.values())
        parts = [
            Placement(short_name(name), count, total, is_accelerator(name))
            for name, count in operators.items()
            if name != CPU and count
        ]
        self.placements = tuple(sorted(parts, key=lambda part: -part.operators))

    def _took(self, provider: str) -> bool:
        return any(part.name == short_name(provider) for part in self.placements)

    def _infer(self, batch: np.ndarray) -> np.ndarray:
        if self._alone and len(batch) > 1:
            return np.concatenate([self._run(picture[np.newaxis])[0] for picture in batch])
        return self._run(batch)[0]

    def _infer_all(self, picture: np.ndarray) -> tuple[np.ndarray, ...]:
        return self._run(picture)

    def _run(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        try:
            answered = self._session.run(
                [output.name for output in self.outputs], {self.input.name: batch}
            )
        except Exception as exc:  # onnxruntime raises its own, unrelated classes
            raise EngineError(f"{self.name} failed to run the model: {exc}") from exc
        return tuple(map(np.asarray, answered))


def _reason(said: str) -> str:
    """The part of onnxruntime's words that tells what is missing."""
    for pattern in (r"with error: ([^\n]+)", r"(Failed to [^\n]+)", r"(Please [^\n]+)"):
        if found := re.search(pattern, said):
            return one_line(_ESCAPES.sub("", found[1]))
    return one_line(_ESCAPES.sub("", said)) or "no reason given"


def _spec(node: onnxruntime.NodeArg, model: Path) -> TensorSpec:
    if node.type not in _DTYPES or not all(isinstance(n, int) for n in node.shape[1:]):
        raise EngineError(f"{model}: tensor {node.name!r} is {node.type}{node.shape}, not run.")
    return TensorSpec(node.name, tuple(node.shape[1:]), np.dtype(_DTYPES[node.type]))
