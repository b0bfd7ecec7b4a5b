"""A run's figures in the form that Prometheus wants; docs/sinks.md lists them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from prometheus_client.core import (
    CollectorRegistry,
    Counter,
    CounterMetricFamily,
    Gauge,
    GaugeMetricFamily,
    Histogram,
    Info,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from edge_runtime.pipeline import Result
from edge_runtime.sinks.machine_health import SharedHealth
from edge_runtime.sinks.opening import SinkOpening
from edge_runtime.sources import SourceEvent
from edge_runtime.text import printable

_MS = 1e-3
# From a resize to a slow network stream's age.
_BUCKETS_S = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
_STAGES = ("capture", "wait", "preprocess", "infer", "output")


class Figures:
    """Everything that is told of a run, in a registry of its own.

    Its label values are bounded: the bundle's labels, the run's sources and sinks, and a few words
    of ours.
    """

    def __init__(self, opening: SinkOpening, health: SharedHealth | None = None) -> None:
        self.registry = registry = CollectorRegistry()
        names = [printable(source.name) for source in opening.sources]
        histogram = partial(Histogram, registry=registry, buckets=_BUCKETS_S)
        gauge = partial(Gauge, registry=registry)
        self._stages = histogram("edgeproof_stage_seconds", "Where a frame's time went.", ["stage"])
        self._stage = {name: self._stages.labels(name) for name in _STAGES}
        self._age = histogram(
            "edgeproof_frame_age_seconds", "From a frame's capture to its answer."
        )
        self._frames = _counter(registry, "frames", "Frames that were delivered.", "source")
        self._answers = _counter(registry, "answers", "Answers, by class.", "label")
        self._abstentions = Counter(
            "edgeproof_abstentions", "Frames that were answered with unknown.", registry=registry
        )
        self._no_news = _counter(
            registry, "unanswered_frames", "Frames that were no news.", "condition"
        )
        self._events = _counter(
            registry, "source_events", "What befell the sources.", "source", "kind"
        )
        self._reconnects = _counter(
            registry, "reconnects", "How often a lost source came back.", "source"
        )
        self._last = gauge(
            "edgeproof_last_frame_timestamp_seconds",
            "When the newest frame was captured.",
            ["source"],
        )
        for name in names:  # so that a rate has a beginning
            self._frames.labels(name)
            self._reconnects.labels(name)
        for label in opening.bundle.labels:
            self._answers.labels(printable(label))
        _describe(opening, registry)
        registry.register(_Observed(opening, names, health or SharedHealth()))
        ProcessCollector(registry=registry)

    def add(self, result: Result) -> None:
        """Count one result."""
        source, answer, stages = printable(result.frame.source), result.answer, result.stages
        self._frames.labels(source).inc()
        self._last.labels(source).set(result.captured_at)
        if answer is None:
            self._no_news.labels(result.frame.condition).inc()
            return
        self._age.observe(result.age_ms * _MS)
        self._stage["capture"].observe(stages.capture_ms * _MS)
        self._stage["wait"].observe(stages.wait_ms * _MS)
        self._stage["preprocess"].observe(stages.preprocess_ms * _MS)
        self._stage["infer"].observe(stages.infer_ms * _MS)
        self._stage["output"].observe(result.output_ms * _MS)
        if answer.abstained:
            self._abstentions.inc()
        else:
            self._answers.labels(printable(answer.label)).inc()

    def add_event(self, event: SourceEvent) -> None:
        """Count what befell a source."""
        source = printable(event.source)
        self._events.labels(source, event.kind).inc()
        if event.kind == "reopened":
            self._reconnects.labels(source).inc()


class _Observed(Collector):
    """What is looked at when somebody asks: drops, and how the machine does."""

    def __init__(self, opening: SinkOpening, names: Sequence[str], health: SharedHealth) -> None:
        self._opening, self._names, self._health = opening, names, health

    def collect(self) -> Iterator[Metric]:
        yield from self._drops()
        yield from self._machine()

    def _drops(self) -> Iterator[Metric]:
        gone = CounterMetricFamily(
            "edgeproof_dropped_frames",
            "Live frames that gave way to newer ones before their turn.",
            labels=["source"],
        )
        for name, source in zip(self._names, self._opening.sources, strict=True):
            gone.add_metric([name], source.dropped)
        yield gone
        dropped = CounterMetricFamily(
            "edgeproof_sink_dropped_results",
            "Results that a sink was too slow for.",
            labels=["sink"],
        )
        failed = CounterMetricFamily(
            "edgeproof_sink_failures", "Calls of a sink that failed.", labels=["sink"]
        )
        counts: dict[str, list[int]] = {}
        for queue in self._opening.queues:
            total = counts.setdefault(printable(queue.name), [0, 0])
            total[0] += queue.count.dropped
            total[1] += queue.count.failed
        for name, (drops, failures) in counts.items():
            dropped.add_metric([name], drops)
            failed.add_metric([name], failures)
        yield dropped
        yield failed

    def _machine(self) -> Iterator[Metric]:
        health = self._health.now()
        temperature = GaugeMetricFamily(
            "edgeproof_temperature_celsius", "By thermal zone.", labels=["zone"]
        )
        for zone, value in health.temperatures_c.items():
            temperature.add_metric([printable(zone)], value)
        yield temperature
        figures = (
            (
                "throttled",
                "1 when something slows the machine down.",
                float(bool(health.throttling)),
            ),
            ("memory_available_bytes", "For new programs.", health.memory_available_bytes),
            ("memory_total_bytes", "Main memory.", health.memory_total_bytes),
            ("load_1m", "Programs that ran or waited to run.", health.load),
        )
        for name, says, figure in figures:
            if figure is not None:
                yield GaugeMetricFamily(f"edgeproof_{name}", says, value=figure)


def _counter(registry: CollectorRegistry, name: str, says: str, *labels: str) -> Counter:
    return Counter(f"edgeproof_{name}", says, labels, registry=registry)


def _describe(opening: SinkOpening, registry: CollectorRegistry) -> None:
    classifier = opening.classifier
    Info("edgeproof_run", "What runs.", registry=registry).info(
        {
            "bundle": printable(classifier.bundle.name),
            "variant": classifier.variant.name,
            "engine": classifier.engine.name,
            "profile": printable(classifier.profile.name),
        }
    )
