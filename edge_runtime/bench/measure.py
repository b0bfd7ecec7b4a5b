"""One case, measured in the process that this runs in."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.bench.frames import golden_tensors, loop_source, sample_frames
from edge_runtime.bench.record import Case, Measured, Spread
from edge_runtime.bundle import Bundle
from edge_runtime.classifier import Classifier
from edge_runtime.engines import Engine, EngineOptions
from edge_runtime.engines.options import parse_delegates
from edge_runtime.folders import cache_folder
from edge_runtime.pipeline import Result, run
from edge_runtime.sources import Source
from edge_runtime.tensor_model import TensorModel
from edge_runtime.tensor_parity import picture_errors

_WARM_UP_S = 0.2
_BEFORE_PEAK = 5
# Enough for a 99th percentile that is not the maximum.
_FEWEST_RUNS = 100
_FEWEST_FRAMES = 10
# A model that is so slow that these would take many times longer answers fewer.
_LONGEST = 5


@dataclass(frozen=True)
class Answering:
    """A loaded model as it is measured, whatever it answers.

    Attributes:
        batch: what it answers to preprocessed inputs, one row each.
        frame: what is done with a frame of a camera.
        classifier: `None` for raw tensors, which have no loop.
    """

    engine: Engine
    batch: Callable[[np.ndarray], np.ndarray]
    frame: Callable[[np.ndarray], object]
    classifier: Classifier | None


def answering(bundle: Bundle, case: Case) -> Answering:
    """The case, loaded; where it wants an accelerator, one is required. Raises EngineError."""
    if bundle.manifest.outputs:
        model = TensorModel(bundle, **_wanted(case))
        return Answering(model.engine, model.row, model.answer, None)
    classifier = Classifier(bundle, **_wanted(case))
    return Answering(classifier.engine, classifier.probabilities, classifier.classify, classifier)


def _wanted(case: Case) -> dict[str, Any]:
    options = EngineOptions(
        delegates=parse_delegates(case.delegates),
        providers=case.providers,
        cache_dir=cache_folder(),
        require_accelerator=case.wants_accelerator,
    )
    return {
        "variant": case.variant,
        "engine": case.engine,
        "threads": case.threads,
        "options": options,
    }


def measure(
    bundle_path: Path,
    case: Case,
    *,
    seconds: float,
    clip: Path | None,
    size_wh: tuple[int, int] | None,
) -> Measured:
    """Load, infer and loop, each for about so many seconds.

    Raises:
        EdgeproofError: when it does not load or run.
    """
    bundle = Bundle.open(bundle_path)
    variant = bundle.variant(case.variant)
    bundle.checked_file(variant.file)  # hashing is no part of loading
    start = time.perf_counter()
    model = answering(bundle, case)
    load_ms = (time.perf_counter() - start) * 1e3
    blank = np.zeros((1, *bundle.manifest.input_shape), np.uint8)
    (first_ms,) = _times_ms(lambda: model.batch(blank), count=1)
    _times_ms(lambda: model.batch(blank), count=_BEFORE_PEAK)
    peak = peak_bytes()  # before the golden set is in memory, which a camera does not need
    golden = golden_tensors(bundle)
    inputs = list(golden.inputs)

    def infer_one(each: np.ndarray) -> np.ndarray:
        return model.batch(each[np.newaxis])

    infer = _spread(_cycle(inputs, infer_one), seconds)
    pictures = sample_frames(golden, clip, size_wh)
    answer = _spread(_cycle(pictures, model.frame), seconds)
    loop_fps = None
    if model.classifier:
        loop_fps = _loop_fps(model.classifier, loop_source(pictures, clip), seconds)
    answers = np.concatenate([infer_one(each) for each in inputs])
    wanted = golden.probabilities[case.variant]
    off = float(np.abs(answers - wanted).max())
    if bundle.manifest.outputs:
        off = float(picture_errors(answers, wanted, bundle.manifest.outputs).max())
    parity = variant.parity
    drop = parity.accuracy_drop
    if bundle.manifest.outputs:
        drop = float(bool(variant.missed))  # nobody knows its worth, but its gate
    return Measured(
        case=case,
        version=model.engine.version,
        accelerator=model.engine.accelerator,
        share=model.engine.share,
        load_ms=load_ms,
        first_ms=first_ms,
        infer=infer,
        answer=answer,
        loop_fps=loop_fps,
        peak_bytes=peak,
        loop_peak_bytes=peak_bytes(),
        accuracy=parity.accuracy,
        accuracy_drop=1 - parity.top1_agreement if drop is None else drop,
        as_recorded=off <= variant.tolerance,
    )


class _Enough:
    """A sink that ends the loop after so many seconds, and frames enough to tell a rate."""

    def __init__(self, seconds: float) -> None:
        self.reached = threading.Event()
        self._seconds, self._frames, self._start = seconds, 0, 0.0

    def write(self, _: Result) -> None:
        self._start = self._start or time.perf_counter()
        self._frames += 1
        if self._frames > _FEWEST_FRAMES and time.perf_counter() - self._start >= self._seconds:
            self.reached.set()

    def close(self) -> None:
        self.reached.set()


def _loop_fps(classifier: Classifier, source: Source, seconds: float) -> float:
    """Frames a second of the whole loop; a long clip is left when the time is over."""
    enough = _Enough(seconds)
    return run(classifier, source, [enough], stop=enough.reached).fps


def spread(times_ms: Sequence[float]) -> Spread:
    """Percentiles of at least one time."""
    p50, p90, p99 = np.percentile(times_ms, (50, 90, 99))
    mean = float(np.mean(times_ms))
    return Spread(runs=len(times_ms), p50=float(p50), p90=float(p90), p99=float(p99), mean=mean)


def peak_bytes() -> int | None:
    """The most memory that this process has held; `None` where the system does not tell.

    Linux's own count of this program: `ru_maxrss` starts with that of the process that forked it.
    """
    try:
        for line in (
            Path("/proc/self/status").read_text(encoding="ascii", errors="replace").split("\n")
        ):
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None


def _cycle(items: Sequence[np.ndarray], do: Callable[[np.ndarray], object]) -> Callable[[], object]:
    """Something that does it with the next item at each call."""
    number = 0

    def step() -> object:
        nonlocal number
        number += 1
        return do(items[number % len(items)])

    return step


def _spread(step: Callable[[], object], seconds: float) -> Spread:
    _times_ms(step, seconds=min(_WARM_UP_S, seconds))
    return spread(_times_ms(step, seconds=seconds, count=_FEWEST_RUNS))


def _times_ms(step: Callable[[], object], *, seconds: float = 0.0, count: int = 1) -> list[float]:
    """Times of so many calls, and for so many seconds; of slow ones only as many as make sense."""
    times: list[float] = []
    start = time.perf_counter()
    while True:
        before = time.perf_counter()
        step()
        now = time.perf_counter()
        times.append((now - before) * 1e3)
        enough = len(times) >= count and now - start >= seconds
        if enough or (seconds and now - start >= _LONGEST * seconds):
            return times
