"""Running a variant on real pictures and holding it against the trained model."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.errors import ConversionError
from converters.gates import gates
from converters.parity import compare
from converters.run_folder import Photographs
from converters.variants import Recipe
from edge_runtime.engines import Engine, installed_engines, load_engine
from edge_runtime.errors import EngineMissingError
from edge_runtime.head import Head
from edge_runtime.manifest import Parity

_PREDICT_BATCH = 32
_TIMED_RUNS = 30


@dataclass(frozen=True, eq=False)
class Proof:
    """One variant's answers and how they compare.

    Attributes:
        raw: the output tensor for every picture, as it left the engine.
        probabilities: the same after the head: float32, (samples, labels).
        missed: the gates that it misses, in words.
        latency_ms: median of single inferences on this machine, all cores.
    """

    parity: Parity
    missed: tuple[str, ...]
    raw: np.ndarray
    probabilities: np.ndarray
    latency_ms: float


def reference_probabilities(
    model: Any, head: Head, photographs: Photographs, advance: Callable[[int], None]
) -> np.ndarray:
    """What the trained model answers: float32, (samples, labels).

    Raises:
        ConversionError: when it answers NaN or infinity; nothing can be proven against that.
    """
    parts = []
    for start in range(0, len(photographs.inputs), _PREDICT_BATCH):
        batch = photographs.inputs[start : start + _PREDICT_BATCH]
        parts.append(np.asarray(model(batch, training=False)))
        advance(len(batch))
    reference = head.probabilities(np.concatenate(parts))
    bad = np.flatnonzero(~np.isfinite(reference).all(axis=1))
    if len(bad):
        raise ConversionError(
            f"The trained model itself answers NaN or infinity for {len(bad)} of {len(reference)} "
            f"pictures, such as {photographs.files[bad[0]]}; train again."
        )
    return reference


def prove(
    recipe: Recipe,
    file: Path,
    head: Head,
    photographs: Photographs,
    reference: np.ndarray,
    advance: Callable[[int], None],
) -> Proof:
    """Run the variant's file on every photograph and compare.

    Raises:
        EngineError: when the file does not load or run.
    """
    installed = installed_engines(recipe.format)
    if not installed:
        raise EngineMissingError(
            f"no engine for {recipe.format} is installed to prove it: "
            "pip install 'edgeproof[convert]'"
        )
    engine = load_engine(installed[0], file)
    rows = []
    for picture in photographs.inputs:
        rows.append(engine.infer(picture[np.newaxis]))
        advance(1)
    raw = np.concatenate(rows)
    probabilities = head.probabilities(engine.dequantize(raw))
    parity = compare(reference, probabilities, photographs.labels)
    return Proof(
        parity=parity,
        missed=gates()[recipe.precision].missed(parity),
        raw=raw,
        probabilities=probabilities,
        latency_ms=_median_ms(engine, photographs.inputs[:1]),
    )


def _median_ms(engine: Engine, picture: np.ndarray) -> float:
    times = []
    for _ in range(_TIMED_RUNS):
        start = time.perf_counter()
        engine.infer(picture)
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)
