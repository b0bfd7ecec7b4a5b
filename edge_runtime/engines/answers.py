"""What an engine answers to recorded inputs, within a time budget."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import numpy as np

from edge_runtime.engines.base import Engine


@dataclass(frozen=True, eq=False)
class Answers:
    """One model file on one engine.

    Attributes:
        raw: output tensors of the first so many inputs: shape (answered, units), as in the file.
        values: the same dequantised, float32.
        version: the engine's, with its kernels.
        latency_ms: median of single inferences; the first, which warms up, only counts alone.
    """

    raw: np.ndarray
    values: np.ndarray
    version: str
    latency_ms: float


def answer(engine: Engine, inputs: np.ndarray, *, budget_s: float) -> Answers:
    """Run the inputs one at a time, at least one and then as many as the budget has room for.

    Args:
        inputs: uint8, (samples, H, W, 3), at least one.

    Raises:
        TensorError: when the file takes other inputs.
        EngineError: when the runtime fails.
    """
    rows: list[np.ndarray] = []
    times_ms: list[float] = []
    start = time.perf_counter()
    for picture in inputs:
        before = time.perf_counter()
        rows.append(engine.infer(picture[np.newaxis]))
        now = time.perf_counter()
        times_ms.append((now - before) * 1e3)
        if now - start + times_ms[-1] / 1e3 > budget_s:
            break
    raw = np.concatenate(rows)
    return Answers(
        raw=raw,
        values=engine.dequantize(raw),
        version=engine.version,
        latency_ms=statistics.median(times_ms[1:] or times_ms),
    )
