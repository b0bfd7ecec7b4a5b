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
from converters.export_head import EXPORTED
from converters.gates import Verdict, gates
from converters.run_folder import Photographs
from converters.variants import Recipe
from edge_runtime.engines import Engine, installed_engines, load_engine
from edge_runtime.errors import EngineMissingError
from edge_runtime.head import Head
from edge_runtime.manifest import Parity
from edge_runtime.parity import compare

_PREDICT_BATCH = 32
_TIMED_RUNS = 30
_TIMED_MS = 1000.0
# Softmax in float32 over a hundred thousand labels is still closer to 1 than this.
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Proof:
    """One variant's answers and how they compare.

    Attributes:
        verdict: the gates that it misses, or keeps on too few pictures to be sure.
        raw: the output tensor for every picture, as it left the engine.
        probabilities: the same as probabilities: float32, (samples, labels).
        latency_ms: median of single inferences on this machine, all cores.
        engine: what it ran on, with its version.
    """

    parity: Parity
    verdict: Verdict
    raw: np.ndarray
    probabilities: np.ndarray
    latency_ms: float
    engine: str


def reference_probabilities(
    model: Any, head: Head, photographs: Photographs, advance: Callable[[int], None]
) -> np.ndarray:
    """What the trained model answers: float32, (samples, labels).

    Raises:
        ConversionError: when it answers NaN or infinity, or what its head says are probabilities
            are none; nothing can be proven against that.
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
    _require_probabilities(reference, head)
    return reference


def _require_probabilities(reference: np.ndarray, head: Head) -> None:
    sums = reference.sum(axis=1)
    worst = int(np.abs(sums - 1).argmax())
    outside = reference.min() < -_SUM_TOLERANCE or reference.max() > 1 + _SUM_TOLERANCE
    if outside or abs(sums[worst] - 1) > _SUM_TOLERANCE:
        raw = {"softmax": "logits", "sigmoid": "logit"}.get(head.kind, "softmax")
        raise ConversionError(
            f"The trained model's answers are no probabilities: from {reference.min():.3g} to "
            f"{reference.max():.3g}, with a sum of {sums[worst]:.3g}. Its record says head "
            f"{head.kind!r}; if it was trained to answer logits, it must say {raw!r}."
        )


def prove(
    recipe: Recipe,
    file: Path,
    photographs: Photographs,
    reference: np.ndarray,
    advance: Callable[[int], None],
) -> Proof:
    """Run the variant's file on every photograph and compare.

    Raises:
        EngineError: when the file does not load or run.
    """
    engine = proving_engine(recipe, file)
    raw, probabilities = answers(engine, photographs.inputs, advance)
    parity = compare(reference, probabilities, photographs.labels)
    return Proof(
        parity=parity,
        verdict=gates()[recipe.precision].judge(parity),
        raw=raw,
        probabilities=probabilities,
        latency_ms=median_ms(engine, photographs.inputs[:1]),
        engine=f"{engine.name} {engine.version}".strip(),
    )


def proving_engine(recipe: Recipe, file: Path) -> Engine:
    """The installed engine that a variant is proven on.

    Raises:
        EngineError: when there is none, or it does not load the file.
    """
    installed = installed_engines(recipe.format)
    if not installed:
        raise EngineMissingError(
            f"no engine for {recipe.format} is installed to prove it: "
            "pip install 'edgeproof[convert]'"
        )
    return load_engine(installed[0], file)


def answers(
    engine: Engine, pictures: np.ndarray, advance: Callable[[int], None] = lambda _: None
) -> tuple[np.ndarray, np.ndarray]:
    """Raw outputs, and the same as probabilities: float32, (samples, labels)."""
    rows = []
    for picture in pictures:
        rows.append(engine.infer(picture[np.newaxis]))
        advance(1)
    raw = np.concatenate(rows)
    return raw, EXPORTED.probabilities(engine.dequantize(raw))


def median_ms(engine: Engine, picture: np.ndarray) -> float:
    """Median time of one inference; of fewer runs where one takes long."""
    times: list[float] = []
    while len(times) < _TIMED_RUNS and sum(times) < _TIMED_MS:
        start = time.perf_counter()
        engine.infer(picture)
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)
