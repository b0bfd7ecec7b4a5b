"""Runtimes that run a model file, each imported on first use."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.engines.base import Engine, Placement, TensorSpec
from edge_runtime.engines.options import NO_OPTIONS, Delegate, EngineOptions
from edge_runtime.engines.tensors import TensorEngine
from edge_runtime.errors import EngineError, EngineMissingError
from edge_runtime.tensors import TensorOutput

__all__ = [
    "ENGINES",
    "NO_OPTIONS",
    "PEERS",
    "Delegate",
    "Engine",
    "EngineEntry",
    "EngineOptions",
    "Placement",
    "TensorEngine",
    "TensorSpec",
    "installed_engines",
    "is_installed",
    "load_engine",
    "matrix_engines",
]


@dataclass(frozen=True)
class EngineEntry:
    """Where an engine lives and what it needs.

    Attributes:
        module: our module that holds `cls`.
        imports: the package's import name, looked for without importing it.
        install: what a user types after `pip install` to get it.
        format: which model files it runs.
    """

    module: str
    cls: str
    imports: str
    install: str
    format: str


# What answers a camera, best first.
ENGINES = {
    "litert": EngineEntry(
        "edge_runtime.engines.tflite", "LiteRtEngine", "ai_edge_litert", "ai-edge-litert", "tflite"
    ),
    "tflite-runtime": EngineEntry(
        "edge_runtime.engines.tflite",
        "TfliteRuntimeEngine",
        "tflite_runtime",
        "'edgeproof[legacy]'",
        "tflite",
    ),
    "onnxruntime": EngineEntry(
        "edge_runtime.engines.onnx",
        "OnnxRuntimeEngine",
        "onnxruntime",
        "'edgeproof[onnx]'",
        "onnx",
    ),
}

# Second opinions: other kernels for the same file. They prove; being slow, or apt to crash on a
# file that they do not know, they never answer a camera.
PEERS = {
    "litert-builtin": EngineEntry(
        "edge_runtime.engines.tflite",
        "LiteRtBuiltinEngine",
        "ai_edge_litert",
        "ai-edge-litert",
        "tflite",
    ),
    "litert-reference": EngineEntry(
        "edge_runtime.engines.tflite",
        "LiteRtReferenceEngine",
        "ai_edge_litert",
        "ai-edge-litert",
        "tflite",
    ),
    "onnx-reference": EngineEntry(
        "edge_runtime.engines.onnx_reference", "OnnxReferenceEngine", "onnx", "onnx", "onnx"
    ),
    "opencv-dnn": EngineEntry(
        "edge_runtime.engines.opencv", "OpenCvEngine", "cv2", "opencv-python-headless", "onnx"
    ),
}


def is_installed(name: str) -> bool:
    """Whether the package that an engine or a peer stands on is on this machine."""
    return importlib.util.find_spec(_entry(name).imports) is not None


def installed_engines(format: str) -> list[str]:
    """Names of the engines on this machine that run files of that format, best first.

    Peers are not among them: see `matrix_engines`.
    """
    return [
        name for name, entry in ENGINES.items() if entry.format == format and is_installed(name)
    ]


def matrix_engines(format: str) -> list[str]:
    """Names of all engines and peers for files of that format, installed here or not."""
    return [name for name, entry in {**ENGINES, **PEERS}.items() if entry.format == format]


def load_engine(
    name: str,
    model: Path,
    *,
    threads: int = 0,
    options: EngineOptions = NO_OPTIONS,
    outputs: Sequence[TensorOutput] = (),
) -> Engine:
    """Load a model file on an engine or a peer.

    Args:
        threads: how many the engine may use; 0 means one for each core.
        options: delegates and providers; peers, which prove on the CPU, are given none.
        outputs: of a bundle of raw tensors; the engine then is a `TensorEngine`.

    Raises:
        TensorError: when the model has other outputs than these.
        EngineMissingError: when the engine's package is not installed.
        AcceleratorError: when `options.require_accelerator` cannot be kept.
        EngineError: when there is no such engine or it does not load the file.
    """
    entry = _entry(name)
    try:
        cls: type[Engine] = getattr(importlib.import_module(entry.module), entry.cls)
        engine = (
            cls(model, threads=threads, options=options)
            if name in ENGINES
            else cls(model, threads=threads)
        )
    except ModuleNotFoundError as exc:
        if (exc.name or "").startswith("edge_runtime"):
            raise  # our bug, not the user's missing package
        raise EngineMissingError(
            f"Engine {name!r} needs {exc.name}: pip install {entry.install}"
        ) from exc
    return TensorEngine(engine, outputs) if outputs else engine


def _entry(name: str) -> EngineEntry:
    entry = ENGINES.get(name) or PEERS.get(name)
    if entry is None:
        raise EngineError(f"No engine {name!r}. Known: {', '.join([*ENGINES, *PEERS])}.")
    return entry
