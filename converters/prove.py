"""Running a variant on real pictures and holding it against the trained model."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from converters.errors import ConversionError
from converters.export_head import EXPORTED
from converters.gates import Verdict, gates
from converters.run_folder import Photographs
from converters.trained import TrainedModel
from converters.variants import Recipe
from edge_runtime.engines import Engine, installed_engines, load_engine
from edge_runtime.engines.base import threads_or_all
from edge_runtime.errors import EngineMissingError
from edge_runtime.head import Head
from edge_runtime.manifest import Parity
from edge_runtime.parity import compare
from edge_runtime.tensor_parity import compare_tensors

_PREDICT_BATCH = 8
_TIMED_RUNS = 30
_TIMED_MS = 1000.0
# Thirty runs of a tiny model are over before a busy machine's next breath.
_TIMED_LEAST_MS = 50.0
# Softmax in float32 over a hundred thousand labels is still closer to 1 than this.
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Proof:
    """One variant's answers and how they compare.

    Attributes:
        verdict: the gates that it misses, or keeps on too few pictures to be sure.
        raw: the output tensor for every picture, as it left the engine.
        probabilities: the same as probabilities: float32, (samples, labels).
        latency_ms: median of single inferences on this machine, all cores; 0 before `timed`.
        engine: what it ran on, with its version.
    """

    parity: Parity
    verdict: Verdict
    raw: np.ndarray
    probabilities: np.ndarray
    engine: str
    latency_ms: float = 0.0

    def timed(self, recipe: Recipe, file: Path, picture: np.ndarray) -> Proof:
        """The same with its latency; nothing else should be running."""
        return replace(self, latency_ms=_median_ms(proving_engine(recipe, file), picture))


def reference_probabilities(
    model: Any, head: Head, photographs: Photographs, advance: Callable[[int], None]
) -> np.ndarray:
    """What the trained model answers: float32, (samples, labels).

    Raises:
        ConversionError: when it answers NaN or infinity, or what its head says are probabilities
            are none; nothing can be proven against that.
    """
    raw = raw_answers(model, photographs.inputs, advance)
    _require_unanswered(model, raw, head)
    reference = head.probabilities(raw)
    bad = np.flatnonzero(~np.isfinite(reference).all(axis=1))
    if len(bad):
        raise ConversionError(
            f"The trained model itself answers NaN or infinity for {len(bad)} of {len(reference)} "
            f"pictures, such as {photographs.files[bad[0]]}."
        )
    if not isinstance(model, TrainedModel):
        _require_probabilities(reference, head)
    return reference


def raw_answers(
    model: Any, pixels: np.ndarray, advance: Callable[[int], None] = lambda _: None
) -> np.ndarray:
    """What comes out of the trained model itself: float32, (samples, units)."""
    ask = model.answers if isinstance(model, TrainedModel) else _keras_answers(model)
    parts = []
    for start in range(0, len(pixels), _PREDICT_BATCH):
        batch = pixels[start : start + _PREDICT_BATCH]
        parts.append(ask(batch))
        advance(len(batch))
    return np.concatenate(parts)


def _keras_answers(model: Any) -> Callable[[np.ndarray], np.ndarray]:
    from converters.keras_quiet import tensorflow

    ask = _as_graph(model)
    return lambda batch: np.asarray(ask(tensorflow.constant(batch)))


@lru_cache(maxsize=1)  # a conversion asks twice, and to trace the model takes as long as to ask
def _as_graph(model: Any) -> Callable[[Any], Any]:
    """The model as a graph: in a third of the time, and activations go as soon as they are read."""
    from converters.keras_quiet import tensorflow

    ask: Callable[[Any], Any] = tensorflow.function(
        lambda batch: model(batch, training=False), reduce_retracing=True
    )
    return ask


def _require_unanswered(model: Any, raw: np.ndarray, head: Head) -> None:
    """What the record calls logits must not be probabilities: softmax would be applied twice.

    Every file would agree with a reference that has it twice as well.
    """
    if isinstance(model, TrainedModel):
        return  # its head was found by its very answers
    rows = raw.sum(axis=1)
    answered = {
        "logits": raw.min() >= 0 and np.abs(rows - 1).max() <= _SUM_TOLERANCE,
        "logit": getattr(getattr(model.layers[-1], "activation", None), "__name__", "")
        == "sigmoid",
    }
    if answered.get(head.kind, False):
        right = {"logits": "softmax", "logit": "sigmoid"}[head.kind]
        raise ConversionError(
            f"The trained model answers probabilities already, but its record says head "
            f"{head.kind!r}, for which {right} would be applied a second time; it must say "
            f"{right!r}."
        )


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
    engine, raw, probabilities = answers(recipe, file, photographs.inputs, advance)
    parity = compared(recipe)(reference, probabilities, photographs.labels)
    return Proof(
        parity=parity,
        verdict=gates()[recipe.precision].judge(parity),
        raw=raw,
        probabilities=probabilities,
        engine=f"{engine.name} {engine.version}".strip(),
    )


def compared(recipe: Recipe) -> Callable[..., Parity]:
    """How a recipe's answers are compared with the reference."""
    return partial(compare_tensors, outputs=recipe.outputs) if recipe.outputs else compare


def proving_engine(recipe: Recipe, file: Path, *, threads: int = 0) -> Engine:
    """The installed engine that a variant is proven on; 0 threads means one for each core.

    Raises:
        EngineError: when there is none, or it does not load the file.
    """
    installed = installed_engines(recipe.format)
    if not installed:
        raise EngineMissingError(
            f"no engine for {recipe.format} is installed to prove it: "
            "pip install 'edgeproof[convert]'"
        )
    return load_engine(installed[0], file, threads=threads, outputs=recipe.outputs)


def answers(
    recipe: Recipe, file: Path, pictures: np.ndarray, advance: Callable[[int], None]
) -> tuple[Engine, np.ndarray, np.ndarray]:
    """What a file answers: engine, raw outputs, and probabilities, float32 (samples, labels).

    One engine with one thread for each core: int16 kernels know no threads, and the others gain
    as much this way.
    """
    cores = min(threads_or_all(0), len(pictures))
    engines = [proving_engine(recipe, file, threads=1) for _ in range(cores)]

    def part(engine: Engine, share: np.ndarray) -> np.ndarray:
        rows = []
        for picture in share:
            rows.append(engine.infer(picture[np.newaxis]))
            advance(1)
        return np.concatenate(rows)

    with ThreadPoolExecutor(cores) as pool:
        raw = np.concatenate(list(pool.map(part, engines, np.array_split(pictures, cores))))
    return engines[0], raw, EXPORTED.probabilities(engines[0].dequantize(raw))


def _median_ms(engine: Engine, picture: np.ndarray) -> float:
    """Median time of one inference; of fewer runs where one takes long, of more where little."""
    engine.infer(picture)  # warms up
    times: list[float] = []
    while sum(times) < (_TIMED_MS if len(times) < _TIMED_RUNS else _TIMED_LEAST_MS):
        start = time.perf_counter()
        engine.infer(picture)
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)
