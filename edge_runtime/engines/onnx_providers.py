"""onnxruntime's execution providers: their names, and what each is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from edge_runtime.engines.options import EngineOptions
from edge_runtime.errors import EngineError, StorageError, did_you_mean
from edge_runtime.files import sha256_file

CPU = "CPUExecutionProvider"
_TENSORRT = "TensorrtExecutionProvider"
_SUFFIX = "ExecutionProvider"
# Other kernels on the CPU, and what calls a server: none of them is hardware of this machine.
_NO_ACCELERATOR = {CPU, "DnnlExecutionProvider", "XnnpackExecutionProvider"}
_NO_ACCELERATOR |= {"AzureExecutionProvider"}


def short_name(provider: str) -> str:
    """`CUDA` for `CUDAExecutionProvider`."""
    return "TensorRT" if provider == _TENSORRT else provider.removesuffix(_SUFFIX)


def is_accelerator(provider: str) -> bool:
    """Whether it stands for other hardware than the CPU."""
    return provider not in _NO_ACCELERATOR


def providers_asked_for(names: Sequence[str]) -> list[str]:
    """onnxruntime's names for ours, whatever their case; the CPU last.

    Raises:
        EngineError: when onnxruntime knows no such provider.
    """
    known = {short_name(each).lower(): each for each in onnxruntime.get_all_providers()}
    known |= {short_name(e).lower(): e for e in onnxruntime.get_available_providers()}
    found = []
    for name in names:
        key = name.lower().removesuffix(_SUFFIX.lower())
        if key not in known:
            raise EngineError(
                f"No execution provider {name!r}.{did_you_mean(key, known)} onnxruntime knows: "
                f"{', '.join(known)}."
            )
        found.append(known[key])
    return [*dict.fromkeys(each for each in found if each != CPU), CPU]


def with_options(provider: str, model: Path, options: EngineOptions) -> str | tuple[str, Any]:
    """A provider as `InferenceSession` takes it, with its options where it has some of ours.

    Option names: https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html
    """
    if provider != _TENSORRT:
        return provider
    told: dict[str, object] = {
        # The file's own Quantize and Dequantize operators say the ranges: no calibration table.
        "trt_int8_enable": options.precision == "int8",
        "trt_fp16_enable": options.precision == "float16",
    }
    if options.cache_dir is not None:
        folder = str(_cache_folder(options.cache_dir, model))
        told |= {
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": folder,
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": folder,
        }
    return provider, {key: str(value) for key, value in told.items()}


def _cache_folder(cache: Path, model: Path) -> Path:
    """A folder for this very file.

    onnxruntime names a cached engine by the graph's structure and the model's name, not by its
    weights: without this a model trained again would answer with the engine of the one before.
    """
    folder = cache / "tensorrt" / sha256_file(model)[:16]
    try:
        # An engine is code to whoever loads it: nobody else may write there.
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as exc:
        raise StorageError(
            f"{folder}: cannot be made: {exc.strerror}; TensorRT keeps its engines there."
        ) from exc
    return folder
