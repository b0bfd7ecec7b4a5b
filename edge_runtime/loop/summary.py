"""What a run came to, in memory that does not grow with it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from edge_runtime.loop.queued import SinkCount
from edge_runtime.loop.results import UNKNOWN, Result

# Neighbouring bins differ by 2 %: a percentile is that exact, over a year as over a minute.
_GROWTH = math.log(1.02)


class Percentiles:
    """Percentiles of any number of values from 1 microsecond to hours, to within 2 %."""

    def __init__(self) -> None:
        self._bins: dict[int, int] = {}

    def add(self, value_ms: float) -> None:
        number = round(math.log(max(value_ms, 1e-3)) / _GROWTH)
        self._bins[number] = self._bins.get(number, 0) + 1

    def at(self, fraction: float) -> float:
        """The value below which that fraction of all lie; 0 when there are none."""
        wanted = max(1, math.ceil(fraction * sum(self._bins.values())))
        for number in sorted(self._bins):
            wanted -= self._bins[number]
            if wanted <= 0:
                return math.exp(number * _GROWTH)
        return 0.0


@dataclass
class Summary:
    """What a run came to.

    Attributes:
        frames: how many were delivered with a result.
        dropped: live frames that gave way to newer ones before their turn.
        unknown: how many were answered with `unknown`.
        conditions: how many were not answered, by their condition.
        events: how often what befell a source.
        skipped: what was passed over or is missing, in words.
        labels: how often each label was the answer.
        seconds: from the first frame captured to the last answered.
        ages: frame ages at the answer, in milliseconds.
        stages: likewise the times of the stages, by name.
        interrupted: whether the user ended it.
        hung: whether a thread was still stuck in a driver, an engine or a sink at the end.
        sinks: what became of the results in each sink that has a queue; filled at the end.
    """

    frames: int = 0
    dropped: int = 0
    unknown: int = 0
    conditions: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    skipped: list[str] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    ages: Percentiles = field(default_factory=Percentiles)
    stages: dict[str, Percentiles] = field(default_factory=dict)
    interrupted: bool = False
    hung: bool = False
    sinks: dict[str, SinkCount] = field(default_factory=dict)
    _started_s: float | None = None

    @property
    def fps(self) -> float:
        return self.frames / self.seconds if self.seconds > 0 else 0.0

    @property
    def age_ms_median(self) -> float:
        """Middle frame age at the answer."""
        return self.ages.at(0.5)

    def add(self, result: Result) -> None:
        """Count one result."""
        if self._started_s is None:
            self._started_s = result.frame.captured_s
        self.frames += 1
        self.seconds = max(self.seconds, result.answered_s - self._started_s)
        if result.answer is None:
            self.conditions[result.frame.condition] += 1
            return
        self.ages.add(result.age_ms)
        stages = result.stages
        self._stage("capture").add(stages.capture_ms)
        self._stage("wait").add(stages.wait_ms)
        self._stage("preprocess").add(stages.preprocess_ms)
        self._stage("infer").add(stages.infer_ms)
        if result.answer.abstained:
            self.unknown += 1
        self.labels[result.answer.label if not result.answer.abstained else UNKNOWN] += 1

    def add_output(self, output_ms: float) -> None:
        """Count the time that one result took in the sinks."""
        self._stage("output").add(output_ms)

    def _stage(self, name: str) -> Percentiles:
        found = self.stages.get(name)
        if found is None:
            found = self.stages[name] = Percentiles()
        return found
