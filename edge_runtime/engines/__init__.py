"""Runtimes that run a model file, each imported on first use."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.engines.base import Engine, TensorSpec
from edge_runtime.errors import EngineError, EngineMissingError

__all__ = ["ENGINES", "Engine", "EngineEntry", "TensorSpec", "installed_engines", "load_engine"]


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


def installed_engines(format: str) -> list[str]:
    """Names of the engines on this machine that run files of that format, best first."""
    return [
        name
        for name, entry in ENGINES.items()
        if entry.format == format and importlib.util.find_spec(entry.imports) is not None
    ]


def load_engine(name: str, model: Path, *, threads: int = 0) -> Engine:
    """Load a model file on an engine.

    Args:
        threads: how many the engine may use; 0 means one for each core.

    Raises:
        EngineMissingError: when the engine's package is not installed.
        EngineError: when there is no such engine or it does not load the file.
    """
    if name not in ENGINES:
        raise EngineError(f"No engine {name!r}. Known: {', '.join(ENGINES)}.")
    entry = ENGINES[name]
    try:
        cls: type[Engine] = getattr(importlib.import_module(entry.module), entry.cls)
        return cls(model, threads=threads)
    except ModuleNotFoundError as exc:
        if (exc.name or "").startswith("edge_runtime"):
            raise  # our bug, not the user's missing package
        raise EngineMissingError(
            f"Engine {name!r} needs {exc.name}: pip install {entry.install}"
        ) from exc
